"""CPU seconds of a whole run beside those of its units (passes and similarities); of a small network's beside bare passes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from subject import Row, resnet18
from torch import nn

import salsanity
from passes import bare
from salsanity.executors.serial import Results, done
from salsanity.models.reference import cnn
from salsanity.units.job import Job, Lot, Tick

SHARE, START = 0.10, 5.0
"""What may lie outside of passes and similarities: a share of the run, and so many seconds."""


class Timed:
    """Runs units here, one after another, and adds up the CPU seconds that they take."""

    def __init__(self) -> None:
        self.inside = 0.0

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Tick | None = None) -> Results:
        """Yield each unit as soon as it is done."""
        opened = job.open(tick=tick)
        for unit in (unit for lot in lots for unit in lot):
            began = time.process_time()
            found = done(opened, unit)
            self.inside += time.process_time() - began
            yield unit, found


def took(model: nn.Module, source: Any, **options: Any) -> tuple[float, float]:
    """Return the CPU seconds of a run, from the call to the written report, and of its units."""
    executor = Timed()
    with tempfile.TemporaryDirectory() as out:
        began = time.process_time()
        salsanity.run(["cascade"], model, source, executor=executor, out=out, **options)
        return time.process_time() - began, executor.inside


def rest(folder: Path) -> Iterator[Row]:
    """Measure what surrounds the passes: on the ResNet-18, and on a small network."""
    yield _resnet(folder)
    yield _small()


def _resnet(folder: Path) -> Row:
    photographs = folder / "photographs"
    whole, inside = took(
        resnet18(folder),
        photographs,
        max_images=8,
        draws=5,
        size=224,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    outside, allowed = whole - inside, SHARE * whole + START
    return Row(
        "outside of passes and similarities, ResNet-18, 8 images x 5 draws, all methods; CPU seconds",
        f"{outside:.1f} s of {whole:.0f} s",
        "",
        "",
        outside / whole,
        f"at most {SHARE:.0%} + {START:g} s, here {allowed:.1f} s",
        outside <= allowed,
        "start, tracing, speed search, judging, figures, report",
    )


def _small(images: int = 64, draws: int = 8) -> Row:
    torch.manual_seed(0)
    x = torch.rand(images, 1, 28, 28)
    options = {"methods": ["gradient"], "similarities": ["spearman"], "stages": "all"}
    whole, inside = took(
        cnn(initial="torch"), x, draws=draws, max_images=images, blocks="layer", **options
    )
    passes = images * (4 * draws + 1)
    plain = _cpu_seconds(bare(cnn(initial="torch").eval(), x, False), times=4) / images
    return Row(
        f"a small network: the paper's CNN, {images} images x {draws} draws, 4 layers, gradient, Spearman; CPU seconds in units",
        f"{inside:.1f} s (the whole run {whole:.1f} s)",
        f"{passes * plain:.1f} s for {passes:,} passes",
        "",
        inside / (passes * plain),
        "at most 1.5",
        inside <= 1.5 * passes * plain,
    )


def _cpu_seconds(job: Callable[[], object], *, times: int) -> float:
    """The fewest CPU seconds of a job after a warm-up."""
    job()
    found = []
    for _ in range(times):
        began = time.process_time()
        job()
        found.append(time.process_time() - began)
    return min(found)

"""What Ray costs beside a serial run, and what a second worker brings; what a unit costs the process that stores it.

    python benchmarks/scale/efficiency.py FOLDER [--images 64] [--draws 4] [--workers 1,2]

ResNet-18 at 224 (random weights: time does not depend on them), gradient and SmoothGrad of two samples, one thread each, a
batch of 8. Runs serial, then Ray with each number of workers, in folders of their own, and prints for each: units, seconds to
the first and after it, seconds inside units, CPU seconds of all that compute (workers with their start), the CPU of the driver
for a unit while it waits and stores, and a result's bytes as it travels. Says so where scores are not those of serial.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import salsanity
from salsanity.executors.named import executor
from salsanity.executors.serial import Results, SerialExecutor
from salsanity.executors.workers import Workers
from salsanity.suite import judging
from salsanity.units.job import Job, Lot

MARK = f"salsanity-efficiency-{os.getpid()}"


@dataclass
class Timed:
    """An executor whose long part is timed: from the first unit that comes to the last, and CPU seconds in them."""

    inner: Any
    seen: dict[str, Any] = field(default_factory=dict)

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Any = None) -> Results:
        """Pass results through."""
        began = time.perf_counter()
        first = units = size = 0.0
        inside = 0.0
        cpu = whole = time.process_time()
        for done in self.inner.run(job, lots, tick=tick):
            if not units:
                first, cpu = time.perf_counter(), time.process_time()
            units += 1
            inside += float(done[1].notes["seconds"])
            size += len(pickle.dumps(done))
            yield done
        ended = time.perf_counter()
        workers = cpu_of_workers()
        inside_cpu = sum(workers) or time.process_time() - whole
        self.seen = {
            "units": int(units),
            "seconds to the first": round(first - began, 1),
            "seconds after it": round(ended - first, 1),
            "seconds inside units": round(inside, 1),
            "CPU seconds of all that compute": round(inside_cpu, 1),
            "driver's CPU ms for a unit": round(1e3 * (time.process_time() - cpu) / units, 1),
            "KB of a unit": round(size / units / 1e3),
        }

    def close(self) -> None:
        """Close the executor inside."""
        getattr(self.inner, "close", lambda: None)()


def cpu_of_workers() -> list[float]:
    """Return the CPU seconds of the worker processes of Ray that this process started."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            mine = folder.name.isdigit() and MARK.encode() in (folder / "environ").read_bytes()
            if mine and (folder / "cmdline").read_bytes().startswith(b"ray::Bench"):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return found


def resnet() -> nn.Module:
    """Return a ResNet-18 with seeded weights."""
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return resnet18(weights=None).eval()


def measured(folder: Path, runs_on: Any, images: Tensor, asked: argparse.Namespace) -> Any:
    """Run once; return what was told, and the scores."""
    timed = Timed(runs_on)
    result = salsanity.run(
        "cascade",
        resnet(),
        images,
        methods=["gradient", "smoothgrad"],
        out=folder,
        executor=timed,
        draws=asked.draws,
        max_images=len(images),
        samples=2,
        gallery=0,
        batch_size=8,
        memory_format="contiguous",
        similarities=["spearman", "ssim", "hog"],
    )
    return timed.seen, result.scores


def main() -> int:
    """Measure serial and Ray, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--workers", default="1,2")
    asked = parser.parse_args()
    os.environ["SALSANITY_SCALE"] = MARK
    torch.set_num_threads(1)
    judging.draw_report = lambda *_: None
    images = torch.randn(asked.images, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    _, right = told(asked.folder / "serial", "serial", SerialExecutor(), images, asked)
    for count in map(int, asked.workers.split(",")):
        runs_on = executor("ray", Workers(workers=count))
        _, scores = told(asked.folder / f"ray-{count}", f"ray {count}", runs_on, images, asked)
        if not scores.equals(right):
            print(f"ray {count}: scores differ from serial")
    return 0


def told(folder: Path, name: str, runs_on: Any, images: Tensor, asked: argparse.Namespace) -> Any:
    """Measure, and print."""
    found = measured(folder, runs_on, images, asked)
    print(json.dumps({"run": name, **found[0]}), flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())

"""What is measured: the ResNet-18, images, and how a job is timed beside others."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

SIDE = 224


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, the ratio or value, the target, and a word on it."""

    what: str
    ours: str
    bare: str
    peer: str
    value: float | None
    target: str
    met: bool | None
    note: str = ""

    def markdown(self) -> str:
        """Return the line in Markdown."""
        met = {True: "met", False: "**not met**", None: "not run"}[self.met]
        value = "" if self.value is None else f"{self.value:.2f}"
        cells = (self.what, self.ours, self.bare, self.peer, value, self.target, met, self.note)
        return "| " + " | ".join(cells) + " |"


HEADER = (
    "| what | ours | bare passes | peer | ratio | target | | note |\n" + "|---" * 8 + "|"
)  # fmt: skip


def resnet18(folder: Path) -> nn.Module:
    """Build the ResNet-18 of `folder`/resnet18.py with its trained weights."""
    from salsanity.models.weights import load_weights

    spec = importlib.util.spec_from_file_location("resnet18", folder / "resnet18.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: nn.Module = module.resnet18()
    load_weights(model, folder / "resnet18.safetensors")
    return model.eval()


def images(count: int) -> Tensor:
    """Return random images; the time of a pass does not depend on what is in them."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def seconds(job: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def cpu_seconds(job: Callable[[], object]) -> float:
    """Measure the CPU seconds of one call, all threads together."""
    began = time.process_time()
    job()
    return time.process_time() - began


def in_turns(jobs: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Run all jobs in turns after one warm-up each; return the fastest time of each in seconds."""
    for job in jobs.values():
        job()
    times = [{name: seconds(job) for name, job in jobs.items()} for _ in range(rounds)]
    return {name: min(one[name] for one in times) for name in jobs}

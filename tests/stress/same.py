"""The same answer: units in any order, resumed or not, in one or two processes, whatever the batch size."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from attempts import fresh_folder, no_figures
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from ledger import Entry, Ledger
from subject import honest, images

from salsanity.testing.elsewhere import elsewhere

METHODS = (
    *(
        "gradient",
        "input_x_gradient",
        "smoothgrad",
        "smoothgrad_squared",
        "vargrad",
        "integrated_gradients",
    ),
    *("integrated_gradients_smoothgrad", "guided_backprop", "gradcam", "guided_gradcam"),
)

SPECS = st.fixed_dictionaries(
    {
        "methods": st.lists(st.sampled_from(METHODS), min_size=1, max_size=3, unique=True),
        "similarities": st.lists(st.sampled_from(("spearman", "ssim", "hog", "cosine")), min_size=1, max_size=2, unique=True),
        "order": st.sampled_from(("top_down", "independent", "bottom_up")),
        "stages": st.sampled_from(("verdict", "all")),
        "init": st.sampled_from(("module", "permute", "matched", "he")),
        "target": st.sampled_from(("trained", "own")),
        "draws": st.integers(1, 3),
        "max_images": st.integers(2, 12),
        "gallery": st.integers(0, 9),
        "seed": st.integers(0, 2**63 - 1),
        "samples": st.integers(1, 4),
        "steps": st.integers(1, 4),
        "batch_size": st.integers(1, 12),
    }
)  # fmt: skip


class Stop(Exception):
    """Ends a run between two units."""


@dataclass(frozen=True)
class Shuffled:
    """Runs units in a random order, and at most `most` of them."""

    chance: random.Random
    most: int | None = None

    def run(self, job: Any, lots: Iterable[Any], *, tick: Any = None) -> Iterator[tuple[Any, Any]]:
        opened, order = job.open(tick=tick), [unit for lot in lots for unit in lot]
        self.chance.shuffle(order)
        for done, unit in enumerate(order):
            if done == self.most:
                raise Stop
            yield unit, opened.do(unit)


@dataclass(frozen=True)
class TwoProcesses:
    """Runs every second unit in a new process, which opens the job for itself."""

    def run(self, job: Any, lots: Iterable[Any], *, tick: Any = None) -> Iterator[tuple[Any, Any]]:
        whole = [unit for lot in lots for unit in lot]
        opened = job.open(tick=tick)
        for unit in whole[::2]:
            yield unit, opened.do(unit)
        yield from zip(whole[1::2], elsewhere(done_there, job, whole[1::2]), strict=True)


def done_there(job: Any, units: Sequence[Any]) -> list[Any]:
    """Do units one after another in this process."""
    opened = job.open()
    return [opened.do(unit) for unit in units]


def run(
    folder: Path, options: dict[str, Any], *, executor: Any = None, model: Any = None
) -> pd.DataFrame:
    import salsanity

    asked = {"memory_format": "contiguous", **options}
    network = honest() if model is None else model
    pictures = images().to(next(network.parameters()).dtype)
    result = salsanity.model_randomization_test(
        network, pictures, out=folder, executor=executor, **asked
    )
    return result.scores


def every_way(entry: Entry, options: dict[str, Any]) -> None:
    """Run a spec in order, in a random order, interrupted, and in two processes; compare all bit for bit."""
    chance = random.Random(repr(sorted(options.items())))
    top = Path(tempfile.mkdtemp(prefix="salsanity-stress-"))
    with no_figures():
        plain = run(top / "plain", options)
        shuffled = run(top / "shuffled", options, executor=Shuffled(chance))
        for _ in range(2):
            try:
                run(top / "resumed", options, executor=Shuffled(chance, most=1))
            except Stop:
                continue
        resumed = run(top / "resumed", options)
        two = run(top / "two", options, executor=TwoProcesses())
    for name, scores in (("shuffled", shuffled), ("resumed", resumed), ("two processes", two)):
        entry.attempt(scores.equals(plain), f"{name} differs for {options}")
    entry.attempt(
        not scores.duplicated(["draw", "stage", "image", "method", "view", "similarity"]).any(),
        "doubled rows",
    )
    shutil.rmtree(top)


def batch_sizes(entry: Entry, dtype: torch.dtype, top: Path) -> float:
    """Return the largest difference of a score between batch sizes 1, 7 and 64."""
    options = {
        "methods": list(METHODS),
        "draws": 2,
        "max_images": 12,
        "samples": 5,
        "steps": 5,
        "seed": 3,
    }
    tables = {}
    with no_figures():
        for size in (1, 7, 64):
            folder = top / f"{dtype}-{size}".replace("torch.", "")
            tables[size] = run(folder, {**options, "batch_size": size}, model=honest().to(dtype))
    largest = 0.0
    for size in (7, 64):
        a, b = tables[1][["value", "chance"]], tables[size][["value", "chance"]]
        same_holes = bool((a.isna() == b.isna()).all(axis=None))
        difference = float(np.nanmax(np.abs(a.to_numpy() - b.to_numpy())))
        largest = max(largest, difference)
        limit = 1e-6 if dtype == torch.float64 else 0.05
        entry.attempt(same_holes and difference <= limit, f"{dtype}, {size}: {difference:.2g}")
    return largest


def stress(ledger: Ledger, *, examples: int = 40) -> None:
    """Try random specs in every way, and three batch sizes in two precisions."""
    with ledger.entry(
        "random specs: shuffled, resumed twice, in two processes, bit for bit"
    ) as entry:
        tried: list[None] = []

        @seed(2018)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(SPECS)
        def property_holds(options: dict[str, Any]) -> None:
            tried.append(None)
            every_way(entry, options)

        property_holds()
        entry.remarks.append(f"{len(tried)} specs")
    top = fresh_folder()
    for dtype in (torch.float64, torch.float32):
        with ledger.entry(f"batch sizes 1, 7, 64 in {str(dtype).removeprefix('torch.')}") as entry:
            entry.remarks.append(f"largest difference {batch_sizes(entry, dtype, top):.1e}")
    shutil.rmtree(top)


if __name__ == "__main__":
    import sys

    found = Ledger()
    stress(found, examples=int(sys.argv[1]) if len(sys.argv) > 1 else 40)
    print(found.table())
    sys.exit(bool(found.lost))

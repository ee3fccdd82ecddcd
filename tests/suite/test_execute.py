"""What an executor gives is stored by one writer; what it loses, doubles or mixes up is told and never a gap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

import salsanity
from networks import chain
from salsanity.executors.serial import SerialExecutor
from salsanity.suite import judging
from salsanity.suite.execute import whole
from salsanity.suite.result import ExitCode
from salsanity.testing.jobs import drawing_gradient
from testing.pools import Pool

OPTIONS: dict[str, Any] = {
    "methods": ["gradient"],
    "similarities": ["spearman"],
    "draws": 3,
    "max_images": 9,
    "gallery": 1,
    "batch_size": 8,
    "memory_format": "contiguous",
}


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randn(9, 2, 12, 12, generator=torch.Generator().manual_seed(5))


class Faulty:
    """The serial executor, whose results go through a function; whether they were closed is kept."""

    def __init__(self, fault: Callable[[list[Any]], list[Any]]) -> None:
        self.fault, self.closed = fault, False

    def run(self, job: Any, lots: Any, *, tick: Any = None) -> Any:
        try:
            yield from self.fault(list(SerialExecutor().run(job, lots, tick=tick)))
        finally:
            self.closed = True


def run(pictures: Tensor, out: Path, fault: Callable[[list[Any]], list[Any]]) -> salsanity.Result:
    executor = Faulty(fault)
    result = salsanity.model_randomization_test(
        chain().float(), pictures, out=out, executor=executor, **OPTIONS
    )
    assert executor.closed
    return result


def swapped(found: list[Any]) -> list[Any]:
    (a, one), (b, other), *rest = found
    return [(a, other), (b, one), *rest]


def same(found: list[Any]) -> list[Any]:
    return found


def test_results_may_come_in_any_order(pictures: Tensor, tmp_path: Path) -> None:
    usual = run(pictures, tmp_path / "usual", same)
    other = run(pictures, tmp_path / "other", lambda found: found[::-1])
    assert usual.trusted is other.trusted
    assert usual.scores.equals(other.scores)
    assert not usual.gates["failed_units"]


def test_a_doubled_result_counts_once(pictures: Tensor, tmp_path: Path) -> None:
    usual = run(pictures, tmp_path / "usual", same)
    doubled = run(pictures, tmp_path / "doubled", lambda found: [*found, found[0]])
    assert usual.scores.equals(doubled.scores)


@pytest.mark.parametrize(
    ("fault", "lost", "words"),
    [
        (lambda found: found[:-1], 1, "the executor lost it"),
        (lambda found: [], 3, "the executor lost it"),
        (swapped, 2, "gave another unit's result"),
        (lambda found: [(found[0][0], None), *found[1:]], 1, "gave another unit's result"),
    ],
    ids=["drops one", "gives nothing", "swaps two", "gives no result"],
)
def test_what_an_executor_spoils_makes_the_run_untrusted_and_is_computed_again(
    fault: Callable[[list[Any]], list[Any]],
    lost: int,
    words: str,
    pictures: Tensor,
    tmp_path: Path,
) -> None:
    usual = run(pictures, tmp_path / "usual", same)
    spoiled = run(pictures, tmp_path / "run", fault)
    assert len(spoiled.gates["failed_units"]) == lost
    assert words in spoiled.gates["failed_units"][0]["reason"]
    assert spoiled.exit_code is ExitCode.UNTRUSTED
    again = run(pictures, tmp_path / "run", same)
    assert not again.gates["failed_units"]
    assert again.scores.equals(usual.scores)


def test_twin_without_that_a_lost_unit_is_a_gap(
    pictures: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from salsanity.suite import execute

    monkeypatch.setattr(execute, "whole", lambda results, units: results)
    spoiled = run(pictures, tmp_path / "run", lambda found: found[:-1])
    assert not spoiled.gates["failed_units"]


def test_units_that_nobody_asked_for_are_left_out() -> None:
    assert list(whole([("a", None)], [])) == []  # type: ignore[list-item]


def test_the_cost_counts_what_is_explained(
    pictures: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two draws of full and half (the first draw shows all stages), two of the class, the trained network once."""
    told: list[str] = []

    class Telling:
        def say(self, text: str) -> None:
            told.append(text)

        def begin(self, what: str, total: float) -> None: ...
        def advance(self, amount: float) -> None:
            amounts.append(amount)

        def note(self, text: str) -> None: ...
        def end(self) -> None: ...

    from salsanity.suite import opening

    amounts: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "narrator_for", lambda _: Telling())
        options = {**OPTIONS, "draws": 2, "gallery": 0}
        salsanity.run(["cascade", "class"], chain().float(), pictures, out=tmp_path, **options)
    (line,) = [text for text in told if "passes" in text and "compare" in text]
    states = 1 + 2 * 2 + 2
    methods = 1 + 4  # the gradient and the controls
    assert line.startswith(f"{states * 9} passes")
    assert f"{states * methods * 9} maps" in line
    assert sum(amounts) == states * 9
    assert f"cascade {5 * 9} (" in next(text for text in told if text.startswith("Passes by check"))


def test_a_run_in_two_new_processes_is_a_serial_run_bit_for_bit(
    pictures: Tensor, tmp_path: Path
) -> None:
    """Several checks, noise, GradCAM, pictures and an explainer of the user's; only times differ."""
    asked: dict[str, Any] = {
        **OPTIONS,
        "methods": ["gradient", "smoothgrad", "gradcam", drawing_gradient],
        "samples": 2,
        "draws": 2,
    }
    checks = ["cascade", "class", "repeat", "shift"]
    folders = {"serial": tmp_path / "serial", "pool": tmp_path / "pool"}
    for name, executor in (("serial", "serial"), ("pool", Pool())):
        salsanity.run(
            checks, chain().float(), pictures, out=folders[name], executor=executor, **asked
        )
    one, other = (salsanity.Result(folder) for folder in folders.values())
    assert one.scores.equals(other.scores)
    assert one.verdicts.equals(other.verdicts)
    assert one.gates["health"] == other.gates["health"]
    (picture,) = (folders["serial"] / "gallery").iterdir()
    kept, theirs = (load_file(folder / "gallery" / picture.name) for folder in folders.values())
    assert kept.keys() == theirs.keys()
    assert all(np.array_equal(kept[name], theirs[name]) for name in kept)

"""Runs on Ray: begun here and continued there, by value, with workers that end; and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from deadly import KilledNowAndThen, Poisoned, Signing, plain_gradient
from torch import Tensor, nn

import salsanity
from salsanity.errors import SpecError, UsageError
from salsanity.executors.named import executor as executor_named
from salsanity.executors.workers import Workers
from salsanity.suite import judging


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


def small() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6 * 6, 4)
        ).eval()


IMAGES = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(1))
TINY: dict[str, Any] = {
    "methods": ["gradient", "vargrad", plain_gradient],
    "similarities": ["spearman"],
    "draws": 2,
    "max_images": 24,
    "samples": 3,
    "steps": 2,
    "gallery": 8,
    "batch_size": 8,
    "memory_format": "contiguous",
}


def scores(folder: Path, runner: Any = None, **changes: Any) -> Any:
    asked = {**TINY, **changes}
    return salsanity.run("cascade", small(), IMAGES, out=folder, executor=runner, **asked).scores


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return scores(tmp_path_factory.mktemp("serial") / "run")


def units(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "scores").iterdir()}


def test_a_run_may_be_begun_here_and_continued_there_and_the_other_way_round(
    runner: Any, serial: Any, tmp_path: Path
) -> None:
    first, second = (runner, "serial"), ("serial", runner)
    for number, (begins, continues) in enumerate((first, second)):
        folder = tmp_path / str(number)
        scores(folder, begins, draws=1)
        begun = units(folder)
        assert scores(folder, continues).equals(serial)
        assert begun.items() <= units(folder).items(), "finished units were computed again"


def test_rounds_give_what_serial_rounds_give(runner: Any, tmp_path: Path) -> None:
    asked = {"until_decided": True, "draws": 5}
    here, there = (
        scores(tmp_path / name, how, **asked) for name, how in (("here", None), ("there", runner))
    )
    assert there.equals(here)


def test_what_is_defined_within_a_function_travels_by_value(runner: Any, tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * 2

    def magnitudes(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        return plain_gradient(model, x, targets).abs()

    asked = {**TINY, "methods": ["gradient", magnitudes]}
    here, there = (
        salsanity.run("cascade", Own().eval(), IMAGES, out=tmp_path / name, executor=how, **asked)
        for name, how in (("here", None), ("there", runner))
    )
    assert there.scores.equals(here.scores)


def test_a_worker_that_is_killed_loses_nothing(runner: Any, tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    methods = ["gradient", KilledNowAndThen(str(tmp_path / "killed"), times=2)]
    asked = {**TINY, "methods": methods, "draws": 4}
    here, there = (
        salsanity.run("cascade", small(), IMAGES, out=tmp_path / name, executor=how, **asked)
        for name, how in (("here", None), ("there", runner))
    )
    assert len(list((tmp_path / "killed").iterdir())) == 2
    assert there.scores.equals(here.scores)
    assert there.trusted == here.trusted


def test_the_units_of_one_chunk_are_shared_by_all_workers(runner: Any, tmp_path: Path) -> None:
    (tmp_path / "signed").mkdir()
    methods = [Signing(str(tmp_path / "signed"))]
    asked = {**TINY, "methods": methods, "draws": 8, "gallery": 0, "max_images": 8}
    salsanity.run("cascade", small(), IMAGES, out=tmp_path / "run", executor=runner, **asked)
    others = {path.name for path in (tmp_path / "signed").iterdir()} - {str(os.getpid())}
    assert len(others) == 2


def test_a_unit_that_ends_every_worker_is_given_up_and_counted(runner: Any, tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    asked = {**TINY, "methods": [Poisoned(str(tmp_path / "killed"), float(IMAGES[20, 0, 0, 0]))]}
    result = salsanity.run(
        "cascade", small(), IMAGES, out=tmp_path / "run", executor=runner, **{**asked, "draws": 1}
    )
    assert len(list((tmp_path / "killed").iterdir())) == 3
    (failed,) = result.gates["failed_units"]
    assert "3 ended while they did it" in failed["reason"]
    assert result.exit_code == 4
    assert result.scores["image"].nunique() == 8  # the other chunk


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "ray://somewhere:10001"}, "not through Ray's client"),
        ({"workers": 0}, "from 1 to"),
        ({"cpus_per_worker": "two"}, "whole number"),
    ],
)
def test_wrong_workers_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Workers(**options)


def test_options_of_ray_are_refused_for_other_executors(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'workers' is an option of the executor ray, got the exec"):
        scores(tmp_path, workers=2)
    assert executor_named("ray", Workers(workers=2)).asked.workers == 2  # type: ignore[attr-defined]


def test_gpus_that_the_run_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected workers on the device of the run, cpu, got 1"):
        scores(tmp_path, "ray", gpus_per_worker=1)

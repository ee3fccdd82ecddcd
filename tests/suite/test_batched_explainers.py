"""Explainers that are not ours get batches where their maps were seen to be the same in one, and only there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import salsanity
from networks import chain, images
from salsanity.suite import judging
from salsanity.units import trial

SIZES: list[int] = []


@pytest.fixture(autouse=True)
def without_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    SIZES.clear()


def gradient(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    SIZES.append(len(x))
    x.requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


def of_the_batch(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    maps = gradient(model, x, targets)
    return maps - maps.mean(0, keepdim=True) * (len(x) > 1)


def noisy(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return gradient(model, (x.detach() + 0.1 * torch.randn_like(x)), targets)


def one_at_a_time(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    if len(x) > 1:
        raise ValueError("one at a time")
    return gradient(model, x, targets)


def run(explainer: Callable[..., Any], folder: Path, **options: Any) -> salsanity.Result:
    choices = {"draws": 2, "gallery": 0, "batch_size": 4, "partners": 1, **options}
    return salsanity.model_randomization_test(
        chain().float(),
        images(count=6).float(),
        methods=[explainer],
        similarities=["spearman"],
        out=folder,
        **choices,
    )


def values(result: salsanity.Result) -> list[float]:
    mine = result.scores[result.scores["method"] == result.spec["methods"][0]]
    return list(mine.sort_values(["image", "draw", "stage", "view"])["value"])


@pytest.fixture
def is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of such small networks are not always faster."""
    monkeypatch.setattr(trial, "_is_faster", lambda *_: True)


def batched(result: salsanity.Result) -> bool:
    (found,) = json.loads((result.folder / "spec.json").read_text())["settings"]["batched"].values()
    return bool(found)


@pytest.mark.usefixtures("is_quick")
def test_an_explainer_with_the_same_maps_gets_batches(tmp_path: Path) -> None:
    together = run(gradient, tmp_path / "together")
    assert batched(together)
    assert max(SIZES) == 4
    alone = run(gradient, tmp_path / "alone", batch_size=1)
    assert values(together) == pytest.approx(values(alone), abs=1e-5)


@pytest.mark.usefixtures("is_quick")
@pytest.mark.parametrize("explainer", [of_the_batch, noisy, one_at_a_time])
def test_others_are_given_one_image_at_a_time(
    explainer: Callable[..., Any], tmp_path: Path
) -> None:
    result = run(explainer, tmp_path / "run")
    assert not batched(result)
    assert values(result) == values(run(explainer, tmp_path / "alone", batch_size=1))


@pytest.mark.usefixtures("is_quick")
def test_twin_batches_without_a_look_at_the_maps_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "same_but_for_rounding", lambda *_: True)
    with pytest.raises(AssertionError):
        test_others_are_given_one_image_at_a_time(of_the_batch, tmp_path)


def test_batches_that_are_slower_are_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_is_faster", lambda *_: False)
    assert not batched(run(gradient, tmp_path / "run"))


@pytest.mark.parametrize("was", [True, False])
def test_a_run_goes_on_as_it_began(
    was: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_is_faster", lambda *_: was)
    run(gradient, tmp_path / "run", draws=1)
    monkeypatch.setattr(trial, "_is_faster", lambda *_: not was)
    assert batched(run(gradient, tmp_path / "run", draws=2)) is was


@pytest.mark.usefixtures("is_quick")
def test_the_run_says_which_get_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(gradient, tmp_path / "run", progress=True)
    said = " ".join("".join(capsys.readouterr()).split())
    assert "s a map, in batches" in said


@pytest.mark.parametrize(("apart", "is_same"), [(5e-5, True), (5e-4, False), (float("nan"), False)])
def test_rounding_is_measured_by_the_largest_value_of_each_map(apart: float, is_same: bool) -> None:
    maps = torch.tensor([[1.0, 0.5], [100.0, 50.0]])
    other = maps.clone()
    other[0, 1] += apart
    assert trial.same_but_for_rounding(other, maps) is is_same

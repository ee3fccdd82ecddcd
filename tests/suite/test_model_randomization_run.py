"""The model parameter randomisation test from Python: what a user sees, and what is never lost."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import salsanity
from networks import chain
from salsanity.errors import (
    DataError,
    FailuresFound,
    MethodError,
    ModelError,
    SimilarityError,
    SpecError,
)
from salsanity.executors.serial import SerialExecutor
from salsanity.suite import judging
from salsanity.suite.result import ExitCode

FAST: dict[str, Any] = {
    "samples": 2,
    "steps": 2,
    "draws": 2,
    "max_images": 9,
    "gallery": 2,
    "batch_size": 8,
    "memory_format": "contiguous",  # not the one that happens to be measured faster
}
METHODS = ["gradient", "smoothgrad", "integrated_gradients"]


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own."""
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return chain().float()


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randn(14, 2, 12, 12, generator=torch.Generator().manual_seed(5))


def run(model: nn.Module, pictures: Tensor, out: Path, **options: Any) -> salsanity.Result:
    asked = {"methods": METHODS, **FAST, **options}
    return salsanity.model_randomization_test(model, pictures, out=out, **asked)


def test_a_run_leaves_all_that_it_promises(
    model: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    result = run(model, pictures, tmp_path / "run")
    for name in ("spec.json", "verdicts.json", "gates.json", "coverage.json"):
        assert (result.folder / name).exists()
    assert len(list((result.folder / "gallery").glob("*.safetensors"))) == 2
    assert set(result.headlines["method"]) == set(METHODS)
    assert set(result.verdicts["method"]) == {*METHODS, "edge", "input", "noise", "noise_x_input"}
    assert result.outcome("edge") == "FAIL"
    names = [stage["name"] for stage in result.spec["stages"]]
    assert result.spec["half"] == names[(len(names) + 1) // 2 - 1]
    scores = result.scores
    assert list(scores.columns) == (
        [
            "check",
            "draw",
            "stage",
            "stage_index",
            "image",
            "method",
            "view",
            "similarity",
            "value",
            "chance",
            "reason",
        ]
    )
    same = scores[(scores.stage == "self") & (scores.method == "gradient")]
    assert (same["value"] == 1).all()
    edge = scores[(scores.method == "edge") & (scores.stage != "self")]
    np.testing.assert_allclose(edge["value"], 1, atol=1e-9)
    assert result.exit_code in set(ExitCode)


def spoils(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Explain, and leave behind whatever user code may."""
    x = x.requires_grad_()
    maps = torch.autograd.grad(network(x).gather(1, targets[:, None]).sum(), x)[0]
    network[0].weight.data.zero_()
    network.train()
    network[3].register_forward_hook(lambda *_: None)
    with torch.no_grad():
        x.zero_()
    torch.manual_seed(1)
    np.random.seed(1)
    return maps


def explodes(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    spoils(network, x, targets)
    raise ValueError("no")


@pytest.mark.parametrize("explainer", [spoils, explodes])
def test_the_caller_s_network_and_random_state_are_untouched(
    explainer: Any, pictures: Tensor, tmp_path: Path
) -> None:
    model = chain().float().train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    handle = model[1].register_forward_hook(lambda *_: None)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = dict(model[1]._forward_hooks)
    state, python_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    grad_before = pictures.requires_grad

    methods = ["gradient", "gradcam", "guided_backprop", explainer]
    refused = pytest.raises(MethodError, match=r"no \(line .*\); mend it")
    with refused if explainer is explodes else nullcontext():
        run(model, pictures, tmp_path / "run", methods=methods)
    after = model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert model.training
    assert all(m.training for m in model.modules())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert dict(model[1]._forward_hooks) == hooks
    assert not model[3]._forward_hooks
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == python_state).all()
    assert pictures.requires_grad == grad_before
    handle.remove()


class Interrupting:
    """Stops as Ctrl-C does, after `units` units."""

    def __init__(self, units: int) -> None:
        self.units = units

    def run(self, job: Any, lots: Any, *, tick: Any = None) -> Any:
        for done, pair in enumerate(SerialExecutor().run(job, lots, tick=tick)):
            if done == self.units:
                raise KeyboardInterrupt
            yield pair


def same_scores(a: salsanity.Result, b: salsanity.Result) -> None:
    pd.testing.assert_frame_equal(a.scores, b.scores, check_exact=True)
    pd.testing.assert_frame_equal(a.verdicts, b.verdicts, check_exact=True)


def test_an_interrupted_run_continues_bit_for_bit(
    model: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    whole = run(model, pictures, tmp_path / "whole")
    total = len(list((tmp_path / "whole" / "scores").iterdir()))
    for stop in range(total):
        with pytest.raises(KeyboardInterrupt):
            run(model, pictures, tmp_path / "cut", executor=Interrupting(1 if stop else 0))
    done = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cut" / "scores").iterdir()}
    resumed = run(model, pictures, tmp_path / "cut")
    same_scores(whole, resumed)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cut" / "scores").iterdir()}
    assert done.items() <= kept.items(), "a finished unit was computed again"


def test_more_draws_images_methods_and_similarities_extend_a_run(
    model: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    small = {"draws": 1, "max_images": 8, "methods": ["gradient"], "similarities": ["spearman"]}
    run(model, pictures, tmp_path / "grown", **small)
    first = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "grown" / "scores").iterdir()}
    grown = run(model, pictures, tmp_path / "grown", max_images=14)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "grown" / "scores").iterdir()}
    assert first.items() <= kept.items()
    direct = run(model, pictures, tmp_path / "direct", max_images=14)
    a, b = grown.scores, direct.scores
    assert a.drop(columns=["value", "chance"]).equals(b.drop(columns=["value", "chance"]))
    np.testing.assert_allclose(a["value"], b["value"], atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"init": "he"},
        {"order": "bottom_up"},
        {"stages": "all"},
        {"samples": 3},
        {"target": "own"},
    ],
)
def test_any_other_change_is_refused(
    change: dict[str, Any], model: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    run(model, pictures, tmp_path / "run", methods=["gradient"], draws=1)
    with pytest.raises(SpecError, match=next(iter(change))):
        run(model, pictures, tmp_path / "run", methods=["gradient"], draws=1, **change)


def test_other_weights_are_refused(model: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    run(model, pictures, tmp_path / "run", methods=["gradient"], draws=1)
    other = chain().float()
    with torch.no_grad():
        other[0].weight[0] += 1
    with pytest.raises(SpecError, match="other weights"):
        run(other, pictures, tmp_path / "run", methods=["gradient"], draws=1)


def test_thresholds_may_change(model: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    run(model, pictures, tmp_path / "run", methods=["gradient"])
    stamp = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "scores").iterdir()}
    result = run(model, pictures, tmp_path / "run", methods=["gradient"], d_full=0.9, d_half=0.95)
    assert result.spec["thresholds"] == {"full": 0.9, "half": 0.95}
    assert stamp == {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "scores").iterdir()}


@pytest.mark.parametrize("order", ["top_down", "independent", "bottom_up"])
def test_every_order_runs_all_stages(
    order: str, model: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    result = run(model, pictures, tmp_path / "run", methods=["gradient"], order=order, stages="all")
    names = [stage["name"] for stage in result.spec["stages"]]
    assert set(result.scores["stage"]) == {*names, "self"}
    assert (result.spec["half"] is None) == (order != "top_down")


def test_the_order_of_the_images_changes_nothing_but_their_pairs(
    model: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    """Noise belongs to the pixels: an image's own similarity does not depend on its place."""
    a = run(model, pictures[:8], tmp_path / "a", max_images=8).scores
    b = run(model, pictures[:8].flip(0), tmp_path / "b", max_images=8).scores
    by = ["method", "view", "similarity", "stage", "draw", "image"]
    a, b = a.sort_values(by).reset_index(drop=True), b.sort_values(by).reset_index(drop=True)
    np.testing.assert_allclose(a["value"], b["value"], atol=2e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batch_size_changes_no_score_in_float64(
    batch_size: int, pictures: Tensor, tmp_path: Path
) -> None:
    model, x = chain(), pictures.double()
    a = run(model, x, tmp_path / "a", batch_size=8).scores
    b = run(model, x, tmp_path / "b", batch_size=batch_size).scores
    np.testing.assert_allclose(a["value"], b["value"], atol=1e-6)


def sometimes(model: nn.Module, x: Tensor, targets: Tensor) -> Any:
    model(x)
    if float(x.sum()) < 0:
        raise RuntimeError("not this one")
    return np.abs(x.numpy())


def test_a_failing_explainer_spoils_only_its_own_rows(
    model: nn.Module, pictures: Tensor, tmp_path: Path
) -> None:
    result = run(model, pictures, tmp_path / "run", methods=["gradient", sometimes])
    scores = result.scores
    spoiled = scores[(scores.method == "sometimes") & scores.reason.notna()]
    assert spoiled["reason"].str.contains("not this one").any()
    assert scores[scores.method == "gradient"]["value"].notna().all()
    assert result.outcome("sometimes") == "FAIL", "what it explains shows the image"


def test_targets_are_explained(model: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    targets = [i % 5 for i in range(len(pictures))]
    result = salsanity.model_randomization_test(
        model, pictures, targets, methods=["gradient"], out=tmp_path / "run", **FAST
    )
    for entry in result.spec["images"]:
        assert entry["target"] == targets[int(entry["name"].rpartition("/")[2])]


def test_equal_images_are_used_once(model: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    twice = torch.cat([pictures[:5], pictures[:5]])
    result = run(model, twice, tmp_path / "run", methods=["gradient"])
    assert len(result.spec["images"]) == 5
    assert result.spec["settings"]["duplicates"] == 5


def test_failures_are_raised_on_request(model: nn.Module, pictures: Tensor, tmp_path: Path) -> None:
    def shows_the_image(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        network(x)
        return x.abs()

    result = run(model, pictures, tmp_path / "run", methods=["gradient", shows_the_image])
    assert result.outcome("shows_the_image") == "FAIL"
    with pytest.raises(FailuresFound, match="shows_the_image"):
        result.raise_for_failures()
    assert result.exit_code in (ExitCode.FAILED, ExitCode.UNTRUSTED)


class Not2D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(288, 3)
        nn.init.constant_(self.linear.weight, torch.nan)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"methods": ["gradiant"]}, MethodError),
        ({"methods": ["gradient", "gradient"]}, MethodError),
        ({"methods": ["smoothgrad(samples=-1)"]}, MethodError),
        ({"methods": ["smoothgrad(sample=1)"]}, MethodError),
        ({"methods": ["edge"]}, MethodError),
        ({"methods": []}, MethodError),
        ({"methods": [3]}, MethodError),
        ({"similarities": ["ssimm"]}, SimilarityError),
        ({"draws": 0}, SpecError),
        ({"draws": "5"}, SpecError),
        ({"seed": -1}, SpecError),
        ({"order": "sideways"}, SpecError),
        ({"unknown": 1}, SpecError),
        ({"target": "label"}, DataError),
        ({"device": "nowhere"}, SpecError),
        ({"layer": "no.such.layer", "methods": ["gradcam"]}, MethodError),
        ({"blocks": ("no_such_block",)}, ModelError),
        ({"keep": ("no_such_parameter",)}, ModelError),
        ({"d_full": 2.0}, SpecError),
    ],
)
def test_bad_input_is_one_clear_error(
    options: dict[str, Any],
    error: type[Exception],
    model: nn.Module,
    pictures: Tensor,
    tmp_path: Path,
) -> None:
    with pytest.raises(error):
        run(model, pictures, tmp_path / "run", **options)
    assert not list((tmp_path / "run").glob("scores/*"))


@pytest.mark.parametrize("wrong", [Not2D(), Broken(), "a path", nn.Identity()])
def test_networks_that_cannot_be_checked(wrong: Any, pictures: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        run(wrong, pictures, tmp_path / "run")


def test_images_that_cannot_be_used(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(model, torch.zeros(0, 2, 12, 12), tmp_path / "run")
    with pytest.raises((DataError, ModelError)):
        run(model, torch.zeros(3, 5, 12, 12), tmp_path / "run")

"""Explainers that are not ours: alone or together, what they leave behind, what is said of their maps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import salsanity
from networks import chain, images
from salsanity.methods import Baselines, CallableMethod, Inputs
from salsanity.models.network import Network, prepare
from salsanity.passes.foreign import ForeignFailure, explained_by
from salsanity.passes.request import Foreign, PassResult
from salsanity.passes.run import Setting
from salsanity.passes.schedule import State
from salsanity.report import read_run
from salsanity.report.provenance import method_settings
from salsanity.suite import judging
from salsanity.units.explain import Beside, Wanted, explain

X = images()
IDS = ("a", "b", "c")
TARGETS = torch.tensor([0, 1, 2])


@pytest.fixture
def network() -> Network:
    return prepare(chain(), X[:1])


def results(
    request: Foreign, network: Network, *, together: int = 1
) -> PassResult | ForeignFailure:
    return explained_by(request, network, X, TARGETS, ids=IDS, seed=0, stream=0, together=together)


def noise(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return torch.randn(len(x), 1, *x.shape[2:])


def test_alone_each_image_has_its_own_random_state(network: Network) -> None:
    alone = results(Foreign(noise, "noise"), network).gradient
    (last,) = explained_by(
        Foreign(noise, "noise"),
        network,
        X[2:],
        TARGETS[2:],
        ids=("c",),
        seed=0,
        stream=0,
    ).gradient
    assert torch.equal(alone[2], last)
    together = results(Foreign(noise, "noise"), network, together=3).gradient
    assert not torch.equal(alone[2], together[2])


def test_alone_the_explainer_sees_one_image_at_a_time(network: Network) -> None:
    sizes: list[int] = []

    def looks(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        sizes.append(len(x))
        return x * targets.view(-1, 1, 1, 1)

    found = results(Foreign(looks, "looks"), network)
    assert sizes == [1, 1, 1]
    sizes.clear()
    assert torch.equal(
        results(Foreign(looks, "looks"), network, together=2).gradient, found.gradient
    )
    assert sizes == [2, 1]
    assert torch.equal(found.gradient, X * TARGETS.view(-1, 1, 1, 1))


def test_what_a_failed_call_left_on_the_network_does_not_meet_the_next_image(
    network: Network,
) -> None:
    def forgetful(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        model[1].register_forward_hook(lambda *_: torch.zeros(1, dtype=x.dtype))
        model[0].weight.mul_(2)
        if len(x) > 1 or bool(torch.equal(x[0], X[1])):
            raise ValueError("no")
        model[1]._forward_hooks.clear()
        return x * model[0].weight.sum()

    with torch.no_grad():
        total = 2 * network.module[0].weight.sum()
        found = results(Foreign(forgetful, "forgetful"), network, together=3)
    assert isinstance(found, ForeignFailure)
    line = forgetful.__code__.co_firstlineno + 4
    said = f"forgetful raised ValueError: no (line {line} of test_foreign.py)"
    assert found.reasons == (None, said, None)
    torch.testing.assert_close(found.maps[[0, 2]], X[[0, 2]] * total)
    assert not network.module[1]._forward_hooks


def coarse(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """The mean over channels of a quarter of the size, as an array."""
    model(x)
    return nn.functional.avg_pool2d(x.mean(1), 4).numpy()


def test_maps_that_come_small_are_enlarged_and_the_size_is_kept(network: Network) -> None:
    inputs = Inputs(X, TARGETS, IDS, 0, "trained")
    wanted = [Wanted(State("trained", {}, TARGETS), (CallableMethod(coarse, "coarse"),))]
    (found,) = explain(network, inputs, wanted, setting=Setting(0, 0, 4, Baselines(0)))
    assert Beside().take(found.maps).enlarged == {"coarse": [3, 3]}
    expected = nn.functional.interpolate(
        nn.functional.avg_pool2d(X.mean(1, keepdim=True), 4), size=(12, 12), mode="bilinear"
    )
    torch.testing.assert_close(found.maps["coarse"].maps, expected)


def test_a_run_and_its_report_say_which_maps_were_enlarged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    result = salsanity.model_randomization_test(
        chain().float(),
        images(count=4).float(),
        methods=["gradient", coarse],
        similarities=["spearman"],
        draws=1,
        gallery=0,
        batch_size=4,
        out=tmp_path / "run",
    )
    assert json.loads((result.folder / "gates.json").read_text())["enlarged"] == {"coarse": [3, 3]}
    (part,) = read_run(result.folder).parts
    said = {words for _, words in method_settings(part)}
    assert "maps of 3 × 3 enlarged bilinearly to the images' size" in said


def test_a_library_s_refusal_comes_before_the_run_and_its_notes_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    options = {
        "similarities": ["spearman"],
        "draws": 1,
        "gallery": 0,
        "batch_size": 4,
        "init": "module",
    }
    picture = images(count=4).float()
    with pytest.raises(salsanity.MethodError, match="nowhere"):
        salsanity.model_randomization_test(
            chain().float(),
            picture,
            methods=["captum:LayerGradCam(layer='nowhere')"],
            out=tmp_path / "refused",
            **options,
        )
    result = salsanity.model_randomization_test(
        chain(inplace=True).float(),
        picture,
        methods=["captum:LayerGradCam", "captum:NoiseTunnel(nt_samples=2)"],
        out=tmp_path / "run",
        **options,
    )
    notes = result.spec["settings"]["notes"]
    assert "captum:LayerGradCam: looks at layer '4'" in notes
    assert result.gates["enlarged"] == {"captum:LayerGradCam": [6, 6]}
    tunnel = result.scores[result.scores["method"].str.startswith("captum:NoiseTunnel")]
    assert tunnel["value"].notna().all()
    assert set(result.headlines["method"]) == {
        "captum:LayerGradCam",
        "captum:NoiseTunnel(nt_samples=2)",
    }

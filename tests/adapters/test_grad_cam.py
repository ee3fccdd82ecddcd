"""pytorch-grad-cam's classes: each agrees with the library called directly, but for its last scaling."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from explained import (
    IDS,
    TARGETS,
    Variant,
    X,
    admitted,
    explained,
    maps,
    network_of,
    plain,
    request_of,
    state_of,
)
from torch import Tensor, nn

import shim.sitecustomize  # noqa: F401 - pytorch-grad-cam imports torchvision
from salsanity import registry
from salsanity.adapters import grad_cam as adapter
from salsanity.adapters.library import imported
from salsanity.errors import MethodError
from salsanity.models.random_state import random_state
from salsanity.seeds import seed_for


def library() -> Any:
    """pytorch-grad-cam; the tests skip where it cannot be had."""
    try:
        return imported("pytorch_grad_cam", method="test", extra="grad-cam")
    except MethodError as error:
        pytest.skip(str(error))


ARGUMENTS = {"SESS": "num_scales=2", "AblationCAM": "batch_size=4", "FEM": "k=1"}
KEYWORDS: dict[str, dict[str, Any]] = {
    "SESS": {"num_scales": 2},
    "AblationCAM": {"batch_size": 4},
    "FEM": {"k": 1},
}
SPECS = {name: f"grad_cam:{name}({ARGUMENTS.get(name, '')})" for name in adapter.CLASSES}


def directly(name: str, model: nn.Module, row: int) -> np.ndarray:
    """Call the library itself on one image: its map, scaled to [0, 1], at the image's size."""
    lib = library()
    target = int(TARGETS[row])
    layers = [] if name == "FullGrad" else [model.relu2]
    explainer = getattr(lib, name)(model, layers, **KEYWORDS.get(name, {}))
    wanted = (
        {"target_idx": target}
        if name == "FinerCAM"
        else {"targets": [lib.utils.model_targets.ClassifierOutputTarget(target)]}
    )
    seed = seed_for(0, "foreign", registry.canonical(SPECS[name]), 0, IDS[row])
    with random_state(seed), contextlib.redirect_stderr(io.StringIO()):
        return np.asarray(explainer(X[row : row + 1].clone().requires_grad_(), **wanted))[0]


def scaled(found: Tensor) -> np.ndarray:
    """Scale a map as the library does: to [0, 1] by its own extremes."""
    low, high = found.min(), found.max()
    return ((found - low) / (1e-7 + high - low)).numpy()


@pytest.mark.parametrize("name", adapter.CLASSES)
def test_each_class_is_the_library_s_own_before_it_is_scaled(name: str) -> None:
    library()
    ours = np.stack([scaled(found[0]) for found in maps(SPECS[name], network_of(plain()))])
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = np.stack([scaled(torch.tensor(directly(name, plain(), i))) for i in range(3)])
    # scaling before or after enlarging is the same up to the extremes that enlarging cuts
    np.testing.assert_allclose(ours, theirs, atol=2e-2)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ours.swapaxes(1, 2), theirs, atol=2e-2)


def test_the_height_of_a_map_survives() -> None:
    """The library's own maps all reach 1; ours keep what a network that says twice as much shows."""
    library()
    model = plain()
    model.fc.weight.data.mul_(2)
    ours = maps("grad_cam:GradCAM", network_of(plain()))
    torch.testing.assert_close(maps("grad_cam:GradCAM", network_of(model)), 2 * ours)
    assert float(ours.max()) != pytest.approx(1)
    with contextlib.redirect_stdout(io.StringIO()):
        assert directly("GradCAM", plain(), 0).max() == pytest.approx(1, abs=1e-3)


def test_grad_cam_is_our_own() -> None:
    library()
    network = network_of(plain())
    x = X.clone().requires_grad_()
    kept: list[Tensor] = []
    handle = network.module.relu2.register_forward_hook(lambda *a: kept.append(a[2]))
    score = network.module(x).gather(1, TARGETS[:, None]).sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    cam = F.relu((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True)).detach()
    expected = F.interpolate(cam, size=(16, 16), mode="bilinear", align_corners=False)
    found = maps("grad_cam:GradCAM(layer='relu2')", network)
    torch.testing.assert_close(found, expected)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(maps("grad_cam:HiResCAM(layer='relu2')", network), expected)


@pytest.mark.parametrize("name", adapter.CLASSES)
def test_maps_do_not_depend_on_the_batch(name: str) -> None:
    library()
    network = network_of(plain())
    assert torch.equal(
        maps(SPECS[name], network)[1:2], maps(SPECS[name], network, rows=slice(1, 2))
    )


@pytest.mark.parametrize("name", adapter.CLASSES)
def test_the_network_is_left_as_it_was(name: str) -> None:
    library()
    network = network_of(plain(inplace=True))
    before, x, state = state_of(network), X.clone(), np.random.get_state()[1].copy()
    maps(SPECS[name], network)
    assert state_of(network) == before
    assert torch.equal(X, x)
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("name", ["GradCAM", "EigenCAM", "AblationCAM"])
def test_in_place_activations_change_no_map(name: str) -> None:
    """The library keeps a layer's output without a copy: an in-place activation behind it overwrites that."""
    library()
    spec = f"grad_cam:{name}(layer='conv2')"
    usual = maps(spec, network_of(plain()))
    torch.testing.assert_close(maps(spec, network_of(plain(inplace=True))), usual)


def test_twin_the_library_itself_is_overwritten() -> None:
    library()

    def direct(model: nn.Module) -> np.ndarray:
        explainer = library().EigenCAM(model, [model.conv2])
        explainer(X[:1].clone(), [library().utils.model_targets.ClassifierOutputTarget(0)])
        return explainer.activations_and_grads.activations[0].numpy()

    assert direct(plain()).min() < 0
    assert direct(plain(inplace=True)).min() >= 0


def test_random_maps_are_the_run_s_seed_and_stream_alone() -> None:
    library()
    network = network_of(plain())
    first = maps("grad_cam:RandomCAM", network)
    np.random.seed(5)
    assert torch.equal(first, maps("grad_cam:RandomCAM", network))
    assert not torch.equal(first, maps("grad_cam:RandomCAM", network, stream=1))


@pytest.mark.parametrize("style", ["functional", "gelu", "reused", "sum", "mapping"])
def test_any_network_will_do(style: str) -> None:
    library()
    network = network_of(Variant(style))
    spec = "grad_cam:GradCAM(layer='conv2')"
    assert admitted(spec, network) == [f"{spec}: looks at layer 'conv2'"]
    assert bool(maps(spec, network).isfinite().all())


def test_fullgrad_refuses_layers_that_do_not_run_once() -> None:
    library()
    model = plain()
    model.fc.aside = nn.Conv2d(2, 2, 1)  # as an auxiliary head that eval mode leaves out
    with pytest.raises(MethodError, match=r"fc.aside runs 0 times"):
        admitted("grad_cam:FullGrad", network_of(model))


def test_scaling_that_stays_is_said() -> None:
    library()
    network = network_of(plain())
    for name in adapter.SCALED_INSIDE:
        assert "scaled to [0, 1]" in admitted(SPECS[name], network)[-1]
    assert admitted("grad_cam:LayerCAM", network) == ["grad_cam:LayerCAM: looks at layer 'relu2'"]


def test_maps_come_at_the_layer_s_size() -> None:
    library()
    assert explained("grad_cam:LayerCAM", network_of(plain())).enlarged_from == (8, 8)


class Tokens(nn.Module):
    """Patches as tokens behind a class token, as in a ViT, mixed so that every token counts."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        return self.fc(self.norm(tokens).square().mean(1))


def test_tokens_are_laid_out() -> None:
    library()
    network = network_of(Tokens().eval())
    request = request_of("grad_cam:GradCAM", network)
    assert request.admit(network.module, X[:1]) == ["grad_cam:GradCAM: looks at layer 'norm'"]
    assert explained("grad_cam:GradCAM", network).enlarged_from == (4, 4)
    with pytest.raises(MethodError, match="tokens"):
        admitted("captum:LayerGradCam", network)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("grad_cam:CAM", "GradCAM, GradCAMPlusPlus"),
        ("grad_cam:GradCAM(aug=1)", "it takes: eigen_smooth, layer"),
        ("grad_cam:FullGrad(layer='fc')", "no argument 'layer'"),
        ("grad_cam:GradCAM(layer=1)", "name of a module"),
    ],
)
def test_wrong_names_and_arguments_say_what_there_is(spec: str, words: str) -> None:
    library()
    with pytest.raises(MethodError, match=words):
        registry.method(spec)


def test_without_the_library_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pytorch_grad_cam", None)
    with pytest.raises(MethodError, match=r"pip install 'salsanity\[grad-cam\]'"):
        registry.method("grad_cam:GradCAM")

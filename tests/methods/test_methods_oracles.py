"""Every method against a literal version, and against Captum where Captum has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from networks import STYLES, Functional, chain, images
from reference import methods_literal as literal
from salsanity.errors import MethodError
from salsanity.methods import (
    Baselines,
    GradCAM,
    Gradient,
    GuidedBackprop,
    GuidedGradCAM,
    Inputs,
    InputXGradient,
    IntegratedGradients,
    IntegratedGradientsSmoothGrad,
    Method,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from salsanity.models.network import prepare
from salsanity.passes.points import gaussian, value_range
from salsanity.passes.run import Setting
from salsanity.passes.schedule import State
from salsanity.seeds import seed_for
from salsanity.units.admit import find_spatial_layer
from salsanity.units.explain import Wanted, explain

SEED, STREAM = 3, 1
SAMPLES, STEPS, SD = 5, 7, 0.15


def maps_of(
    methods: list[Method], model: nn.Module, x: Tensor, targets: Tensor, *, batch_size: int = 4
) -> dict[str, Tensor]:
    network = prepare(model, x[:1])
    spatial, why = find_spatial_layer(network)
    ids = tuple(f"image {i}" for i in range(len(x)))
    inputs = Inputs(x, targets, ids, SEED, "trained", spatial, why)
    setting = Setting(SEED, STREAM, batch_size, Baselines(SEED, x))
    wanted = Wanted(State("trained", {}, targets), tuple(methods))
    (found,) = explain(network, inputs, [wanted], setting=setting)
    return {name: explained.maps for name, explained in found.maps.items()}


def noises_of(x: Tensor, index: int, samples: int = SAMPLES) -> list[Tensor]:
    scale = float(value_range(x[index : index + 1])) * SD
    seeds = [seed_for(SEED, "noise", STREAM, f"image {index}", s) for s in range(samples)]
    return [gaussian(x.shape[1:], seed, x.dtype) * scale for seed in seeds]


OURS: list[Method] = [
    Gradient(),
    InputXGradient(),
    SmoothGrad(SAMPLES, SD),
    SmoothGradSquared(SAMPLES, SD),
    VarGrad(3, SD),
    IntegratedGradients(STEPS),
    IntegratedGradientsSmoothGrad(3, SD, STEPS),
    GuidedBackprop(),
    GradCAM(),
    GuidedGradCAM(),
]


def expected(name: str, model: nn.Sequential, x: Tensor, i: int, target: int) -> Tensor:
    image, noises = x[i], noises_of(x, i)
    guided = literal.guided_backprop(list(model), image, target)
    cam = literal.gradcam(model[:5], model[5:], image, target)
    return {
        "gradient": lambda: literal.gradient(model, image, target),
        "input_x_gradient": lambda: image * literal.gradient(model, image, target),
        "smoothgrad": lambda: literal.smoothgrad(model, image, target, noises),
        "smoothgrad_squared": lambda: literal.smoothgrad_squared(model, image, target, noises),
        "vargrad": lambda: literal.vargrad(model, image, target, noises[:3]),
        "integrated_gradients": lambda: literal.integrated_gradients(
            model, image, target, torch.zeros_like(image), STEPS
        ),
        "integrated_gradients_smoothgrad": lambda: literal.integrated_gradients_smoothgrad(
            model, image, target, noises[:3], STEPS
        ),
        "guided_backprop": lambda: guided,
        "gradcam": lambda: cam,
        "guided_gradcam": lambda: guided * cam,
    }[name]()


def check_literal(
    name: str, maps: Tensor, model: nn.Sequential, x: Tensor, targets: Tensor
) -> None:
    for i in range(len(x)):
        wanted = expected(name, model, x, i, int(targets[i]))
        assert wanted.abs().max() > 0
        torch.testing.assert_close(maps[i], wanted, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def setup() -> tuple[nn.Sequential, Tensor, Tensor, dict[str, Tensor]]:
    model, x, targets = chain(), images(), torch.tensor([0, 3, 4])
    return model, x, targets, maps_of(OURS, model, x, targets)


@pytest.mark.parametrize("method", [m.name for m in OURS])
def test_equals_the_literal_version(method: str, setup: tuple) -> None:
    model, x, targets, maps = setup
    check_literal(method, maps[method], model, x, targets)


@pytest.mark.parametrize("method", [m.name for m in OURS])
def test_twin_a_slightly_wrong_map_is_caught(method: str, setup: tuple) -> None:
    model, x, targets, maps = setup
    with pytest.raises(AssertionError):
        check_literal(method, maps[method] * (1 + 1e-6), model, x, targets)
    with pytest.raises(AssertionError):
        check_literal(method, maps[method].roll(1, 0), model, x, targets)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_batch_size_changes_no_map(batch_size: int, setup: tuple) -> None:
    model, x, targets, maps = setup
    again = maps_of(OURS, model, x, targets, batch_size=batch_size)
    for name, value in again.items():
        torch.testing.assert_close(value, maps[name], rtol=1e-10, atol=1e-13)


def captum_maps(name: str, model: nn.Sequential, x: Tensor, targets: Tensor) -> Tensor:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed (test extra)")
    captum: dict[str, Callable[[], Tensor]] = {
        "gradient": lambda: attr.Saliency(model).attribute(x, target=targets, abs=False),
        "input_x_gradient": lambda: attr.InputXGradient(model).attribute(x, target=targets),
        "integrated_gradients": lambda: attr.IntegratedGradients(model).attribute(
            x, target=targets, n_steps=STEPS, method="riemann_middle"
        ),
        "guided_backprop": lambda: attr.GuidedBackprop(model).attribute(x, target=targets),
        "gradcam": lambda: attr.LayerAttribution.interpolate(
            attr.LayerGradCam(model, model[4]).attribute(x, target=targets, relu_attributions=True),
            (12, 12),
            interpolate_mode="bilinear",
        ),
        "guided_gradcam": lambda: (
            attr.GuidedBackprop(model).attribute(x, target=targets) * captum["gradcam"]()
        ),
    }
    return captum[name]()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "method",
    [
        "gradient",
        "input_x_gradient",
        "integrated_gradients",
        "guided_backprop",
        "gradcam",
        "guided_gradcam",
    ],
)
def test_equals_captum(method: str, setup: tuple) -> None:
    model, x, targets, maps = setup
    theirs = captum_maps(method, model, x, targets).detach()
    torch.testing.assert_close(maps[method], theirs, rtol=1e-5, atol=1e-12)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(maps[method] * (1 + 3e-5), theirs, rtol=1e-5, atol=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("ours", "kind"),
    [
        (SmoothGrad(4, 0.2), "smoothgrad"),
        (SmoothGradSquared(4, 0.2), "smoothgrad_sq"),
        (VarGrad(4, 0.2), "vargrad"),
    ],
)
def test_noise_tunnel_agrees_on_the_same_noise(
    ours: Method, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captum's NoiseTunnel, fed with our noise in place of its own."""
    attr = pytest.importorskip("captum.attr", reason="captum is not installed (test extra)")
    model, x, target = chain(), images(count=1), torch.tensor([2])
    maps = maps_of([ours], model, x, target)
    scale = float(value_range(x)) * 0.2
    seeds = [seed_for(SEED, "noise", STREAM, "image 0", s) for s in range(4)]
    noise = torch.stack([gaussian(x.shape[1:], seed, x.dtype) for seed in seeds]) * scale
    monkeypatch.setattr(torch, "normal", lambda mean, std, **_: noise)
    theirs = attr.NoiseTunnel(attr.Saliency(model)).attribute(
        x, nt_type=kind, nt_samples=4, stdevs=scale, target=target, abs=False
    )
    torch.testing.assert_close(maps[ours.name], theirs.detach(), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("style", STYLES)
def test_guided_backprop_sees_every_way_to_call_relu(style: str, setup: tuple) -> None:
    model, x, targets, maps = setup
    twin = Functional(model, style).eval()
    found = maps_of([GuidedBackprop(), Gradient()], twin, x, targets)
    torch.testing.assert_close(found["guided_backprop"], maps["guided_backprop"])
    assert not torch.allclose(found["guided_backprop"], found["gradient"])


def test_guided_backprop_cuts_relu6_at_both_ends() -> None:
    model = nn.Sequential(nn.Flatten(), nn.ReLU6(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]]))
    x = torch.tensor([[[[-1.0, 3.0], [7.0, 2.0]]]], dtype=torch.float64)
    maps = maps_of([GuidedBackprop()], model, x, torch.tensor([0]))
    assert maps["guided_backprop"].flatten().tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("layer", [nn.GELU(), nn.SiLU(), nn.LeakyReLU()])
def test_guided_backprop_refuses_what_it_is_not_defined_for(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), layer, nn.Flatten(), nn.Linear(300, 4)).double()
    with pytest.raises(MethodError, match="guided backprop"):
        maps_of([GuidedBackprop()], model, images(), torch.tensor([0, 1, 2]))


def test_gradcam_says_why_it_is_not_defined() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(288, 8), nn.ReLU(), nn.Linear(8, 4)).double()
    with pytest.raises(MethodError, match="gradcam"):
        maps_of([GradCAM()], model, images(), torch.tensor([0, 1, 2]))


def test_linear_model_gradient_smoothgrad_and_ig_are_exact() -> None:
    """For f = w x: gradient = SmoothGrad = w, IG = w * x, VarGrad = 0 (SCIENCE, section 7)."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(288, 4)).double()
    x, targets = images(), torch.tensor([0, 1, 2])
    w = model[1].weight.detach()[targets].view_as(x)
    maps = maps_of(
        [Gradient(), SmoothGrad(9), IntegratedGradients(3), VarGrad(9)], model, x, targets
    )
    torch.testing.assert_close(maps["gradient"], w, rtol=0, atol=1e-14)
    torch.testing.assert_close(maps["smoothgrad"], w, rtol=0, atol=1e-14)
    torch.testing.assert_close(maps["integrated_gradients"], w * x, rtol=1e-12, atol=1e-14)
    assert maps["vargrad"].abs().max() < 1e-28
    with pytest.raises(AssertionError):
        torch.testing.assert_close(maps["gradient"], w * x, rtol=0, atol=1e-14)


def test_one_conv_layer_sees_only_the_activation_pattern_around_a_pixel() -> None:
    """One conv layer, ReLU, sum pooling: equal patterns in a 3x3 neighbourhood, equal gradient (SCIENCE, section 7)."""
    conv = nn.Conv2d(1, 4, 3, padding=1).double()

    class SumPooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: Tensor) -> Tensor:
            total = torch.relu(self.conv(x)).sum((1, 2, 3))
            return torch.stack([total, -total], 1)

    x = images(count=1, channels=1, size=9)
    gradient = maps_of([Gradient()], SumPooled(), x, torch.tensor([0]))["gradient"][0, 0]
    active = (conv(x)[0] > 0).double()
    w = conv.weight.detach()[:, 0]
    for r in range(1, 8):
        for c in range(1, 8):
            around = active[:, r - 1 : r + 2, c - 1 : c + 2]
            assert float(gradient[r, c]) == pytest.approx(
                float((around * w.flip(1, 2)).sum()), abs=1e-12
            )


def test_vargrad_is_never_negative_in_float32() -> None:
    """E[g^2] - E[g]^2 goes negative in float32; Welford's update does not."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(288, 4))
    x = images().float()
    maps = maps_of([VarGrad(20)], model, x, torch.tensor([0, 1, 2]), batch_size=7)
    assert float(maps["vargrad"].min()) >= 0

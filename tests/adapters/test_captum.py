"""Captum's classes: each agrees with Captum called directly, image by image; what Captum cannot do is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import captum.attr as attr
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
    state_of,
)
from torch import Tensor, nn

from salsanity import registry
from salsanity.adapters import captum as adapter
from salsanity.errors import MethodError
from salsanity.models.random_state import random_state
from salsanity.seeds import seed_for

Direct = Callable[[nn.Module, Tensor, Tensor], Tensor]


def mask(side: int) -> Tensor:
    cells = torch.arange(16) // side
    return (cells[:, None] * -(-16 // side) + cells)[None, None]


def uniform(x: Tensor) -> Tensor:
    return x.min() + torch.rand(5, *x.shape[1:]) * (x.max() - x.min())


CASES: dict[str, tuple[str, Direct]] = {
    "Saliency": ("", lambda m, x, t: attr.Saliency(m).attribute(x, t, abs=False)),
    "InputXGradient": ("", lambda m, x, t: attr.InputXGradient(m).attribute(x, t)),
    "IntegratedGradients": (
        "n_steps=7, baselines=0.5",
        lambda m, x, t: attr.IntegratedGradients(m).attribute(x, 0.5, t, n_steps=7),
    ),
    "DeepLift": ("eps=1e-9", lambda m, x, t: attr.DeepLift(m, eps=1e-9).attribute(x, 0.0, t)),
    "DeepLiftShap": ("", lambda m, x, t: attr.DeepLiftShap(m).attribute(x, uniform(x), t)),
    "GradientShap": (
        "n_samples=3, stdevs=0.1",
        lambda m, x, t: attr.GradientShap(m).attribute(x, uniform(x), 3, 0.1, t),
    ),
    "GuidedBackprop": ("", lambda m, x, t: attr.GuidedBackprop(m).attribute(x, t)),
    "Deconvolution": ("", lambda m, x, t: attr.Deconvolution(m).attribute(x, t)),
    "GuidedGradCam": (
        "layer='conv2'",
        lambda m, x, t: attr.GuidedGradCam(m, m.conv2).attribute(x, t),
    ),
    "LayerGradCam": (
        "layer='conv1', relu_attributions=True",
        lambda m, x, t: attr.LayerGradCam(m, m.conv1).attribute(x, t, relu_attributions=True),
    ),
    "Occlusion": (
        "sliding_window_shapes=(2, 4, 4), strides=(2, 3, 3)",
        lambda m, x, t: attr.Occlusion(m).attribute(x, (2, 4, 4), (2, 3, 3), 0, t),
    ),
    "FeatureAblation": (
        "feature_size=5",
        lambda m, x, t: attr.FeatureAblation(m).attribute(x, 0, t, feature_mask=mask(5)),
    ),
    "ShapleyValueSampling": (
        "feature_size=8, n_samples=4",
        lambda m, x, t: attr.ShapleyValueSampling(m).attribute(
            x, 0, t, feature_mask=mask(8), n_samples=4, perturbations_per_eval=16
        ),
    ),
    "KernelShap": (
        "feature_size=8, n_samples=30",
        lambda m, x, t: attr.KernelShap(m).attribute(
            x, 0, t, feature_mask=mask(8), n_samples=30, perturbations_per_eval=16
        ),
    ),
    "Lime": (
        "feature_size=8, n_samples=30",
        lambda m, x, t: attr.Lime(m).attribute(
            x, 0, t, feature_mask=mask(8), n_samples=30, perturbations_per_eval=16
        ),
    ),
    "NoiseTunnel": (
        "method='IntegratedGradients(n_steps=3)', nt_samples=4",
        lambda m, x, t: attr.NoiseTunnel(attr.IntegratedGradients(m)).attribute(
            x,
            nt_samples=4,
            stdevs=0.15 * float(x.max() - x.min()),
            baselines=0,
            target=t,
            n_steps=3,
            internal_batch_size=16,
        ),
    ),
}


def spec_of(name: str) -> str:
    return f"captum:{name}({CASES[name][0]})"


def directly(name: str, model: nn.Module) -> Tensor:
    """Call Captum itself, image by image, under the random state that the project gives the image."""
    rows = []
    for i, image in enumerate(IDS):
        seed = seed_for(0, "foreign", registry.canonical(spec_of(name)), 0, image)
        with random_state(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows.append(CASES[name][1](model, X[i : i + 1].clone(), TARGETS[i : i + 1]).detach())
    found = torch.cat(rows)
    if found.shape[2:] == X.shape[2:]:
        return found
    return F.interpolate(found, size=X.shape[2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("name", CASES)
def test_each_class_is_captum_s_own(name: str) -> None:
    torch.testing.assert_close(
        maps(spec_of(name), network_of(plain())), directly(name, plain()), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", CASES)
def test_twin_another_network_disagrees(name: str) -> None:
    model = plain()
    model.conv1.weight.data.mul_(-1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            maps(spec_of(name), network_of(plain())), directly(name, model), rtol=1e-4, atol=1e-6
        )


def test_every_class_is_tried() -> None:
    assert {*CASES, "LRP"} == set(adapter.CLASSES)
    assert set(adapter.CLASSES) <= set(attr.__all__)


def test_lrp_is_captum_s_where_captum_has_rules() -> None:
    """By the epsilon rule a network of ReLUs without biases has input x gradient; Captum alone knows no Flatten."""
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(588, 4)).eval()
    model[0].bias.data.zero_()
    model[3].bias.data.zero_()
    x = X[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0, 0], x)
    found = maps("captum:LRP", network_of(model), rows=slice(0, 1))
    torch.testing.assert_close(found, (x * gradient).detach(), rtol=1e-3, atol=1e-5)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [*CASES, "LRP"])
def test_maps_do_not_depend_on_the_batch(name: str) -> None:
    spec = spec_of(name) if name in CASES else "captum:LRP"
    network = network_of(plain())
    together = maps(spec, network)
    assert torch.equal(together[1:2], maps(spec, network, rows=slice(1, 2)))


@pytest.mark.parametrize("name", ["DeepLiftShap", "GradientShap", "NoiseTunnel", "KernelShap"])
def test_randomness_is_the_run_s_seed_and_stream_alone(name: str) -> None:
    network = network_of(plain())
    torch.manual_seed(3)
    first, state = maps(spec_of(name), network), torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(first, maps(spec_of(name), network))
    assert not torch.equal(first, maps(spec_of(name), network, stream=1))
    assert not torch.equal(first, maps(spec_of(name), network, seed=1))
    torch.manual_seed(3)
    maps(spec_of(name), network)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", [*CASES, "LRP"])
def test_the_network_is_left_as_it_was(name: str) -> None:
    network = network_of(plain(inplace=True))
    before, x = state_of(network), X.clone()
    maps(spec_of(name) if name in CASES else "captum:LRP", network)
    assert state_of(network) == before
    assert torch.equal(X, x)


def test_twin_a_hook_would_be_noticed() -> None:
    network = network_of(plain())
    before = state_of(network)
    network.module.relu1.register_forward_hook(lambda *_: None)
    assert state_of(network) != before


@pytest.mark.parametrize(
    "name", ["DeepLift", "LRP", "GuidedBackprop", "GuidedGradCam", "Deconvolution"]
)
def test_in_place_activations_change_no_map(name: str) -> None:
    spec = f"captum:{name}"
    usual = maps(spec, network_of(plain()))
    torch.testing.assert_close(maps(spec, network_of(plain(inplace=True))), usual)


RULES = ("DeepLift", "DeepLiftShap", "LRP", "GuidedBackprop", "GuidedGradCam", "Deconvolution")


@pytest.mark.parametrize("name", [*RULES, "NoiseTunnel(method='GuidedBackprop')"])
@pytest.mark.parametrize("style", ["functional", "gelu"])
def test_functional_activations_are_refused_where_a_rule_would_miss_them(
    name: str, style: str
) -> None:
    with pytest.raises(MethodError, match=r"relu|gelu"):
        admitted(f"captum:{name}", network_of(Variant(style)))


def test_twin_captum_itself_silently_gives_the_gradient() -> None:
    model = Variant("functional").eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guided = attr.GuidedBackprop(model).attribute(X.clone(), TARGETS)
        gradient = attr.Saliency(model).attribute(X.clone(), TARGETS, abs=False)
    torch.testing.assert_close(guided, gradient)


@pytest.mark.parametrize("name", ["Saliency", "IntegratedGradients", "Occlusion", "LayerGradCam"])
@pytest.mark.parametrize("style", ["functional", "gelu", "reused", "sum", "mapping"])
def test_methods_without_rules_take_any_network(name: str, style: str) -> None:
    network = network_of(Variant(style))
    spec = f"captum:{name}(layer='conv2')" if name == "LayerGradCam" else f"captum:{name}"
    admitted(spec, network)
    assert bool(maps(spec, network).isfinite().all())


@pytest.mark.parametrize("name", ["DeepLift", "LRP"])
def test_a_reused_activation_is_worked_around(name: str) -> None:
    usual = maps(f"captum:{name}", network_of(Variant("modules")))
    network = network_of(Variant("reused"))
    admitted(f"captum:{name}", network)
    torch.testing.assert_close(maps(f"captum:{name}", network), usual)


def test_twin_captum_itself_does_not_admit_reuse() -> None:
    with pytest.raises(RuntimeError, match="more than once"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attr.DeepLift(Variant("reused").eval()).attribute(X.clone(), 0.0, TARGETS)


def test_lrp_refuses_sums_and_layers_without_a_rule() -> None:
    with pytest.raises(MethodError, match="sums"):
        admitted("captum:LRP", network_of(Variant("sum")))
    model = plain()
    model.relu1 = nn.Sigmoid()
    with pytest.raises(MethodError, match="no rule for relu1"):
        admitted("captum:LRP", network_of(model))


def test_a_network_that_relies_on_overwriting_is_refused() -> None:
    with pytest.raises(MethodError, match="overwrite"):
        admitted("captum:Saliency", network_of(Variant("overwriting")))


def test_what_stands_in_for_captum_s_defaults_is_said() -> None:
    network = network_of(plain())
    assert admitted("captum:LayerGradCam", network) == [
        "captum:LayerGradCam: looks at layer 'relu2'"
    ]
    assert "uniform noise" in admitted("captum:GradientShap", network)[0]
    assert "squares of 2 pixels" in admitted("captum:Lime", network)[0]
    assert "(2, 2, 2)" in admitted("captum:Occlusion", network)[0]
    assert "0.15" in admitted("captum:NoiseTunnel", network)[0]


def test_a_coarse_map_says_from_which_size_it_was_enlarged() -> None:
    found = explained("captum:LayerGradCam", network_of(plain()))
    assert found.enlarged_from == (8, 8)
    assert explained("captum:Saliency", network_of(plain())).enlarged_from is None


def test_a_named_layer_is_looked_up_in_the_copy() -> None:
    model = plain()
    network = network_of(model)
    maps("captum:LayerGradCam(layer='conv1')", network)
    assert not model.conv1._forward_hooks
    with pytest.raises(MethodError, match=r"got 'nowhere'.*fc"):
        admitted("captum:LayerGradCam(layer='nowhere')", network)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("captum:Salience", "Saliency, InputXGradient"),
        ("captum:Saliency(steps=3)", "has no argument 'steps'; it takes: abs"),
        ("captum:Saliency(target=3)", "has no argument 'target'"),
        ("captum:FeaturePermutation", "batch"),
        ("captum:ShapleyValues", "ShapleyValueSampling"),
        ("captum:NoiseTunnel(method='Nothing')", "got 'Nothing'"),
        ("captum:NoiseTunnel(method='Saliency(x=1)')", "no argument 'x'"),
        ("captum:NoiseTunnel(method='NoiseTunnel')", "another class"),
        ("captum:NoiseTunnel(method=3)", "name in quotes"),
        ("captum:LayerGradCam(layer=3)", "name of a module"),
        ("captum:Lime(feature_size='a')", "whole number"),
        ("captum:GradientShap(baselines=1)", "no argument 'baselines'"),
    ],
)
def test_wrong_names_and_arguments_say_what_there_is(spec: str, words: str) -> None:
    with pytest.raises(MethodError, match=words.replace("(", r"\(")):
        registry.method(spec)


def test_the_name_in_scores_is_canonical() -> None:
    method = registry.method("captum:Occlusion(strides=(2,3,3), sliding_window_shapes=(2,4,4))")
    assert method.name == "captum:Occlusion(sliding_window_shapes=(2, 4, 4), strides=(2, 3, 3))"
    assert method.version.startswith("captum ")


def test_without_captum_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(MethodError, match=r"pip install 'salsanity\[captum\]'"):
        registry.method("captum:Saliency")


def test_an_argument_that_captum_refuses_spoils_the_rows_and_says_so() -> None:
    found = explained("captum:IntegratedGradients(method='nothing')", network_of(plain()))
    assert all("captum:IntegratedGradients" in str(reason) for reason in found.reasons)

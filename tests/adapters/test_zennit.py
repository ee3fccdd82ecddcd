"""zennit's composites and attributors: each agrees with zennit called directly, image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
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

import shim.sitecustomize  # noqa: F401 - zennit imports torchvision
from salsanity import registry
from salsanity.adapters import zennit as adapter
from salsanity.adapters.library import imported
from salsanity.errors import MethodError
from salsanity.models.random_state import random_state
from salsanity.seeds import seed_for


def part(name: str) -> Any:
    """A module of zennit; the tests skip where it cannot be had."""
    try:
        return imported(f"zennit.{name}", method="test", extra="zennit")
    except MethodError as error:
        pytest.skip(str(error))


def merged() -> list[Any]:
    return [part("canonizers").SequentialMergeBatchNorm()]


def bounds(x: Tensor) -> dict[str, Tensor]:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return {"low": low.expand_as(x), "high": high.expand_as(x)}


COMPOSITES: dict[str, Callable[[Tensor], Any]] = {
    "EpsilonGammaBox": lambda x: part("composites").EpsilonGammaBox(
        **bounds(x), canonizers=merged()
    ),
    "EpsilonPlus": lambda x: part("composites").EpsilonPlus(canonizers=merged()),
    "EpsilonPlusFlat": lambda x: part("composites").EpsilonPlusFlat(canonizers=merged()),
    "EpsilonAlpha2Beta1": lambda x: part("composites").EpsilonAlpha2Beta1(canonizers=merged()),
    "EpsilonAlpha2Beta1Flat": lambda x: part("composites").EpsilonAlpha2Beta1Flat(
        canonizers=merged()
    ),
    "ExcitationBackprop": lambda x: part("composites").ExcitationBackprop(canonizers=merged()),
    "GuidedBackprop": lambda x: part("composites").GuidedBackprop(),
    "DeconvNet": lambda x: part("composites").DeconvNet(),
    "BetaSmooth": lambda x: part("composites").BetaSmooth(),
}

ATTRIBUTORS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "Gradient": ("zennit:Gradient", {}, None),
    "SmoothGrad": (
        "zennit:SmoothGrad(n_iter=3, noise_level=0.2)",
        {"n_iter": 3, "noise_level": 0.2},
        None,
    ),
    "IntegratedGradients": ("zennit:IntegratedGradients(n_iter=4)", {"n_iter": 4}, None),
    "SmoothGrad over a composite": (
        "zennit:SmoothGrad(composite='EpsilonPlus', n_iter=2)",
        {"n_iter": 2},
        "EpsilonPlus",
    ),
}

SPECS = [*(f"zennit:{name}" for name in COMPOSITES), *(spec for spec, _, _ in ATTRIBUTORS.values())]


def one_hot(target: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda output: torch.eye(output.shape[1])[target]


def directly(spec: str, model: nn.Module) -> Tensor:
    """Call zennit itself, image by image, under the random state that the project gives the image."""
    rows = []
    settings = {s: (kind.split()[0], kw, c) for kind, (s, kw, c) in ATTRIBUTORS.items()}
    kind, arguments, title = settings.get(spec, ("Gradient", {}, spec.removeprefix("zennit:")))
    for i, image in enumerate(IDS):
        x = X[i : i + 1].clone()
        composite = COMPOSITES[title](x) if title else None
        attributor = getattr(part("attribution"), kind)(model, composite, **arguments)
        seed = seed_for(0, "foreign", registry.canonical(spec), 0, image)
        with random_state(seed), attributor:
            rows.append(attributor(x, one_hot(TARGETS[i : i + 1]))[1].detach())
    return torch.cat(rows)


@pytest.mark.parametrize("spec", SPECS)
def test_each_is_zennit_s_own(spec: str) -> None:
    theirs = directly(spec, plain())
    torch.testing.assert_close(maps(spec, network_of(plain())), theirs, rtol=1e-4, atol=1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(maps(spec, network_of(plain())), theirs.roll(1, 0))


def test_every_name_is_tried() -> None:
    assert set(COMPOSITES) == set(adapter.COMPOSITES)
    assert {name.split()[0] for name in ATTRIBUTORS} == set(adapter.ATTRIBUTORS)


def test_relevance_is_conserved_where_biases_are_absent() -> None:
    """An oracle of its own: what leaves the network equals what entered, for the z+ rule without biases."""
    part("composites")
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3, bias=False)
    )
    model[3].weight.data.abs_()
    found = maps("zennit:EpsilonPlus", network_of(model)).flatten(1).sum(1)
    torch.testing.assert_close(found, torch.ones(3), rtol=1e-3, atol=1e-3)
    scores = maps("zennit:Gradient", network_of(model)).flatten(1).sum(1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(scores, torch.ones(3), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spec", SPECS)
def test_maps_do_not_depend_on_the_batch(spec: str) -> None:
    part("composites")
    network = network_of(plain())
    assert torch.equal(maps(spec, network)[1:2], maps(spec, network, rows=slice(1, 2)))


@pytest.mark.parametrize("spec", SPECS)
def test_the_network_is_left_as_it_was(spec: str) -> None:
    part("composites")
    network = network_of(plain(inplace=True))
    before, x = state_of(network), X.clone()
    maps(spec, network)
    assert state_of(network) == before
    assert torch.equal(X, x)


def test_randomness_is_the_run_s_seed_and_stream_alone() -> None:
    part("composites")
    network = network_of(plain())
    first, state = maps("zennit:SmoothGrad", network), torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(first, maps("zennit:SmoothGrad", network))
    assert not torch.equal(first, maps("zennit:SmoothGrad", network, stream=1))
    assert not torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", adapter.COMPOSITES)
def test_functional_activations_are_refused(name: str) -> None:
    part("composites")
    with pytest.raises(MethodError, match=r"relu in the network itself"):
        admitted(f"zennit:{name}", network_of(Variant("functional")))


def test_attention_is_refused() -> None:
    part("composites")

    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(2, 4, 4, stride=4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.conv(x).flatten(2).transpose(1, 2)
            return self.fc(
                torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(1)
            )

    with pytest.raises(MethodError, match="scaled_dot_product_attention"):
        admitted("zennit:EpsilonPlus", network_of(Attends().eval()))


def test_twin_zennit_itself_silently_gives_the_gradient() -> None:
    model = Variant("functional").eval()
    composite = part("composites").GuidedBackprop()
    with part("attribution").Gradient(model, composite) as attributor:
        guided = attributor(X.clone(), one_hot(TARGETS))[1]
    gradient = part("attribution").Gradient(model)(X.clone(), one_hot(TARGETS))[1]
    torch.testing.assert_close(guided, gradient)


def test_reused_activations_do_as_well() -> None:
    part("composites")
    usual = maps("zennit:EpsilonPlus", network_of(Variant("modules")))
    network = network_of(Variant("reused"))
    admitted("zennit:EpsilonPlus", network)
    torch.testing.assert_close(maps("zennit:EpsilonPlus", network), usual)


def test_sums_that_zennit_cannot_see_are_said() -> None:
    part("composites")
    (canonised, sums) = admitted("zennit:EpsilonPlus", network_of(Variant("sum")))
    assert "SequentialMergeBatchNorm" in canonised
    assert "each summand gets the whole relevance" in sums
    assert admitted("zennit:GuidedBackprop", network_of(Variant("sum"))) == []


def test_a_canonizer_that_changes_the_network_is_refused() -> None:
    part("composites")

    class Crossed(nn.Module):
        """A batch norm is registered right after a convolution that it does not follow."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(2, channels, 1), nn.BatchNorm2d(5)
            self.second, self.fc = nn.Conv2d(channels, 5, 1), nn.Linear(5 * 256, 4)
            nn.init.uniform_(self.norm.weight, 2, 3)
            nn.init.constant_(self.norm.running_mean, 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.norm(self.second(self.first(x))).flatten(1))

    for channels, words in ((5, "changes the network's logits"), (3, "cannot be applied")):
        network = network_of(Crossed(channels).eval())
        with pytest.raises(MethodError, match=words):
            admitted("zennit:EpsilonPlus", network)
        admitted("zennit:EpsilonPlus(canonizer='none')", network_of(Crossed(channels).eval()))


def test_a_network_without_rules_is_refused() -> None:
    part("composites")

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(512, 3) / 10)

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.weight

    with pytest.raises(MethodError, match="no layer that it has a rule for"):
        adapter_request(Bare())


def adapter_request(model: nn.Module) -> None:
    """Admit EpsilonPlus for a network without a spatial layer."""
    from salsanity.methods import Inputs

    network = network_of(model)
    method = registry.method("zennit:EpsilonPlus")
    (request,) = next(method.steps(Inputs(X, TARGETS, IDS, 0, "trained")))
    request.admit(network.module, X[:1])


def test_torchvision_s_resnet_is_canonised_by_zennit_s_own() -> None:
    part("composites")
    from salsanity.adapters.zennit import Composite, _canonizers

    models = imported("torchvision.models", method="test", extra="torchvision")
    made = _canonizers(models.resnet18(), Composite("EpsilonPlus", {}), "test")
    assert [type(c).__name__ for c in made] == ["ResNetCanonizer"]


def test_bounds_are_numbers_or_one_per_channel() -> None:
    part("composites")
    network = network_of(plain())
    number = maps("zennit:EpsilonGammaBox(low=-3, high=3.0)", network)
    channels = maps("zennit:EpsilonGammaBox(low=(-3, -3), high=(3, 3))", network)
    torch.testing.assert_close(number, channels)
    assert not torch.allclose(number, maps("zennit:EpsilonGammaBox", network))
    found = explained("zennit:EpsilonGammaBox(low=(1, 2, 3), high=4)", network)
    assert "as 2 numbers" in str(found.reasons[0])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("zennit:Epsilon", "EpsilonGammaBox, EpsilonPlus"),
        ("zennit:EpsilonPlus(gamma=1)", "has no argument 'gamma'; it takes: canonizer, epsilon"),
        ("zennit:SmoothGrad(composite='Nothing')", "got 'Nothing'"),
        ("zennit:SmoothGrad(composite='EpsilonPlus(q=1)')", "no argument 'q'"),
        ("zennit:SmoothGrad(steps=1)", "it takes: composite, n_iter, noise_level"),
        ("zennit:EpsilonPlus(canonizer='x')", "SequentialMergeBatchNorm"),
        ("zennit:EpsilonGammaBox(low='x')", "one per channel"),
    ],
)
def test_wrong_names_and_arguments_say_what_there_is(spec: str, words: str) -> None:
    part("composites")
    with pytest.raises(MethodError, match=words):
        registry.method(spec)


def test_without_zennit_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zennit.composites", None)
    with pytest.raises(MethodError, match=r"pip install 'salsanity\[zennit\]'"):
        registry.method("zennit:EpsilonPlus")

"""The same function with other weights: what is found, what it is rewritten to, and which maps notice."""

from __future__ import annotations

import pytest
import torch
from bench import measured
from torch import nn

from salsanity.checks.reparametrise import (
    STAGE,
    Reparametrisation,
    disagreement,
    other_weights,
)
from salsanity.errors import ModelError
from salsanity.methods import GradCAM, Gradient, GuidedBackprop, InputXGradient, SmoothGrad
from salsanity.models.links import Chain, Fold, links_of
from salsanity.models.network import prepare
from salsanity.records import Outcome


def network(norm: bool = True, affine: bool = True) -> nn.Module:
    torch.manual_seed(4)
    layers: list[nn.Module] = [nn.Conv2d(3, 6, 3, padding=1, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(6, affine=affine))
    layers += [
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 36, 7),
        nn.ReLU(),
        nn.Linear(7, 5),
    ]
    model = nn.Sequential(*layers)
    for part in model:
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
            if affine:
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.uniform_(part.bias, -1, 1)
    return model.eval()


class Residual(nn.Module):
    """A value that two readers take belongs to no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        y = self.a(x).relu()
        return self.head((self.b(y) + y).mean((2, 3)))


def images() -> torch.Tensor:
    return torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(5))


def test_links_of_a_chain() -> None:
    found = links_of(prepare(network(), images()[:1]), images()[:1])
    assert found.folds == (Fold("0", "1"),)
    assert found.chains == (
        Chain("0", "1", "3", 1),
        Chain("3", None, "7", 36),
        Chain("7", None, "9", 1),
    )


def test_a_value_with_two_readers_is_left_alone() -> None:
    assert links_of(prepare(Residual().eval(), images()[:1]), images()[:1]).chains == ()


@pytest.mark.parametrize(("norm", "affine"), [(True, True), (True, False), (False, True)])
def test_logits_agree_and_every_weight_of_a_chain_is_another(norm: bool, affine: bool) -> None:
    model = prepare(network(norm, affine), images()[:1])
    weights = other_weights(model, images(), seed=1)
    assert disagreement(model, weights, images()) < 1e-6
    for layer, tensors in weights.items():
        trained = model.trained[layer]["weight"] if "weight" in tensors else None
        if trained is not None:
            assert not torch.allclose(tensors["weight"], trained), layer
    assert not torch.equal(
        other_weights(model, images(), seed=2)["3" if norm else "2"]["weight"],
        weights["3" if norm else "2"]["weight"],
    )


def test_twin_a_rescaling_without_its_inverse_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "salsanity.checks.reparametrise._columns", lambda values, weight: torch.ones(1)
    )
    with pytest.raises(ModelError, match="they differ by"):
        other_weights(prepare(network(), images()[:1]), images(), seed=1)


def test_maps_of_the_function_stay_and_controls_come_out_as_they_must() -> None:
    methods = [Gradient(), SmoothGrad(3), InputXGradient(), GuidedBackprop()]
    found = measured(Reparametrisation(), network(), images(), [*methods, GradCAM()])
    for method in methods:
        assert found.values(method.name, STAGE).min() > 0.999, method.name
    verdicts = measured(Reparametrisation(), network(), images()).verdicts(
        ["gradient"], ["edge", "noise"]
    )
    assert verdicts["gradient"].outcome is Outcome.PASS
    assert verdicts["edge"].outcome is Outcome.PASS
    assert verdicts["noise"].outcome is Outcome.FAIL


def test_a_map_that_reads_weights_fails() -> None:
    """The first layer's filters, whatever the image: other weights, another map."""

    class Filters:
        name, stochastic = "filters", False

        def steps(self, inputs):
            from salsanity.passes.request import Foreign

            def explainer(model, x, targets):
                return x * model[0].weight[0].abs().mean((1, 2))[None, :, None, None]

            (result,) = yield (Foreign(explainer, "filters"),)
            return result.gradient

    found = measured(Reparametrisation(), network(), images(), [Filters()])
    assert found.values("filters", STAGE).max() < 0.9999


def test_a_network_without_anything_to_rewrite_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, 5)).eval()
    with pytest.raises(ModelError, match="this network has none"):
        measured(Reparametrisation(), model, images())

"""`fresh` hands out newly built networks, and sees through factories that do not build them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from salsanity.errors import ModelError
from salsanity.models.network import prepare
from salsanity.models.swap import swapped
from salsanity.randomizers.fresh import Fresh, Keeping, fresh_draw

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def make_model(hidden: int = 16) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 3)
    )


def trained() -> nn.Sequential:
    model = make_model()
    for p in model.parameters():
        p.data += 1
    return model


def test_a_fresh_draw_is_a_built_network():
    network = prepare(trained(), IMAGE)
    draw = fresh_draw(network, make_model)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    weights = draw(network, 7)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert set(weights) == {"1", "2", "4"}
    assert set(weights["2"]) == {"weight", "bias"}
    assert weights["1"]["weight"].abs().max() <= 1 / 8
    assert torch.equal(weights["1"]["weight"], draw(network, 7)["1"]["weight"])
    assert not torch.equal(weights["1"]["weight"], draw(network, 8)["1"]["weight"])


def test_a_factory_of_trained_weights_is_refused():
    model = trained()
    network = prepare(model, IMAGE)
    with pytest.raises(ModelError, match=r"1\.weight.* equal in two networks that it built"):
        fresh_draw(network, lambda: model)

    def seeded() -> nn.Module:
        torch.manual_seed(0)
        return make_model()

    with pytest.raises(ModelError, match="without a fixed seed"):
        fresh_draw(network, seeded)


def test_a_partly_trained_factory_is_refused_unless_kept():
    model = trained()
    network = prepare(model, IMAGE)

    def partly() -> nn.Module:
        fresh = make_model()
        fresh[4].load_state_dict(model[4].state_dict())
        return fresh

    with pytest.raises(ModelError, match=r"4\.weight, 4\.bias are equal"):
        fresh_draw(network, partly)
    kept = Keeping(fresh_draw(network, partly, keep=["4"]), ("4",))
    assert set(kept(network, 0)) == {"1", "2"}
    assert kept.name == "fresh"


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: make_model(8), r"expected 1\.weight of shape \(16, 64\), got \(8, 64\)"),
        (lambda: nn.Flatten(), "has no layer '1'"),
        (lambda: 1 / 0, "make_model failed: ZeroDivisionError"),
        (lambda: "a model", "got str"),
    ],
)
def test_other_factories_are_named(factory, message):
    with pytest.raises(ModelError, match=message):
        fresh_draw(prepare(trained(), IMAGE), factory)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_are_built_out():
    def lazy() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))

    model = lazy()
    model(IMAGE)
    network = prepare(model, IMAGE)
    assert fresh_draw(network, lazy)(network, 0)["1"]["weight"].shape == (8, 64)


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_parametrised_layers_are_built_with_their_buffers(wrap):
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), wrap(nn.Linear(64, 8)), nn.ReLU(), nn.Linear(8, 3))

    network = prepare(build(), IMAGE)
    with swapped(network, Fresh(build)(network, 0)):
        weight = network.module[1].weight
    if wrap is parametrizations.spectral_norm:
        assert torch.linalg.matrix_norm(weight, 2) == pytest.approx(1, abs=0.05)
    else:
        assert weight.abs().max() <= 1 / 8 + 1e-6

"""A network that looks as torch left it is named; one that was trained, however little, is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from salsanity.models import untrained
from salsanity.models.network import prepare
from salsanity.models.reference import cnn
from salsanity.models.untrained import seems_untrained

IMAGE = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def classifier() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 5), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(288, 32), nn.ReLU(), nn.Linear(32, 10))


def taught(model: nn.Module, steps: int) -> nn.Module:
    """Train on a few random images: as little as a training can be."""
    drawn = torch.Generator().manual_seed(1)
    x, y = torch.rand(32, 1, 28, 28, generator=drawn), torch.arange(32) % 10
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize("make", [classifier, lambda: cnn(initial="torch")])
def test_what_torch_has_just_built_is_untrained(make) -> None:
    torch.manual_seed(3)
    assert seems_untrained(prepare(make().eval(), IMAGE))


@pytest.mark.parametrize("steps", [5, 100])
def test_a_network_that_was_trained_is_not(steps: int) -> None:
    assert not seems_untrained(prepare(taught(classifier(), steps), IMAGE))


def test_one_trained_layer_is_enough() -> None:
    model = classifier().eval()
    with torch.no_grad():
        model[5].weight.mul_(1.01)
    assert not seems_untrained(prepare(model, IMAGE))


def test_a_spread_within_the_range_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier().eval()
    with torch.no_grad():
        model[5].weight.mul_(0.5)
    assert not seems_untrained(prepare(model, IMAGE))
    monkeypatch.setattr(untrained, "SURE", 1e3)
    assert seems_untrained(prepare(model, IMAGE)), "the twin looks at the range alone"


def test_an_initialisation_of_ones_own_is_not_judged() -> None:
    assert not seems_untrained(prepare(cnn(initial="paper").eval(), IMAGE))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(10, 784))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.weight.t()

    assert not seems_untrained(prepare(Plain(), IMAGE))

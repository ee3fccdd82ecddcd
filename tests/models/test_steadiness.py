"""Whether an image's logits are its own: twice, alone, among others, in batches of any size."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from salsanity.models.network import Network, prepare
from salsanity.models.steadiness import Steadiness, steadiness

IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    """`between` runs between its two layers, `last` on the logits."""

    def __init__(self, between=None, last=None) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 12), nn.Linear(12, 3)
        self.between, self.last = between or torch.relu, last or torch.nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.b(self.between(self.a(x.flatten(1)))))


def found(model: nn.Module, images: Tensor = IMAGES) -> Steadiness:
    return steadiness(prepare(model, IMAGES[:2]), images)


STEADY = {
    "plain": Small,
    "dropout in eval mode": lambda: Small(nn.Dropout(0.5)),
    "batch norm": lambda: Small(nn.BatchNorm1d(12)),
    "group norm": lambda: Small(nn.GroupNorm(3, 12)),
    "double": lambda: Small().double(),
    "half": lambda: Small().bfloat16(),
    "deep": lambda: Small(nn.Sequential(*[nn.Linear(12, 12) for _ in range(40)])),
}


@pytest.mark.parametrize("name", STEADY)
def test_steady_networks(name):
    model = STEADY[name]()
    images = IMAGES.to(next(model.parameters()).dtype)
    result = steadiness(prepare(model, images[:2]), images)
    assert result.is_steady, result
    assert (result.note, result.refusal, result.largest_batch) == (None, None, None)


def at_times(x: Tensor) -> Tensor:
    """Changes the values in one call of four, and by one of three generators."""
    return x * 1.5 if random.random() < 0.5 else x


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Remembering(nn.Module):
    """Mixes in what the call before it left, which the same batch again does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before = x.detach() if self.state is None or len(self.state) != len(x) else self.state
        self.state = x.detach()
        return x + before


RANDOM = {
    "keeps the batch before": Remembering(),
    "functional dropout": lambda x: functional.dropout(x, 0.3),
    "noise": lambda x: x + 1e-3 * torch.randn_like(x),
    "numpy": lambda x: x + float(np.random.rand()),
    "counts": Counting(),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_networks(name):
    network = prepare(Small(RANDOM[name]), IMAGES[:2])
    result = steadiness(network, IMAGES)
    assert (result.random, result.depends_on_batch) == (True, False)
    assert result.difference > 1e-5
    assert "random in eval mode" in result.note
    assert not result.is_steady


BATCH = {
    "statistics": nn.BatchNorm1d(12, track_running_stats=False),
    "centred": lambda x: x - x.mean(0),
    "the other way": lambda x: x.roll(1, 0),
    "softmax over images": lambda x: x.softmax(0),
    "one attends to the other": lambda x: torch.softmax(x @ x.t(), 1) @ x,
}


@pytest.mark.parametrize("name", BATCH)
def test_logits_that_depend_on_the_batch(name):
    result = found(Small(BATCH[name]))
    assert (result.random, result.depends_on_batch) == (False, True)
    if name == "statistics":  # one image has no variance
        assert result.needs_at_least == 2
        assert "statistics of the batch" in result.refusal
        return
    assert result.needs_at_least == 1
    assert result.largest_batch == 1
    assert "each is explained alone" in result.note
    assert result.refusal is None


def test_networks_for_several_images():
    result = found(Small(last=torch.squeeze))
    assert (result.needs_at_least, result.depends_on_batch, result.random) == (2, False, False)
    assert "at least 2 images at a time" in result.refusal

    def three(x: Tensor) -> Tensor:
        if len(x) < 3:
            raise ValueError("too few")
        return x

    network = prepare(Small(), IMAGES[:2])
    network.module.between = three
    assert steadiness(network, IMAGES).needs_at_least == 3


class OneOnly(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(1, -1))


@pytest.mark.parametrize("between", [torch.relu, RANDOM["functional dropout"], Remembering()])
def test_networks_for_one_image(between):
    result = steadiness(prepare(OneOnly(between), IMAGES[:1]), IMAGES)
    assert result.only_single
    assert result.random == (between is not torch.relu)
    assert result.largest_batch == 1
    assert result.refusal is None
    assert result.note


def test_one_image_is_enough():
    assert found(Small(BATCH["centred"]), IMAGES[:1]).depends_on_batch
    assert found(Small(), IMAGES[:1]).is_steady


def states() -> tuple[object, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def test_random_states_and_the_network_are_as_before():
    class Training(Small):
        def forward(self, x: Tensor) -> Tensor:
            random.random(), np.random.rand()
            self.seen = x
            return super().forward(x)

    network: Network = prepare(Training(nn.BatchNorm1d(12)), IMAGES[:2])
    network.module.between.train()
    before, values = states(), network.trained["between"]["running_mean"].clone()
    result = steadiness(network, IMAGES)
    assert result.depends_on_batch
    assert states() == before
    assert "seen" not in vars(network.module)
    assert torch.equal(network.module.between.running_mean, values)

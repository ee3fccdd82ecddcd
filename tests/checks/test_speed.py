"""Batch size and memory format found by measuring, with times that a test makes up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from salsanity.checks import speed
from salsanity.checks.speed import Speed, chosen_speed, measured_speed
from salsanity.models.network import Network, prepare

X, TARGETS = torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.long)
BEST = 16
DISTURBED = (1, 1, 1, *[1.25] * 7)
"""Sizes of 8 and more are a quarter slower while each is timed for the first time."""


@pytest.fixture
def network() -> Network:
    model = nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    return prepare(model, X)


def layout_of(network: Network) -> str:
    (kernel,) = [slot.tensor for slot in network.slots if slot.tensor.ndim == 4]
    return "contiguous" if kernel.is_contiguous() else "channels_last"


class Clock:
    """Times a pass by formula: larger batches are better up to 16; the first rounds may be disturbed."""

    def __init__(self, disturbed: Sequence[float] = (), channels_last: float = 1.0) -> None:
        self.disturbed, self.channels_last, self.asked = iter(disturbed), channels_last, 0

    def __call__(self, network: Network, x: object, targets: object, size: int, **_: bool) -> float:
        self.asked += 1
        fair = 1e-3 * (1 + max(0, 4 - size.bit_length() + 1) * 0.1)
        factor = self.channels_last if layout_of(network) == "channels_last" else 1.0
        return fair * factor * next(self.disturbed, 1.0)


def test_the_smallest_of_the_fast_sizes_is_taken(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_seconds", Clock())
    assert measured_speed(network, X, TARGETS) == Speed(BEST, pytest.approx(1e-3), "contiguous")
    assert layout_of(network) == "contiguous"


def test_a_disturbance_is_not_taken_for_a_slow_size(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_seconds", Clock(DISTURBED, 1.5))
    assert measured_speed(network, X, TARGETS).batch_size == BEST


def test_twin_one_round_takes_the_disturbance_for_a_slow_size(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "_seconds", Clock(DISTURBED, 1.5))
    assert measured_speed(network, X, TARGETS).batch_size != BEST


@pytest.mark.parametrize(("factor", "layout"), [(0.9, "channels_last"), (0.97, "contiguous")])
def test_the_other_format_must_be_clearly_faster(
    network: Network, monkeypatch: pytest.MonkeyPatch, factor: float, layout: str
) -> None:
    monkeypatch.setattr(speed, "_seconds", Clock(channels_last=factor))
    assert measured_speed(network, X, TARGETS).memory_format == layout
    assert layout_of(network) == layout


def test_what_is_given_is_not_searched(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(speed, "_seconds", clock)
    found = measured_speed(network, X, TARGETS, batch_size=5, memory_format="channels_last")
    assert (found.batch_size, found.memory_format, clock.asked) == (5, "channels_last", 1)
    assert layout_of(network) == "channels_last"


def test_sizes_end_where_memory_runs_out(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(network: Network, x: object, targets: object, size: int, **_: bool) -> float:
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return 1e-3 / size

    monkeypatch.setattr(speed, "_seconds", timed)
    assert measured_speed(network, X, TARGETS).batch_size == 4


def test_long_batches_are_not_tried_on_a_cpu(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: set[int] = set()

    def timed(network: Network, x: object, targets: object, size: int, **_: bool) -> float:
        tried.add(size)
        return 0.3 / size**0.1

    monkeypatch.setattr(speed, "_seconds", timed)
    measured_speed(network, X, TARGETS)
    assert max(tried) == 4


def test_a_network_that_does_not_run_in_channels_last_stays_contiguous() -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(72, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x).view(len(x), -1))

    network = prepare(Views(), X)
    assert measured_speed(network, X, TARGETS).memory_format == "contiguous"
    assert layout_of(network) == "contiguous"


def test_choosing_from_times() -> None:
    times = {("contiguous", 1): 2.0, ("contiguous", 2): 1.02, ("contiguous", 4): 1.0}
    assert chosen_speed(times) == Speed(2, 1.02, "contiguous")
    assert chosen_speed(times | {("channels_last", 4): 0.94}) == Speed(4, 0.94, "channels_last")
    assert chosen_speed(times | {("channels_last", 4): 0.96}) == Speed(2, 1.02, "contiguous")

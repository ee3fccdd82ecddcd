"""Batch size and memory format found by measuring, with times that a test makes up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from salsanity.models.network import Network, prepare
from salsanity.units import speed
from salsanity.units.speed import Ahead, Speed, chosen_speed, measured_speed

X, TARGETS = torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.long)


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
    """Times a pass by formula: larger batches are better up to 16; first timings of 8 and more may be `disturbed`."""

    def __init__(self, *, disturbed: bool = False, channels_last: float = 1.0) -> None:
        self.disturbed, self.channels_last = disturbed, channels_last
        self.asked: list[tuple[str, int]] = []
        self.now = 0.0

    def __call__(
        self, network: Network, x: object, targets: object, size: int, *, warm: bool
    ) -> float:
        key = layout_of(network), size
        factor = self.channels_last if key[0] == "channels_last" else 1.0
        if self.disturbed and size >= 8 and key not in self.asked:
            factor *= 1.35
        self.asked.append(key)
        each = 1e-3 * (1 + max(0, 4 - size.bit_length() + 1) * 0.1) * factor
        self.now += each * size * (1 if warm else 2)
        return each

    def perf_counter(self) -> float:
        """Stand in for the machine's clock."""
        return self.now


def test_a_size_that_is_large_enough_is_taken_of_the_fast_ones(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_seconds", Clock())
    assert measured_speed(network, X, TARGETS) == Speed(32, pytest.approx(1e-3), "contiguous")
    assert layout_of(network) == "contiguous"


def test_a_disturbance_is_not_taken_for_a_slow_size(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_seconds", Clock(disturbed=True, channels_last=1.5))
    assert measured_speed(network, X, TARGETS).batch_size == 32


def test_twin_one_round_takes_the_disturbance_for_a_slow_size(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "_seconds", Clock(disturbed=True, channels_last=1.5))
    assert measured_speed(network, X, TARGETS).batch_size != 32


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
    assert (found.batch_size, found.memory_format) == (5, "channels_last")
    assert clock.asked == [("channels_last", 5)]
    assert layout_of(network) == "channels_last"


def test_the_format_is_searched_for_a_given_size_that_nothing_fills(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_seconds", Clock(channels_last=0.5))
    found = measured_speed(network, X, TARGETS, batch_size=64, ahead=Ahead(widest=8))
    assert (found.batch_size, found.memory_format) == (64, "channels_last")


@pytest.mark.parametrize(("passes", "share"), [(30, 0.25), (300, 0.16), (30_000, 0.13)])
def test_the_search_takes_a_small_part_of_the_run(
    network: Network, monkeypatch: pytest.MonkeyPatch, passes: int, share: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(speed, "SECONDS_AT_LEAST", 0.0)
    monkeypatch.setattr(speed, "_seconds", clock)
    monkeypatch.setattr(speed, "time", clock)
    found = measured_speed(network, X, TARGETS, ahead=Ahead(passes))
    assert found.batch_size in {1, 8, 32}
    assert clock.now <= share * passes * found.seconds


def test_twin_a_search_that_does_not_know_the_run_takes_longer_than_a_short_one(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(speed, "_seconds", clock)
    monkeypatch.setattr(speed, "time", clock)
    found = measured_speed(network, X, TARGETS)
    assert clock.now > 300 * found.seconds


def test_batches_that_nothing_fills_are_not_tried(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(speed, "_seconds", clock)
    measured_speed(network, X, TARGETS, ahead=Ahead(widest=5))
    assert max(size for _, size in clock.asked) == 32


def test_sizes_end_where_memory_runs_out(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(network: Network, x: object, targets: object, size: int, **_: bool) -> float:
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return 1e-3 / size

    monkeypatch.setattr(speed, "_seconds", timed)
    assert measured_speed(network, X, TARGETS).batch_size == 4


def test_a_run_of_one_pass_is_searched_all_the_same_since_its_folder_may_grow(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_seconds", Clock())
    assert measured_speed(network, X, TARGETS, ahead=Ahead(1, 1)).batch_size == 32


def test_a_format_that_fails_for_several_images_is_left_out(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(channels_last=0.5)

    def timed(network: Network, x: object, targets: object, size: int, *, warm: bool) -> float:
        if layout_of(network) == "channels_last" and size == 4:
            raise RuntimeError("view size is not compatible")
        return clock(network, x, targets, size, warm=warm)

    monkeypatch.setattr(speed, "_seconds", timed)
    assert measured_speed(network, X, TARGETS).memory_format == "contiguous"


def test_both_formats_are_timed_at_a_long_batch_that_is_given(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def timed(network: Network, x: object, targets: object, size: int, *, warm: bool) -> float:
        asked.append(layout_of(network))
        return 0.7 if asked[-1] == "channels_last" else 1.0

    monkeypatch.setattr(speed, "_seconds", timed)
    assert measured_speed(network, X, TARGETS, batch_size=32).memory_format == "channels_last"


def test_memory_that_runs_out_in_a_later_round_leaves_the_smaller_sizes(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(network: Network, x: object, targets: object, size: int, *, warm: bool) -> float:
        if warm and size >= 16:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return 1e-3

    monkeypatch.setattr(speed, "_seconds", timed)
    assert measured_speed(network, X, TARGETS).batch_size == 8


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
    times = {("contiguous", 2): 1.2, ("contiguous", 8): 1.04, ("contiguous", 32): 1.04}
    assert chosen_speed(times | {("contiguous", 64): 1.0}) == Speed(32, 1.04, "contiguous")
    assert (
        chosen_speed(times | {("contiguous", 64): 0.5, ("contiguous", 128): 0.5}).batch_size == 64
    )
    faster = times | {("channels_last", 4): 0.97}
    assert chosen_speed(faster) == Speed(4, 0.97, "channels_last")
    hardly = times | {("channels_last", 4): 0.99}
    assert chosen_speed(hardly) == Speed(32, 1.04, "contiguous")


def test_a_short_batch_is_timed_as_long_as_a_longer_one(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    monkeypatch.setattr(speed, "differentiate", lambda _, x, *__, **___: ran.append(x.shape[1]))
    speed._seconds(network, X, TARGETS, 2, warm=True)
    assert ran == [2] * (speed.SPAN // 2)
    ran.clear()
    speed._seconds(network, X, TARGETS, 5, warm=True)
    assert sum(ran) >= speed.SPAN
    ran.clear()
    speed._seconds(network, X, TARGETS, 16, warm=False)
    assert ran == [16, 16]

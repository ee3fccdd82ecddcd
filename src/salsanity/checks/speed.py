"""The speed of a pass: the batch size and memory format at which this network runs fastest here, found by measuring."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from salsanity.models.network import MemoryFormat, Network, lay_out
from salsanity.passes.backoff import with_backoff
from salsanity.passes.derivative import differentiate
from salsanity.passes.foreign import out_of_memory
from salsanity.passes.precision import Precision
from salsanity.passes.request import Rule
from salsanity.similarity import Spearman, view

BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CPU_SECONDS_PER_BATCH: Final = 2.0
"""Larger batches than this are not tried on a CPU: interruption and progress would become coarse."""

FEWEST_TIMINGS: Final = 3
MOST_TIMINGS: Final = 8
ENOUGH_SECONDS: Final = 0.6
"""Short passes are timed more often, since other programs disturb them; the fastest counts."""

WORTH_CHANGING: Final = 0.95
"""The other memory format must take at most this share of the time, since timings scatter."""


@dataclass(frozen=True)
class Speed:
    """A batch size and memory format, and the seconds of one forward and backward pass of one image at them."""

    batch_size: int
    seconds: float
    memory_format: MemoryFormat = "contiguous"


def measured_speed(
    network: Network,
    x: Tensor,
    targets: Tensor,
    *,
    batch_size: int | None = None,
    memory_format: MemoryFormat | None = None,
) -> Speed:
    """Time the plain pass, return the fastest batch size and memory format, and leave the network in that format.

    What is given is not searched. A network that does not run in channels-last (one that calls `view` on what it
    computed) stays contiguous.
    """
    if memory_format is not None:
        lay_out(network, memory_format)
        return _at_sizes(network, x, targets, batch_size, memory_format)
    best = _at_sizes(network, x, targets, batch_size, "contiguous")
    if not lay_out(network, "channels_last"):
        return best
    try:
        other = _at_sizes(network, x, targets, batch_size, "channels_last")
    except RuntimeError:
        other = best
    if other.seconds < WORTH_CHANGING * best.seconds:
        return other
    lay_out(network, "contiguous")
    return best


def _at_sizes(
    network: Network,
    x: Tensor,
    targets: Tensor,
    batch_size: int | None,
    memory_format: MemoryFormat,
) -> Speed:
    """Return the fastest size, or the speed at `batch_size`.

    Stops where memory runs out, or where two doublings gained less than 3 %.
    """
    if batch_size is not None:
        seconds = with_backoff(lambda size: _seconds(network, x, targets, size), batch_size)
        return Speed(batch_size, seconds, memory_format)
    best = Speed(1, _seconds(network, x, targets, 1), memory_format)
    without_gain = 0
    for size in BATCH_SIZES[1:]:
        if x.device.type == "cpu" and size * best.seconds > CPU_SECONDS_PER_BATCH:
            break
        try:
            seconds = _seconds(network, x, targets, size)
        except Exception as error:
            if out_of_memory(error):
                break
            raise
        if seconds < 0.97 * best.seconds:
            best, without_gain = Speed(size, seconds, memory_format), 0
        else:
            without_gain += 1
        if without_gain == 2:
            break
    return best


def _seconds(network: Network, x: Tensor, targets: Tensor, size: int) -> float:
    rows = [i % len(x) for i in range(size)]
    batch, wanted = x[rows][None], targets[rows]
    times: list[float] = []
    while len(times) < FEWEST_TIMINGS or (
        sum(times) < ENOUGH_SECONDS and len(times) < MOST_TIMINGS
    ):
        began = time.perf_counter()
        differentiate(network, batch, wanted, rule=Rule.PLAIN, taps=(None,))
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        times.append(time.perf_counter() - began)
    return min(times[1:]) / size


def precision_error(
    network: Network, x: Tensor, targets: Tensor, precision: Precision
) -> tuple[float, float]:
    """Compare gradients in a coarser arithmetic with those in float32.

    Returns the least Spearman correlation of an image's absolute maps, and the largest difference as a share of the
    image's largest gradient.
    """
    exact, rough = (
        differentiate(
            network, x[None], targets, rule=Rule.PLAIN, taps=(None,), precision=arithmetic
        ).at[None][1][0]
        for arithmetic in ("float32", precision)
    )
    spearman = Spearman()
    features = [spearman.prepare(view(maps, signed=False)) for maps in (exact, rough)]
    likeness = spearman.compare(*features).values.min()
    span = exact.abs().flatten(1).amax(1)
    return float(likeness), float(((exact - rough).abs().flatten(1).amax(1) / span).max())

"""The speed of a pass: the batch size and memory format at which this network runs fastest here, found by measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
CPU_SECONDS_PER_BATCH: Final = 1.5
"""Larger batches than this are not tried on a CPU: interruption and progress would become coarse."""

ROUNDS: Final = 4
"""Candidates are timed in turns, since other programs disturb the machine for seconds; the fastest time of each counts."""

HOPELESS: Final = 1.3
"""What took this many times the best in the rounds so far is not timed again."""

ALIKE: Final = 1.03
"""The smallest batch within this of the best is taken: it asks for less memory and can be interrupted sooner."""

WORTH_CHANGING: Final = 0.95
"""The other memory format must take at most this share of the time, since timings scatter."""

Times = dict[tuple[MemoryFormat, int], float]
"""Seconds of one forward and backward pass of one image, by memory format and batch size."""


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
    formats: tuple[MemoryFormat, ...] = (memory_format or "contiguous",)
    searched = memory_format is None and lay_out(network, "channels_last")
    if searched:
        formats = ("contiguous", "channels_last")

    def timed(layout: MemoryFormat, size: int, *, warm: bool = False) -> float:
        lay_out(network, layout)
        if batch_size is None:
            return _seconds(network, x, targets, size, warm=warm)
        return with_backoff(lambda n: _seconds(network, x, targets, n, warm=warm), size)

    times: Times = {}
    sizes = BATCH_SIZES if batch_size is None else (batch_size,)
    for layout in formats:
        try:
            times |= _first_times(timed, layout, sizes, x.device)
        except RuntimeError:
            if layout == formats[0]:
                raise
    for _ in range(ROUNDS - 1 if len(times) > 1 else 0):
        best = min(times.values())
        for key in [key for key, seconds in times.items() if seconds < HOPELESS * best]:
            times[key] = min(times[key], timed(*key, warm=True))
    chosen = chosen_speed(times)
    lay_out(network, chosen.memory_format)
    return chosen


def chosen_speed(times: Times) -> Speed:
    """Choose from `times`: contiguous unless the other format is clearly faster, then the smallest good batch."""
    best = {layout: min(t for (at, _), t in times.items() if at == layout) for layout, _ in times}
    layout: MemoryFormat = min(best, key=lambda at: best[at])
    if "contiguous" in best and best[layout] >= WORTH_CHANGING * best["contiguous"]:
        layout = "contiguous"
    size = min(n for (at, n), t in times.items() if at == layout and t <= ALIKE * best[layout])
    return Speed(size, times[layout, size], layout)


def _first_times(
    timed: Callable[[MemoryFormat, int], float],
    layout: MemoryFormat,
    sizes: Sequence[int],
    device: torch.device,
) -> Times:
    """Time each size, until memory runs out or a batch takes too long on a CPU."""
    times: Times = {}
    for size in sizes:
        expected = size * min(times.values(), default=0.0)
        if device.type == "cpu" and expected > CPU_SECONDS_PER_BATCH:
            break
        try:
            times[layout, size] = timed(layout, size)
        except Exception as error:
            if not times or not out_of_memory(error):
                raise
            break
    return times


def _seconds(network: Network, x: Tensor, targets: Tensor, size: int, *, warm: bool) -> float:
    """Time a pass of `size` images, after one more where that size is not `warm`; per image."""
    rows = [i % len(x) for i in range(size)]
    batch, wanted = x[rows][None], targets[rows]
    seconds = 0.0
    for _ in range(1 if warm else 2):
        began = time.perf_counter()
        differentiate(network, batch, wanted, rule=Rule.PLAIN, taps=(None,))
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        seconds = time.perf_counter() - began
    return seconds / size


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

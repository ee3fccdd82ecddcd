"""The speed of a pass: the batch size and memory format at which this network runs fastest here, found by measuring."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from salsanity.models.network import MemoryFormat, Network, lay_out
from salsanity.models.swap import swapped
from salsanity.passes.backoff import with_backoff
from salsanity.passes.derivative import differentiate
from salsanity.passes.foreign import out_of_memory
from salsanity.passes.precision import Precision
from salsanity.passes.request import Rule
from salsanity.similarity import Spearman, view

BATCH_SIZES: Final = (8, 16, 4, 32, 2, 64, 1, 128, 256, 512)
"""In the order in which they are tried, after one image, which tells what a batch may cost: first what is often best."""

CPU_SECONDS_PER_BATCH: Final = 1.5
"""Larger batches than this are not tried on a CPU: interruption and progress would become coarse."""

SHARE_OF_RUN: Final = 0.12
"""What the search may take of what the run will take at the best found."""

SECONDS_AT_LEAST: Final = 3.0
"""What the search may take of any run: a short one may grow, and keeps its batch size."""

ROUNDS: Final = 4
"""Candidates are timed in turns, since other programs disturb the machine for seconds; the fastest time of each counts."""

HOPELESS: Final = 1.3
"""What took this many times the best in the rounds so far is not timed again."""

ALIKE: Final = 1.1
"""Sizes within this of the best are as good, by timings that scatter."""

ENOUGH: Final = 32
"""Of the good sizes up to this one the largest is taken, since a batch costs more than its passes; of larger ones the
smallest, since memory and the time until an interruption grow with it."""

SPAN: Final = 8
"""Images that a timing of a warm candidate goes through at least: shorter ones catch quiet moments more often."""

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


@dataclass(frozen=True)
class Ahead:
    """What a run will do: its passes (forward and backward of one image), and how many can share a batch at most."""

    passes: float = math.inf
    widest: float = math.inf


def measured_speed(
    network: Network,
    x: Tensor,
    targets: Tensor,
    *,
    batch_size: int | None = None,
    memory_format: MemoryFormat | None = None,
    ahead: Ahead = Ahead(),
) -> Speed:
    """Time the plain pass, return the fastest batch size and memory format, and leave the network in that format.

    What is given is not searched, and a short run is searched for shortly (`ahead`). A network that does not run in
    channels-last (one that calls `view` on what it computed) stays contiguous.
    """
    formats: tuple[MemoryFormat, ...] = (memory_format or "contiguous",)
    if memory_format is None and lay_out(network, "channels_last"):
        formats = ("contiguous", "channels_last")

    def timed(layout: MemoryFormat, size: int, *, warm: bool = False) -> float:
        lay_out(network, layout)
        if batch_size is None:
            return _seconds(network, x, targets, size, warm=warm)
        return with_backoff(lambda n: _seconds(network, x, targets, n, warm=warm), size)

    search = _Search(timed, ahead, on_cpu=x.device.type == "cpu", is_given=batch_size is not None)
    if batch_size is None:
        sizes = [(layout, size) for size in BATCH_SIZES for layout in formats]
        search.first([(formats[0], 1), *sizes])
    else:
        search.first([(layout, batch_size) for layout in formats])
    search.again()
    chosen = chosen_speed(search.times)
    lay_out(network, chosen.memory_format)
    return chosen


class _Search:
    """Times of candidates so far, and whether looking on is worth it."""

    def __init__(
        self, timed: Callable[..., float], ahead: Ahead, *, on_cpu: bool, is_given: bool
    ) -> None:
        self.times: Times = {}
        self.timed, self.ahead = timed, ahead
        self.on_cpu, self.is_given = on_cpu, is_given
        self.spent = 0.0

    @property
    def best(self) -> float:
        """Seconds of a pass at the best candidate."""
        return min(self.times.values(), default=0.0)

    def _is_affordable(self, passes: int) -> bool:
        """Whether so many more passes leave the search a small part of the run."""
        allowed = max(SECONDS_AT_LEAST, SHARE_OF_RUN * self.ahead.passes * self.best)
        return self.spent + passes * self.best <= allowed

    def _is_worth(self, size: int) -> bool:
        """Whether a batch of `size` can be filled, ends soon enough, and may be timed; a size that is given always."""
        too_long = self.on_cpu and size * self.best > CPU_SECONDS_PER_BATCH
        useful = size < 2 * max(ENOUGH, self.ahead.widest)
        return self.is_given or (useful and not too_long and self._is_affordable(2 * size))

    def first(self, candidates: Sequence[tuple[MemoryFormat, int]]) -> None:
        """Time each candidate, but for those that are of no use, take too long or do not fit into memory.

        A format in which the network does not run is left out, unless it is the first.
        """
        left_out: set[MemoryFormat] = set()
        limit = math.inf
        for layout, size in candidates:
            known = (layout, size) in self.times or layout in left_out or size >= limit
            if known or (self.times and not self._is_worth(size)):
                continue
            try:
                self._time(layout, size, warm=False)
            except Exception as error:
                if self.times and out_of_memory(error):
                    limit = size
                elif layout != candidates[0][0] and isinstance(error, RuntimeError):
                    left_out.add(layout)
                    self._drop([key for key in self.times if key[0] == layout])
                else:
                    raise

    def again(self) -> None:
        """Time the better candidates again in turns; the first time of each was that of a cold start."""
        for number in range(ROUNDS - 1 if len(self.times) > 1 else 0):
            best = self.best
            for key in [key for key, seconds in self.times.items() if seconds < HOPELESS * best]:
                if key not in self.times or not self._is_affordable(max(SPAN, key[1])):
                    continue
                try:
                    self._time(*key, warm=True, instead=number == 0)
                except Exception as error:
                    if not out_of_memory(error):
                        raise
                    self._drop([other for other in self.times if other[1] >= key[1]])
                    if not self.times:
                        raise

    def _drop(self, keys: Sequence[tuple[MemoryFormat, int]]) -> None:
        for key in keys:
            del self.times[key]

    def _time(self, layout: MemoryFormat, size: int, *, warm: bool, instead: bool = False) -> None:
        began = time.perf_counter()
        try:
            seconds = self.timed(layout, size, warm=warm)
        finally:
            self.spent += time.perf_counter() - began
        before = math.inf if instead else self.times.get((layout, size), math.inf)
        self.times[layout, size] = min(seconds, before)


def chosen_speed(times: Times) -> Speed:
    """Choose from `times`: contiguous unless the other format is clearly faster, then a size that is good there."""
    best = {layout: min(t for (at, _), t in times.items() if at == layout) for layout, _ in times}
    layout: MemoryFormat = min(best, key=lambda at: best[at])
    if "contiguous" in best and best[layout] >= WORTH_CHANGING * best["contiguous"]:
        layout = "contiguous"
    good = [n for (at, n), t in times.items() if at == layout and t <= ALIKE * best[layout]]
    size = max((n for n in good if n <= ENOUGH), default=min(good))
    return Speed(size, times[layout, size], layout)


def _seconds(network: Network, x: Tensor, targets: Tensor, size: int, *, warm: bool) -> float:
    """Time a pass of one image in batches of `size`, each with a swap of weights as in a run.

    Where that size is not `warm`, one more batch goes before.
    """
    rows = [i % len(x) for i in range(size)]
    batch, wanted = x[rows][None], targets[rows]

    def once() -> None:
        with swapped(network, {}, exact=False):
            differentiate(network, batch, wanted, rule=Rule.PLAIN, taps=(None,))
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)

    if not warm:
        once()
    batches = math.ceil(SPAN / size) if warm else 1
    began = time.perf_counter()
    for _ in range(batches):
        once()
    return (time.perf_counter() - began) / (batches * size)


def precision_error(
    network: Network, x: Tensor, targets: Tensor, precision: Precision
) -> tuple[float, float]:
    """Compare gradients in a coarser arithmetic with those in float32.

    Returns the least Spearman correlation of an image's absolute maps, and the largest difference as a share of the
    image's largest gradient.
    """
    most = network.largest_batch
    exact, rough = (
        differentiate(
            network,
            x[:most][None],
            targets[:most],
            rule=Rule.PLAIN,
            taps=(None,),
            precision=arithmetic,
        ).at[None][1][0]
        for arithmetic in ("float32", precision)
    )
    spearman = Spearman()
    features = [spearman.prepare(view(maps, signed=False)) for maps in (exact, rough)]
    likeness = spearman.compare(*features).values.min()
    span = exact.abs().flatten(1).amax(1)
    return float(likeness), float(((exact - rough).abs().flatten(1).amax(1) / span).max())

"""Retained similarity: a score set between what chance gives and what no change gives."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from salsanity.verdicts.intervals import (
    Interval,
    Spread,
    interval_of,
    interval_over_images,
    spread_of,
)
from salsanity.verdicts.table import FloatArray, StageTable, row_means

LEAST_RANGE: Final = 0.1
"""Ceiling minus chance below which a similarity cannot tell."""
NO_HONEST_PAIR: Final = "no two networks on true labels were compared"

Mask = NDArray[np.bool_]


@final
@dataclass(frozen=True)
class Retained:
    """S, C, A and R = sum(S - C) / sum(A - C) over the cells (image, draw) where all three are defined.

    A hole is only that cell: images and draws are never dropped for another cell's hole, so R speaks of the maps that exist.
    """

    S: float
    """Mean similarity of the reference map and the map at the stage."""
    C: float
    """Chance: the same with other images' maps."""
    A: float
    """Ceiling: the reference map against the trained network's map explained once more."""
    R: float
    """Retained similarity; NaN where `top` - `floor` < 0.1: such a ratio measures nothing."""
    top: float
    """The similarity at which R is 1: A, or that of two honest networks' maps."""
    floor: float
    """Chance where nothing changed: C, or that of two honest networks' maps."""
    interval: Interval
    """The interval of R."""
    spread: Spread | None
    """What the interval is made of; None where there is none."""
    used: Mask
    """(N, D): the cells that R is made of."""
    alive: float = 1.0
    """Share of images of which the network as trained has a map."""
    blank: float = 0.0
    """Share of changed maps that are blank or undefined, of images with a map of the trained network; NaN where there is none."""
    between: tuple[float, float] = (math.nan, math.nan)
    """Mean similarity of the trained network's maps of different images, and the ceiling of the same images."""
    undefined: Mapping[str, int] = field(default_factory=dict)
    """Reasons for undefined scores, and how often each occurs."""
    alone: Interval = Interval(math.nan, math.nan, math.nan)
    """The interval over images of a table of one column, where that column is no sample; NaN where there are several."""

    @property
    def planned(self) -> tuple[int, int]:
        """Images and draws of the table, holes and all."""
        return self.used.shape[0], self.used.shape[1]

    @cached_property
    def n_images(self) -> int:
        """Images with a used cell."""
        return int(self.used.any(axis=1).sum())

    @cached_property
    def n_draws(self) -> int:
        """Draws with a used cell."""
        return int(self.used.any(axis=0).sum())

    @cached_property
    def n_used(self) -> int:
        """Cells (image, draw) that R is made of."""
        return int(self.used.sum())

    @property
    def share(self) -> float:
        """Share of the planned cells that is used; 0 where none were planned."""
        return self.n_used / max(1, self.used.size)

    @property
    def n_undefined(self) -> int:
        """Scores that were undefined."""
        return sum(self.undefined.values())


def retained_similarity(table: StageTable) -> Retained:
    """Measure one cell of a check at one stage, between chance and the ceiling (docs/science.md)."""
    A = np.broadcast_to(table.ceiling[:, None], table.shape)
    used = np.isfinite(table.value) & np.isfinite(table.chance) & np.isfinite(A)
    S, C, top = mean(table.value[used]), mean(table.chance[used]), mean(A[used])
    cells = _ratio(table.value[used] - table.chance[used], A[used] - table.chance[used])
    found = measured(cells, used)
    return Retained(
        S=S,
        C=C,
        A=top,
        R=found.mean,
        top=top,
        floor=C,
        interval=found.interval,
        spread=found.spread,
        alone=found.alone,
        used=used,
        alive=_alive(table),
        blank=_blank(table),
        between=_between(table),
        undefined=table.undefined,
    )


def retained_agreement(mixed: StageTable, honest: StageTable) -> Retained:
    """Measure R = sum(S - C) / sum(T) of `mixed`, T_i the mean of S - C over the defined cells of image i in `honest`.

    So the line below is two honest networks' agreement, where `retained_similarity` has A - C; both tables have the same images.
    """
    agreed = np.isfinite(honest.value) & np.isfinite(honest.chance)
    T = row_means(honest.value - honest.chance)
    used = np.isfinite(mixed.value) & np.isfinite(mixed.chance) & np.isfinite(T)[:, None]
    S, C = mixed.value[used], mixed.chance[used]
    found = measured(_ratio(S - C, np.broadcast_to(T[:, None], used.shape)[used]), used)
    beside = agreed & np.any(used, axis=1, keepdims=True)
    undefined = Counter(mixed.undefined) + Counter(honest.undefined)
    if not honest.value.size:
        undefined[NO_HONEST_PAIR] = mixed.value.size
    return Retained(
        S=mean(S),
        C=mean(C),
        A=_known_mean(np.broadcast_to(mixed.ceiling[:, None], used.shape)[used]),
        R=found.mean,
        top=mean(honest.value[beside]),
        floor=mean(honest.chance[beside]),
        interval=found.interval,
        spread=found.spread,
        alone=found.alone,
        used=used,
        alive=_alive(mixed),
        blank=_blank(mixed),
        between=_between(mixed),
        undefined=dict(undefined),
    )


def linearised(change: FloatArray, line: FloatArray) -> FloatArray:
    """Return z = R + (change - R line) / mean(line), with R = mean(change) / mean(line).

    `change` (S - C) and `line` (A - C) are those of the used cells, in one order. The mean of z is R, and its spread over
    images and draws is that of the ratio to first order.
    """
    scale = float(line.mean())
    R = float(change.mean()) / scale
    return np.asarray(R + (change - R * line) / scale, dtype=np.float64)


def mean(cells: FloatArray) -> float:
    """Return the mean; NaN of nothing."""
    return float(cells.mean()) if cells.size else math.nan


@final
@dataclass(frozen=True)
class Measured:
    """The mean of the used cells with its interval, what that is made of, and the interval over images of one column."""

    mean: float
    interval: Interval
    spread: Spread | None
    alone: Interval


def _ratio(change: FloatArray, line: FloatArray) -> FloatArray | None:
    """Return cells whose mean is R = mean(change) / mean(line) of the used cells; None where the mean line is below 0.1."""
    return linearised(change, line) if mean(line) >= LEAST_RANGE else None


def measured(cells: FloatArray | None, used: Mask) -> Measured:
    """Measure the mean of the used cells with its interval; NaN where there is none (None)."""
    if cells is None:
        unknown = Interval(math.nan, math.nan, math.nan)
        return Measured(math.nan, unknown, None, unknown)
    z = np.full(used.shape, np.nan)
    z[used] = cells
    spread = spread_of(z)
    alone = cells if used.shape[1] == 1 else cells[:0]
    return Measured(mean(cells), interval_of(z, spread), spread, interval_over_images(alone))


def _alive(table: StageTable) -> float:
    """Return the share of images of which the network as trained has a map, under either noise stream."""
    return mean(np.isfinite(table.ceiling).astype(np.float64))


def _blank(table: StageTable) -> float:
    """Return the share of changed maps that are undefined, of images that have a map of the network as trained."""
    return mean((~np.isfinite(table.value[np.isfinite(table.ceiling)])).astype(np.float64))


def _between(table: StageTable) -> tuple[float, float]:
    known = np.isfinite(table.between) & np.isfinite(table.ceiling)
    return mean(table.between[known]), mean(table.ceiling[known])


def _known_mean(cells: FloatArray) -> float:
    return mean(cells[np.isfinite(cells)])

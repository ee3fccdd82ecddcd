"""How much more of its similarity a method retains in one run than in another, on the images and draws that both have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import pandas as pd

from salsanity.records import REFERENCE_STAGE, CheckRecord, Line
from salsanity.verdicts.intervals import interval_of, interval_over_images
from salsanity.verdicts.retained import LEAST_RANGE, linearised
from salsanity.verdicts.table import FloatArray, Place, Scores, read_scores, row_means

Ratio = tuple[FloatArray, FloatArray]
"""(N, D) each: what changed, and the line below it; their ratio of means is R."""


@final
@dataclass(frozen=True)
class Difference:
    """R of the second run minus R of the first on the shared cells (image, draw), with its two-sided 90 % interval.

    NaN bounds where a single image or draw is shared.
    """

    value: float
    low: float
    high: float
    n_images: int
    n_draws: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@final
@dataclass(frozen=True)
class Side:
    """One check of one run: its scores and its record."""

    scores: pd.DataFrame
    record: CheckRecord

    def line(self, name: str) -> Line | None:
        """Return the line of a name, at whatever stage of this network it lies."""
        return next((line for line in self.record.lines if line.name == name), None)


def difference(first: Side, second: Side, place: Place, line: str) -> Difference | None:
    """Return the difference in one cell (method, view, similarity) at a line; None where nothing is shared or measured.

    Both runs are linearised on the same cells and subtracted cell by cell, so that what images and draws have in common
    falls out; the interval is that of docs/science.md for a mean over random images and draws. Draws of one number are taken
    as pairs, which holds whether or not they have the same random numbers.
    """
    lines = first.line(line), second.line(line)
    if lines[0] is None or lines[1] is None or first.record.test != second.record.test:
        return None
    if first.record.test not in RATIOS:  # exchanged networks are compared among themselves
        return None
    frames = _shared(first, second, place[0], (lines[0], lines[1]))
    ratios = [
        _ratio(read_scores(frame, check=side.record.name), place, at, side.record.test)
        for frame, side, at in zip(frames, (first, second), lines, strict=True)
        if at is not None
    ]
    if not all(ratios) or ratios[0][0].shape != ratios[1][0].shape:
        return None
    return _of(ratios[0], ratios[1], is_fixed=first.record.is_fixed)


def _of(first: Ratio, second: Ratio, *, is_fixed: bool) -> Difference | None:
    used = np.logical_and.reduce([np.isfinite(part) for part in (*first, *second)])
    if (
        not used.any()
        or min(float(below[used].mean()) for _, below in (first, second)) < LEAST_RANGE
    ):
        return None
    z = np.full(used.shape, np.nan)
    z[used] = linearised(*(p[used] for p in second)) - linearised(*(p[used] for p in first))
    alone = is_fixed and used.shape[1] == 1
    found = interval_over_images(z[used]) if alone else interval_of(z)
    images, draws = int(used.any(axis=1).sum()), int(used.any(axis=0).sum())
    return Difference(found.mean, *found.bounds(), images, draws)


def _shared(
    first: Side, second: Side, method: str, lines: tuple[Line, Line]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut the scores of a method to the images and draws that both runs have at the line."""
    frames = [side.scores[side.scores["method"] == method] for side in (first, second)]
    rows = [
        frame[frame["stage"].isin([line.stage, line.against or line.stage])]
        for frame, line in zip(frames, lines, strict=True)
    ]
    images = set(rows[0]["image"]) & set(rows[1]["image"])
    draws = set(rows[0]["draw"]) & set(rows[1]["draw"])
    cut = [
        frame[
            frame["image"].isin(images)
            & (frame["draw"].isin(draws) | (frame["stage"] == REFERENCE_STAGE))
        ]
        for frame in frames
    ]
    return cut[0], cut[1]


def _ratio(index: Scores, place: Place, line: Line, test: str) -> Ratio:
    """Return what changed and the line below it, as `salsanity.verdicts.procedures` has them for each test."""
    beside = (line.against,) if line.against else ()
    table = index.table(place, line.stage, beside=beside)
    change = table.value - table.chance
    if line.against is not None:
        honest = index.table(place, line.against, beside=(line.stage,))
        below = np.broadcast_to(row_means(honest.value - honest.chance)[:, None], change.shape)
        return change, below
    return RATIOS[test](table.value, table.chance, table.ceiling[:, None])


def _retained(value: FloatArray, chance: FloatArray, ceiling: FloatArray) -> Ratio:
    return value - chance, ceiling - chance


def _shown(value: FloatArray, chance: FloatArray, _: FloatArray) -> Ratio:
    return value - chance, 1.0 - chance


def _changed(value: FloatArray, _: FloatArray, reference: FloatArray) -> Ratio:
    known = np.where(reference == 0, np.nan, reference)
    return (value - known) / known, np.ones_like(value)


RATIOS: Final[Mapping[str, Callable[[FloatArray, FloatArray, FloatArray], Ratio]]] = {
    "retained": _retained,
    "cue": _shown,
    "statistic": _changed,
}

"""Similarity by stage: the numbers behind the figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from salsanity.records import CheckRecord, Line
from salsanity.rows import Rows
from salsanity.verdicts.intervals import ALPHA, interval_of
from salsanity.verdicts.procedures import procedure
from salsanity.verdicts.table import Place, Scores, read_scores

COLUMNS: Final = (
    "method",
    "view",
    "similarity",
    "stage",
    "stage_index",
    "S",
    "C",
    "A",
    "R",
    "low",
    "high",
    "S_low",
    "S_high",
    "n_images",
    "n_draws",
    "n_undefined",
)


def curves(
    scores: pd.DataFrame | Rows, record: CheckRecord, *, alpha: float = ALPHA
) -> pd.DataFrame:
    """Return one row per method, view, similarity and stage, in the order of the stages.

    Columns: `COLUMNS`. `low` and `high` bound R and `S_low` and `S_high` bound S, two-sided at
    1 - 2 `alpha`, NaN for one draw or one image. R is NaN where A - C < 0.1, and where a check sets
    one stage against another: it is then no matter of one stage.
    """
    index = read_scores(scores, check=record.name)
    rows = [row for method in index.methods for row in _rows(index, method, record, alpha)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(
    index: Scores, method: str, record: CheckRecord, alpha: float
) -> Iterator[tuple[str | float, ...]]:
    is_ratio = all(line.against is None for line in record.lines)
    for view, similarity in index.cells(method):
        place = (method, view, similarity)
        for stage, stage_index in index.stages.items():
            line = replace(record.lines[0], stage=stage, against=None)
            numbers = _numbers(index, place, line, record, alpha, is_ratio=is_ratio)
            if numbers:
                yield (*place, stage, stage_index, *numbers)


def _numbers(
    index: Scores, place: Place, line: Line, record: CheckRecord, alpha: float, *, is_ratio: bool
) -> tuple[float, ...]:
    """Return the numbers of one stage; none where it has no scores."""
    kept = procedure(record.test).measure(index, place, line)
    if not kept.used.size:
        return ()
    value = index.table(place, line.stage).value
    raw = np.where(kept.used, value, np.nan) if value.shape == kept.used.shape else value
    interval = kept.alone if record.is_fixed else kept.interval
    retained = (kept.R, *interval.bounds(alpha)) if is_ratio else (math.nan,) * 3
    S_bounds = interval_of(raw).bounds(alpha)
    counts = (kept.n_images, kept.n_draws, kept.n_undefined)
    return (kept.S, kept.C, kept.A, *retained, *S_bounds, *counts)

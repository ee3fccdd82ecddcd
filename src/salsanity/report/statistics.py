"""Means and intervals of similarities by stage, for the curves and the bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from scipy.stats import t as student

from salsanity.records import REFERENCE_STAGE

CONFIDENCE: Final = 0.9
CELL: Final = ["method", "view", "similarity"]


@dataclass(frozen=True)
class Mean:
    """A mean with the two-sided 90 % interval of a two-way random-effects layout."""

    value: float
    low: float
    high: float
    n_images: int
    n_draws: int


def mean_over_images_and_draws(table: np.ndarray) -> Mean:
    """Return the mean of a table (images, draws) and its interval; both are random.

    v = max(MS_i + MS_d - MS_e, MS_i, MS_d) / (N D), Satterthwaite's degrees of freedom. NaN where
    undefined: draws without any value, then images undefined in a remaining draw, are left out.
    """
    table = table[:, np.isfinite(table).any(axis=0)]
    table = table[np.isfinite(table).all(axis=1)]
    n, d = table.shape
    if not table.size:
        return Mean(np.nan, np.nan, np.nan, 0, 0)
    mean = float(table.mean())
    half = _half_width(table, n, d)
    return Mean(mean, mean - half, mean + half, n, d)


def _half_width(table: np.ndarray, n: int, d: int) -> float:
    if n < 2:
        return float("nan")
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    ms_i = d * rows.var(ddof=1)
    if d == 1:
        return _student(ms_i / n, n - 1)
    ms_d = n * columns.var(ddof=1)
    rest = table - rows[:, None] - columns[None, :] + mean
    ms_e = float((rest**2).sum()) / ((n - 1) * (d - 1))
    return _student(*_variance(ms_i, ms_d, ms_e, n, d))


def _variance(ms_i: float, ms_d: float, ms_e: float, n: int, d: int) -> tuple[float, float]:
    """Return the variance of the mean and its degrees of freedom."""
    both = ms_i + ms_d - ms_e
    if both <= 0 or both < max(ms_i, ms_d):
        largest, df = (ms_i, n - 1) if ms_i >= ms_d else (ms_d, d - 1)
        return largest / (n * d), max(df, min(n, d) - 1)
    parts = ms_i**2 / (n - 1) + ms_d**2 / (d - 1) + ms_e**2 / ((n - 1) * (d - 1))
    df = both**2 / parts if parts else 1
    return both / (n * d), max(df, min(n, d) - 1)


def _student(variance: float, df: float) -> float:
    return float(np.sqrt(variance) * student.ppf((1 + CONFIDENCE) / 2, df)) if variance > 0 else 0.0


def curves(scores: pd.DataFrame) -> pd.DataFrame:
    """Return S, C and A of every cell and stage, with intervals of S and C.

    Columns: method, view, similarity, stage, stage_index, similarity_mean/low/high,
    chance_mean/low/high, ceiling, n_images, n_draws.
    """
    ceilings = scores[scores["stage"] == REFERENCE_STAGE].groupby(CELL)["value"].mean()
    staged = scores[scores["stage"] != REFERENCE_STAGE]
    rows = []
    for key, part in staged.groupby([*CELL, "stage_index", "stage"], sort=True):
        method, view, similarity, index, stage = key  # type: ignore[misc]
        s, c = _table(part, "value"), _table(part, "chance")
        ceiling = ceilings.get((method, view, similarity), 1.0)
        rows.append(
            (method, view, similarity, stage, index, s.value, s.low, s.high)
            + (c.value, c.low, c.high, ceiling, s.n_images, s.n_draws)
        )
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


CURVE_COLUMNS: Final = (
    "method view similarity stage stage_index similarity_mean similarity_low similarity_high "
    "chance_mean chance_low chance_high ceiling n_images n_draws"
).split()


def _table(part: pd.DataFrame, column: str) -> Mean:
    """Spread a column of one cell and stage into (images, draws) and take its mean."""
    image, images = pd.factorize(part["image"])
    draw, draws = pd.factorize(part["draw"])
    table = np.full((len(images), len(draws)), np.nan)
    table[image, draw] = part[column].to_numpy(dtype=float)
    return mean_over_images_and_draws(table)


BAR_COLUMNS: Final = "method view similarity kind mean low high chance n_images n_pairs".split()


def label_bars(scores: pd.DataFrame) -> pd.DataFrame:
    """Return, per cell, the likeness of true to true and of true to permuted networks.

    Rows of kind `true` (S_TT) and `permuted` (S_TP); intervals over images and pairs of networks.
    """
    kind = scores["stage"].str.partition(":")[0]
    paired = scores[kind.isin(["true", "permuted"])].assign(kind=kind)
    paired = paired.assign(draw=paired["draw"].astype(str) + "/" + paired["stage"])
    rows = []
    for key, part in paired.groupby([*CELL, "kind"], sort=True):
        s, c = _table(part, "value"), _table(part, "chance")
        rows.append((*key, s.value, s.low, s.high, c.value, s.n_images, s.n_draws))
    return pd.DataFrame(rows, columns=BAR_COLUMNS)


def undefined(scores: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Count the scores that are undefined, by method and reason."""
    missing = scores[scores["value"].isna() & scores["method"].isin(list(methods))]
    reasons = missing["reason"].fillna("no reason recorded")
    return missing.assign(reason=reasons).groupby(["method", "reason"]).size().reset_index(name="n")

"""Confidence when images and draws are both random: the two-way random-effects interval, of tables with holes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from salsanity.verdicts.table import FloatArray

ALPHA: Final = 0.05
"""One-sided error rate of a bound, and error rate per method."""
ROUNDING: Final = 1e-9
"""Differences that say nothing."""
MANY_DRAWS: Final = 5
"""With fewer draws the degrees of freedom are the fewest that there can be."""


@final
@dataclass(frozen=True)
class Spread:
    """How the mean u of n cells of N images by D draws varies; n_i, n_d: cells of an image, of a draw.

    `images`: V_i = N_e / (N_e - 1) sum_i (sum_d u)^2 / n^2, `draws`: V_d likewise; `residual`: V_e, the residual sum of squares
    of the additive least-squares fit / (n - N - D + 1) / n. `effective`: N_e = n^2 / sum n_i^2 and D_e = n^2 / sum n_d^2.
    """

    images: float
    draws: float
    residual: float
    effective: tuple[float, float]
    counted: tuple[float, float]
    n: float

    @property
    def variance(self) -> float:
        """v = max(V_i + V_d - V_e, V_i, V_d), the variance of the mean."""
        return max(self._both, self.images, self.draws)

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of v, at least min(N_e, D_e) - 1; with few draws min(N, D) - 1."""
        if self.counted[1] < MANY_DRAWS:
            return float(min(self.counted) - 1)
        return float(max(self._satterthwaite, min(self.effective) - 1))

    @property
    def left(self) -> float:
        """Degrees of freedom of the residual."""
        return self.n - sum(self.counted) + 1

    @property
    def _both(self) -> float:
        return self.images + self.draws - self.residual

    @property
    def _satterthwaite(self) -> float:
        i, d = (size - 1 for size in self.effective)
        if self.residual > min(self.images, self.draws):  # then one of the two alone is the max
            return i if self.images >= self.draws else d
        rest = self.residual**2 / self.left if self.left > 0 else 0.0
        parts = self.images**2 / i + self.draws**2 / d + rest
        return self._both**2 / parts if parts > 0 else 0.0


@final
@dataclass(frozen=True)
class Interval:
    """A mean with its variance, and Student's t for bounds and tests; NaN where it is undefined."""

    mean: float
    variance: float
    df: float

    def bounds(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Return the one-sided bounds at `alpha` each: a two-sided interval at 1 - 2 alpha."""
        if self.variance == 0:
            return self.mean, self.mean
        half = float(stdtrit(self.df, 1 - alpha)) * math.sqrt(self.variance)
        return self.mean - half, self.mean + half

    def p_above(self, threshold: float) -> float:
        """Return the one-sided p value of "the true mean is at most `threshold`"."""
        return _tail(self.mean - threshold, self.variance, self.df)

    def p_below(self, threshold: float) -> float:
        """Return the one-sided p value of "the true mean is at least `threshold`"."""
        return _tail(threshold - self.mean, self.variance, self.df)


def interval_of(z: FloatArray, spread: Spread | None = None) -> Interval:
    """Return the interval of the mean of `z` (N images, D draws, NaN where a cell is a hole), both random.

    Cells of one image or one draw say nothing of the spread over others: the bounds are then NaN. `spread`: that of `z`, if
    known.
    """
    filled = z[np.isfinite(z)]
    spread = spread or spread_of(z)
    if spread is None:
        return Interval(float(filled.mean()) if filled.size else math.nan, math.nan, math.nan)
    if np.ptp(filled) <= ROUNDING:  # which may not pretend to be a spread
        return Interval(float(filled[0]), 0.0, math.inf)
    return Interval(float(filled.mean()), spread.variance, spread.df)


def interval_over_images(cells: FloatArray) -> Interval:
    """Return the interval of the mean of one column (N,): images are a sample, the column is all that there is."""
    if cells.size < 2:
        return Interval(float(cells.mean()) if cells.size else math.nan, math.nan, math.nan)
    if np.ptp(cells) <= ROUNDING:
        return Interval(float(cells[0]), 0.0, math.inf)
    return Interval(float(cells.mean()), float(cells.var(ddof=1)) / cells.size, cells.size - 1)


def spread_of(z: FloatArray) -> Spread | None:
    """Return how the mean of `z` (N, D; NaN where a cell is a hole) varies; None with one image or one draw."""
    used = np.isfinite(z)
    rows, columns = used.any(axis=1), used.any(axis=0)
    if min(rows.sum(), columns.sum()) < 2:
        return None
    if not used.all():
        z, used = z[np.ix_(rows, columns)], used[np.ix_(rows, columns)]
    n = int(used.sum())
    u = np.where(used, z - z[used].mean(), 0.0)
    images, N_e = _between(u.sum(axis=1), used.sum(axis=1), n)
    draws, D_e = _between(u.sum(axis=0), used.sum(axis=0), n)
    left = n - sum(z.shape) + 1
    residual = _residual(u, used) / left / n if left > 0 else 0.0
    return Spread(images, draws, residual, (N_e, D_e), z.shape, n)


def _between(sums: FloatArray, counts: NDArray[np.int64], n: int) -> tuple[float, float]:
    """Return the variance of the mean over clusters with these `sums` of u, and how many clusters of one size they are worth."""
    size = n**2 / float(np.sum(counts.astype(np.float64) ** 2))
    return size / (size - 1) * float(np.sum(sums**2)) / n**2, size


def _residual(u: FloatArray, used: NDArray[np.bool_]) -> float:
    """Return the residual sum of squares of u = image effect + draw effect, by least squares over the used cells.

    The effects of the longer side are eliminated, so that the normal equations are as small as the shorter one.
    """
    if used.all():
        fitted = u - u.mean(axis=1)[:, None] - u.mean(axis=0)[None, :] + u.mean()
        return float(np.sum(fitted**2))
    if u.shape[1] > u.shape[0]:
        u, used = u.T, used.T
    w = used.astype(np.float64)
    counts = w.sum(axis=1)[:, None]
    inside = w * (u - u.sum(axis=1)[:, None] / counts)
    normal = np.diag(w.sum(axis=0)) - w.T @ (w / counts)
    effects = np.linalg.lstsq(normal, inside.sum(axis=0), rcond=None)[0]
    of_columns = w * effects
    return float(np.sum((inside - of_columns + w * of_columns.sum(axis=1)[:, None] / counts) ** 2))


def holm(p_values: list[float], *, alpha: float = ALPHA) -> list[bool]:
    """Say which hypotheses are rejected when the rate of any false rejection is to be `alpha`."""
    rejected = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not p_values[i] < alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def _tail(distance: float, variance: float, df: float) -> float:
    """Return P(T > distance / sd); without variance the estimate is taken as exact, to rounding."""
    if variance == 0:
        return 0.0 if distance > ROUNDING else 1.0
    return float(stdtr(df, -distance / math.sqrt(variance)))

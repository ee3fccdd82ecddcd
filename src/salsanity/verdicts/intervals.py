"""Confidence when images and draws are both random: the two-way random-effects interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from scipy.special import stdtr, stdtrit

from salsanity.verdicts.table import FloatArray

ALPHA: Final = 0.05
"""One-sided error rate of a bound, and error rate per method."""


@final
@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of an (N, D) table without replication."""

    images: float
    draws: float
    residual: float
    n_images: int
    n_draws: int

    @property
    def variance(self) -> float:
        """v = max(MS_i + MS_d - MS_e, MS_i, MS_d) / (N D), the variance of the table's mean."""
        return max(self._both, self.images, self.draws) / (self.n_images * self.n_draws)

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of `variance`, at least min(N, D) - 1."""
        i, d = self.n_images - 1, self.n_draws - 1
        return max(self._satterthwaite(i, d), float(min(i, d)))

    @property
    def _both(self) -> float:
        return self.images + self.draws - self.residual

    def _satterthwaite(self, i: int, d: int) -> float:
        if self.residual > min(self.images, self.draws):  # then one mean square alone is the max
            return float(i if self.images >= self.draws else d)
        parts = self.images**2 / i + self.draws**2 / d + self.residual**2 / (i * d)
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


def mean_squares(z: FloatArray) -> MeanSquares:
    """Return the mean squares of images (rows), draws (columns) and residual of `z` (N, D > 1)."""
    n, d = z.shape
    centred = z - z.mean()
    by_image, by_draw = centred.mean(axis=1), centred.mean(axis=0)
    residual = centred - by_image[:, None] - by_draw[None, :]
    return MeanSquares(
        images=d * float(np.sum(by_image**2)) / (n - 1),
        draws=n * float(np.sum(by_draw**2)) / (d - 1),
        residual=float(np.sum(residual**2)) / ((n - 1) * (d - 1)),
        n_images=n,
        n_draws=d,
    )


def interval_of(z: FloatArray) -> Interval:
    """Return the interval of the mean of `z` (N images, D draws), both random (SCIENCE, section 5).

    One image or one draw says nothing of the spread over others: the bounds are then NaN.
    """
    mean = float(z.mean()) if z.size else math.nan
    if min(z.shape) < 2 or math.isnan(mean):
        return Interval(mean, math.nan, math.nan)
    if np.ptp(z) == 0:  # no rounding of the mean may pretend to be a spread
        return Interval(float(z.flat[0]), 0.0, math.inf)
    squares = mean_squares(z)
    return Interval(mean, squares.variance, squares.df)


def holm(p_values: list[float], *, alpha: float = ALPHA) -> list[bool]:
    """Say which hypotheses are rejected when the rate of any false rejection is to be `alpha`."""
    rejected = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not p_values[i] < alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def _tail(distance: float, variance: float, df: float) -> float:
    """Return P(T > distance / sd); without variance the estimate is taken as exact."""
    if variance == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(df, -distance / math.sqrt(variance)))

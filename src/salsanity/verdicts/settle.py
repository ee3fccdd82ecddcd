"""How many more images or draws would probably settle an open question."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from scipy.special import stdtrit

from salsanity.verdicts.intervals import mean_squares
from salsanity.verdicts.table import FloatArray

FACTOR: Final = 20
"""More than this many times the images or draws is no advice to anyone."""


@final
@dataclass(frozen=True)
class More:
    """Images or draws to add, each alone, or both together; None: not within `FACTOR` times."""

    images: int | None
    draws: int | None
    both: tuple[int, int] | None


@final
@dataclass(frozen=True)
class _Components:
    """Variance components of images, draws and residual, by the method of moments."""

    images: float
    draws: float
    residual: float

    def half_width(self, n: FloatArray, d: FloatArray, alpha: float) -> FloatArray:
        """Predict mean minus lower bound for `n` images and `d` draws."""
        residual = np.full_like(n, self.residual)
        by_image, by_draw = residual + d * self.images, residual + n * self.draws
        total = by_image + by_draw - residual
        parts = by_image**2 / (n - 1) + by_draw**2 / (d - 1) + residual**2 / ((n - 1) * (d - 1))
        df = np.divide(total**2, parts, out=np.full_like(n, np.inf), where=parts > 0)
        t = stdtrit(np.maximum(df, np.minimum(n, d) - 1), 1 - alpha)
        return np.asarray(t * np.sqrt(total / (n * d)), dtype=np.float64)


def more_needed(
    z: FloatArray, threshold: float, *, alpha_pass: float | None, alpha_fail: float
) -> More:
    """Predict what would bring the bound of the mean of `z` (N, D) past `threshold`.

    The estimate and the variance components are taken as they stand, so the advice is as likely to
    be too small as too large. `alpha_pass` None: only the lower bound can decide.
    """
    gap = float(z.mean()) - threshold
    alpha = alpha_fail if gap > 0 else alpha_pass
    if alpha is None or gap == 0 or not math.isfinite(gap):
        return More(None, None, None)
    n, d = z.shape
    squares = mean_squares(z)
    parts = _Components(
        max(0.0, squares.images - squares.residual) / d,
        max(0.0, squares.draws - squares.residual) / n,
        squares.residual,
    )
    fixed_n, fixed_d = np.full((FACTOR - 1) * d, float(n)), np.full((FACTOR - 1) * n, float(d))
    more_d, more_n = np.arange(d + 1.0, FACTOR * d + 1), np.arange(n + 1.0, FACTOR * n + 1)
    scale = np.linspace(1, FACTOR, 8 * FACTOR)[1:]
    both_n, both_d = np.ceil(n * scale), np.ceil(d * scale)

    def first(ns: FloatArray, ds: FloatArray) -> int | None:
        enough = parts.half_width(ns, ds, alpha) < abs(gap)
        return int(np.argmax(enough)) if enough.any() else None

    images, draws, both = first(more_n, fixed_d), first(fixed_n, more_d), first(both_n, both_d)
    return More(
        None if images is None else int(more_n[images]) - n,
        None if draws is None else int(more_d[draws]) - d,
        None if both is None else (int(both_n[both]) - n, int(both_d[both]) - d),
    )

"""How many more images or draws would probably settle an open question."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from scipy.special import stdtrit

from salsanity.verdicts.intervals import MeanSquares, mean_squares
from salsanity.verdicts.table import FloatArray

FACTOR: Final = 20
"""More than this many times the images or draws is no advice to anyone."""
GRAIN: Final = 8
"""Images and draws together grow in steps of this part of themselves."""


@final
@dataclass(frozen=True)
class More:
    """Images or draws to add, each alone, or both together; None: not within `FACTOR` times."""

    images: int | None
    draws: int | None
    both: tuple[int, int] | None


@final
@dataclass(frozen=True)
class Components:
    """Variance components of images, draws and residual, by the method of moments."""

    images: float
    draws: float
    residual: float

    @classmethod
    def of(cls, z: FloatArray) -> Components:
        """Estimate them from a table (N, D > 1)."""
        n, d = z.shape
        squares = mean_squares(z)
        return cls(
            max(0.0, squares.images - squares.residual) / d,
            max(0.0, squares.draws - squares.residual) / n,
            squares.residual,
        )

    def variance(self, n: float, d: float) -> float:
        """Return the variance of the mean over `n` images and `d` draws."""
        return self.images / n + self.draws / d + self.residual / (n * d)

    def half_width(self, n: float, d: float, alpha: float) -> float:
        """Predict mean minus lower bound for `n` images and `d` draws."""
        by_image = self.residual + d * self.images
        by_draw = self.residual + n * self.draws
        squares = MeanSquares(by_image, by_draw, self.residual, int(n), int(d))
        if squares.variance == 0:
            return 0.0
        return float(stdtrit(squares.df, 1 - alpha)) * math.sqrt(squares.variance)


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
    parts = Components.of(z)

    def enough(more_images: int, more_draws: int) -> bool:
        return parts.half_width(n + more_images, d + more_draws, alpha) < abs(gap)

    both = _least(lambda k: enough(_share(n, k), _share(d, k)), GRAIN * (FACTOR - 1))
    return More(
        _least(lambda k: enough(k, 0), (FACTOR - 1) * n),
        _least(lambda k: enough(0, k), (FACTOR - 1) * d),
        None if both is None else (_share(n, both), _share(d, both)),
    )


def _share(n: int, k: int) -> int:
    """Return what `k` steps of a `GRAIN`th each add to `n`."""
    return math.ceil(n * k / GRAIN)


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """Return the least k of 1 to `most` that is enough, where every larger one is too."""
    if not enough(most):
        return None
    return 1 + bisect_left(range(1, most), True, key=enough)

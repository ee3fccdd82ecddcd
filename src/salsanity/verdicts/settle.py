"""How many more images or draws would probably settle an open question, and which of them is cheaper."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from scipy.special import stdtrit

from salsanity.records import Line
from salsanity.verdicts.intervals import Spread
from salsanity.verdicts.retained import Retained

FACTOR: Final = 20
"""More than this many times the images or draws is no advice to anyone."""
GRAIN: Final = 8
"""Images and draws together grow in steps of this part of themselves."""


@final
@dataclass(frozen=True)
class More:
    """Images or draws to add, each alone, or both together; None: not within `FACTOR` times.

    `images_cost`: what those images cost, where those draws cost 1; NaN unless both are advised.
    """

    images: int | None
    draws: int | None
    both: tuple[int, int] | None
    images_cost: float = math.nan


@final
@dataclass(frozen=True)
class Components:
    """Variance components of images, draws and residual by the method of moments, and the table that they come from."""

    images: float
    draws: float
    residual: float
    spread: Spread
    planned: tuple[int, int]

    @classmethod
    def of(cls, retained: Retained) -> Components | None:
        """Estimate them from what was measured; None where it has no interval."""
        spread = retained.spread
        if spread is None:
            return None
        N_e, D_e = spread.effective
        return cls(
            max(0.0, spread.images - spread.residual) * N_e,
            max(0.0, spread.draws - spread.residual) * D_e,
            spread.residual * spread.n,
            spread,
            retained.planned,
        )

    def grown(self, images: int, draws: int) -> Spread:
        """Predict the spread for so many planned images and draws, with holes as often as now."""
        wider, longer = images / self.planned[0], draws / self.planned[1]
        (N, D), (N_e, D_e) = self.spread.counted, self.spread.effective
        N_e, D_e, n = N_e * wider, D_e * longer, self.spread.n * wider * longer
        residual = self.residual / n
        return Spread(
            self.images / N_e + residual,
            self.draws / D_e + residual,
            residual,
            (N_e, D_e),
            (N * wider, D * longer),
            n,
        )

    def variance(self, images: int, draws: int) -> float:
        """Return the variance of the mean over so many planned images and draws."""
        return self.grown(images, draws).variance

    def half_width(self, images: int, draws: int, alpha: float) -> float:
        """Predict mean minus lower bound for so many planned images and draws."""
        spread = self.grown(images, draws)
        if spread.variance == 0:
            return 0.0
        return float(stdtrit(spread.df, 1 - alpha)) * math.sqrt(spread.variance)


def more_needed(
    retained: Retained, line: Line, *, alpha_pass: float | None, alpha_fail: float
) -> More:
    """Predict what would bring the bound of R past the line's threshold.

    The estimate and the variance components are taken as they stand, so the advice is as likely to
    be too small as too large. `alpha_pass` None: it cannot pass.
    """
    gap, parts = retained.R - line.threshold, Components.of(retained)
    alpha = alpha_fail if (gap > 0) is (line.must == "change") else alpha_pass
    if alpha is None or gap == 0 or not math.isfinite(gap):
        return More(None, None, None)
    if parts is None:
        return More(_images_alone(retained, abs(gap), alpha), None, None)
    n, d = retained.planned

    def enough(more_images: int, more_draws: int) -> bool:
        return parts.half_width(n + more_images, d + more_draws, alpha) < abs(gap)

    both = _least(lambda k: enough(_share(n, k), _share(d, k)), GRAIN * (FACTOR - 1))
    images = _least(lambda k: enough(k, 0), (FACTOR - 1) * n)
    draws = _least(lambda k: enough(0, k), (FACTOR - 1) * d)
    pair = None if both is None else (_share(n, both), _share(d, both))
    return More(images, draws, pair, _cost(images, draws, (n, d)))


def _images_alone(retained: Retained, gap: float, alpha: float) -> int | None:
    """Return the images to add where one column is all that there is; None where that would not do, or it is no such column."""
    n, used, variance = retained.planned[0], retained.n_images, retained.alone.variance
    if not variance > 0:
        return None

    def enough(more: int) -> bool:
        larger = used * (n + more) / n
        return float(stdtrit(larger - 1, 1 - alpha)) * math.sqrt(variance * used / larger) < gap

    return _least(enough, (FACTOR - 1) * n)


def _cost(images: int | None, draws: int | None, planned: tuple[int, int]) -> float:
    """Compare costs: a draw asks for a map of every image, an image for one of every draw and one of the trained network."""
    n, d = planned
    return math.nan if images is None or draws is None else images * (d + 1) / (draws * n)


def _share(n: int, k: int) -> int:
    """Return what `k` steps of a `GRAIN`th each add to `n`."""
    return math.ceil(n * k / GRAIN)


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """Return the least k of 1 to `most` that is enough, where every larger one is too."""
    if not enough(most):
        return None
    return 1 + bisect_left(range(1, most), True, key=enough)

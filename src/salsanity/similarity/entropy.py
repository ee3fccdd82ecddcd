"""The entropy of a map's values: a statistic of one map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from salsanity.similarity.protocol import Scores, View
from salsanity.similarity.views import REASONS, matrix


@final
@dataclass(frozen=True)
class HistogramEntropy:
    """Entropy in nats of the histogram of a map's values over its own range; uniform noise has ln `bins`.

    Equal to `scipy.stats.entropy(numpy.histogram(values, bins)[0])`. Source: Hedstroem et al. (arXiv 2405.02383), eMPRT.
    """

    bins: int = 100

    name: ClassVar[str] = "entropy"

    def measure(self, view: View) -> Scores:
        """Measure every map; a constant map, or one that is not finite, has none."""
        rows = matrix(view).to("cpu", torch.float64)
        values, reasons = [], []
        for row in rows:
            reason = _why_not(row)
            values.append(float("nan") if reason else self._entropy(row))
            reasons.append(reason)
        return Scores(torch.tensor(values, dtype=torch.float64), tuple(reasons))

    def _entropy(self, row: Tensor) -> float:
        counts = torch.histc(row, self.bins, float(row.min()), float(row.max()))
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * shares.log()).sum())


def _why_not(row: Tensor) -> str | None:
    if not bool(torch.isfinite(row).all()):
        return REASONS[1]
    return REASONS[2] if bool(row.max() == row.min()) else None

"""Integrated gradients and its SmoothGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from salsanity.methods.baselines import RANDOM_BASELINES
from salsanity.methods.protocol import Inputs, Steps
from salsanity.passes.request import Baseline, Fold, Noisy, Pass, Path, Points


@final
@dataclass(frozen=True)
class IntegratedGradients:
    """(x - b) * mean gradient on the straight path from b to x (Sundararajan et al. 2017, eq. 1, discretised)."""

    steps_on_path: int = 50
    baseline: Baseline = Baseline()
    spacing: Literal["midpoint", "endpoints"] = "midpoint"
    name: str = "integrated_gradients"
    multiplied: ClassVar[bool] = True

    @property
    def stochastic(self) -> bool:
        """Whether the baseline is drawn."""
        return self.baseline.name in RANDOM_BASELINES

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one pass along the path."""
        path = Path(self.steps_on_path, self.baseline, self.spacing)
        (result,) = yield (Pass(Points(path=path), fold=Fold.PATH),)
        return result.gradient


@final
@dataclass(frozen=True)
class IntegratedGradientsSmoothGrad:
    """Mean of integrated gradients over noisy copies, each from the baseline to its own copy."""

    samples: int = 25
    sd: float = 0.15
    steps_on_path: int = 50
    baseline: Baseline = Baseline()
    spacing: Literal["midpoint", "endpoints"] = "midpoint"
    name: str = "integrated_gradients_smoothgrad"
    stochastic: bool = True
    multiplied: ClassVar[bool] = True

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one pass along the paths to all copies."""
        path = Path(self.steps_on_path, self.baseline, self.spacing)
        points = Points(noisy=Noisy(self.samples, self.sd), path=path)
        (result,) = yield (Pass(points, fold=Fold.PATH),)
        return result.gradient

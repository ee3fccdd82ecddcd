"""SmoothGrad, its square, and VarGrad: moments of the gradient over noisy copies of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from salsanity.methods.protocol import Inputs, Steps
from salsanity.passes.request import Fold, Noisy, Pass, Points


def _moment(samples: int, sd: float, fold: Fold) -> Pass:
    return Pass(Points(noisy=Noisy(samples, sd)), fold=fold)


@final
@dataclass(frozen=True)
class SmoothGrad:
    """Mean gradient over `samples` copies with noise of sd `sd` x (max x - min x) (Smilkov et al. 2017)."""

    samples: int = 50
    sd: float = 0.15
    name: str = "smoothgrad"
    stochastic: bool = True

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one pass over the noisy copies."""
        (result,) = yield (_moment(self.samples, self.sd, Fold.MEAN),)
        return result.gradient


@final
@dataclass(frozen=True)
class SmoothGradSquared:
    """Mean squared gradient over noisy copies (Hooker et al. 2019)."""

    samples: int = 50
    sd: float = 0.15
    name: str = "smoothgrad_squared"
    stochastic: bool = True

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one pass over the noisy copies, shared with SmoothGrad."""
        (result,) = yield (_moment(self.samples, self.sd, Fold.MEAN_SQUARE),)
        return result.gradient


@final
@dataclass(frozen=True)
class VarGrad:
    """Population variance of the gradient over noisy copies (Adebayo et al. 2018, appendix)."""

    samples: int = 25
    sd: float = 0.15
    name: str = "vargrad"
    stochastic: bool = True

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one pass over the noisy copies, a prefix of SmoothGrad's."""
        (result,) = yield (_moment(self.samples, self.sd, Fold.VARIANCE),)
        return result.gradient

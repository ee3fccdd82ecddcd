"""Gradient, input x gradient and guided backprop: one pass at the input each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from salsanity.methods.protocol import Inputs, Steps
from salsanity.passes.request import Pass, Rule


@final
@dataclass(frozen=True)
class Gradient:
    """d f_c / d x, the gradient of the class logit at the input (Simonyan et al. 2014)."""

    name: str = "gradient"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one plain pass."""
        (result,) = yield (Pass(),)
        return result.gradient


@final
@dataclass(frozen=True)
class InputXGradient:
    """x * d f_c / d x, element by element (Shrikumar et al. 2016)."""

    name: str = "input_x_gradient"
    stochastic: bool = False
    multiplied: ClassVar[bool] = True
    """Whether the map is a product with the input, which can be left out."""

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one plain pass, the same as the gradient's."""
        (result,) = yield (Pass(),)
        return inputs.x * result.gradient


@final
@dataclass(frozen=True)
class GuidedBackprop:
    """The gradient with every ReLU's outgoing gradient clipped to positive (Springenberg et al. 2015)."""

    name: str = "guided_backprop"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one guided pass."""
        (result,) = yield (Pass(rule=Rule.GUIDED),)
        return result.gradient

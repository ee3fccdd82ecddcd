"""Any callable as a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from salsanity.methods.protocol import Inputs, Steps
from salsanity.passes.request import Explainer, Foreign


@final
@dataclass(frozen=True)
class CallableMethod:
    """An explainer `(model, inputs, targets) -> maps` of the user's or of another library.

    Whether it draws random numbers is not known, so its ceiling is always measured.
    """

    explainer: Explainer
    name: str
    stochastic: bool = True

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one opaque step."""
        (result,) = yield (Foreign(self.explainer, self.name),)
        return result.gradient

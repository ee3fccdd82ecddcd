"""Any callable as a method."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import final

from salsanity.errors import MethodError
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

    def __post_init__(self) -> None:
        """Refuse what cannot be called with a model, inputs and targets."""
        try:
            signature = inspect.signature(self.explainer)
        except (TypeError, ValueError):
            return  # it does not tell
        try:
            signature.bind(None, None, None)
        except TypeError as error:
            raise MethodError(
                f"expected an explainer (model, inputs, targets) -> maps, got {self.name}{signature}: {error}"
            ) from error

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one opaque step."""
        (result,) = yield (Foreign(self.explainer, self.name),)
        return result.gradient

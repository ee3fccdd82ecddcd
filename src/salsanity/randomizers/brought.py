"""A draw that somebody else wrote, checked each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from salsanity.errors import ModelError, SalsanityError
from salsanity.models.network import Network
from salsanity.models.slots import dotted
from salsanity.randomizers.draw import Drawn


@final
@dataclass(frozen=True)
class BroughtDraw:
    """`draw`, a callable `(network, seed) -> layer -> tensor name -> values`, under the name that the user gave.

    Raises ModelError with that name where it raises, or returns anything else, tensors that the network does not have,
    or values that are not finite.
    """

    draw: Callable[[Network, int], Any]
    name: str

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Draw for the whole network."""
        try:
            drawn = self.draw(network, seed)
        except SalsanityError:
            raise
        except Exception as error:
            raise self._wrong(f"it raised {type(error).__name__}: {error}") from error
        if not isinstance(drawn, Mapping):
            raise self._wrong(f"it returned {type(drawn).__name__}")
        return {layer: self._checked(network, layer, drawn[layer]) for layer in drawn}

    def _checked(self, network: Network, layer: str, tensors: Any) -> dict[str, Tensor]:
        if not isinstance(tensors, Mapping):
            raise self._wrong(f"for layer {layer!r} it returned {type(tensors).__name__}")
        for name, values in tensors.items():
            trained = network.trained.get(layer, {}).get(name)
            if trained is None:
                raise self._wrong(f"the network has no tensor {dotted(layer, name)!r}")
            if not isinstance(values, Tensor) or values.shape != trained.shape:
                shape = tuple(getattr(values, "shape", ()))
                raise self._wrong(
                    f"{dotted(layer, name)} has shape {tuple(trained.shape)}, it drew {shape}"
                )
            if not bool(values.isfinite().all()):
                raise self._wrong(f"values of {dotted(layer, name)} are not finite")
        return dict(tensors)

    def _wrong(self, what: str) -> ModelError:
        return ModelError(
            f"expected the initialiser {self.name} to return layer -> tensor name -> values, but {what}; repair it"
        )

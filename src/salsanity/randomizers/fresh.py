"""`fresh`: a newly built network per draw, its tensors handed out by name; and `keep`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn

from salsanity.errors import ModelError
from salsanity.models.copying import interpreted, unwrapped
from salsanity.models.coverage import kept_by
from salsanity.models.network import Network
from salsanity.models.random_state import random_state
from salsanity.models.slots import Weights as Trained
from salsanity.models.slots import dotted
from salsanity.randomizers.draw import Draw, Drawn
from salsanity.randomizers.owners import Owner, owners_of
from salsanity.seeds import seed_for

_SHOWN: Final = 3


@final
@dataclass(frozen=True)
class Fresh:
    """A newly built network per draw: P's "randomly initialised untrained network".

    `make_model` builds the architecture with random weights, without arguments. Use `fresh_draw`,
    which makes sure that it does. Raises ModelError where a build differs in names or shapes.
    """

    make_model: Callable[[], nn.Module]
    name: str = "fresh"

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Build one network and read all learned tensors from it."""
        built = build(self.make_model, seed_for(seed, "fresh"), network)
        result: Drawn = {}
        for owner in owners_of(network):
            for layer, tensors in _read(owner, built).items():
                result.setdefault(layer, {}).update(tensors)
        return result


@final
@dataclass(frozen=True)
class Keeping:
    """A draw that leaves the tensors and layers which fit a pattern as they were trained."""

    draw: Draw
    patterns: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the draw inside."""
        return self.draw.name

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Draw, and take out what is kept."""
        drawn = self.draw(network, seed)
        left = {
            layer: {n: v for n, v in tensors.items() if not kept_by((layer, n), self.patterns)}
            for layer, tensors in drawn.items()
        }
        return {layer: tensors for layer, tensors in left.items() if tensors}


def fresh_draw(
    network: Network, make_model: Callable[[], nn.Module], *, keep: Sequence[str] = ()
) -> Fresh:
    """Return `Fresh` if two builds differ from each other and from the trained values.

    Constant tensors (biases of 0, norms of 1) may be equal, and so may what `keep` names.

    Raises ModelError with the names that are equal: such a factory loads weights or fixes its seed.
    """
    draw = Fresh(make_model)
    one, two = draw(network, 0), draw(network, 1)
    buffers = {slot.key for slot in network.slots if slot.kind == "buffer"}
    one = {  # a buffer that every new network has is a constant, as coverage says
        layer: {name: v for name, v in tensors.items() if (layer, name) not in buffers}
        for layer, tensors in one.items()
    }
    _check_differ(one, two, keep, "two networks that it built")
    _check_differ(one, network.trained, keep, "a network that it built and the trained one")
    return draw


def _check_differ(one: Trained, two: Trained, keep: Sequence[str], who: str) -> None:
    equal = [
        dotted(layer, name)
        for layer, tensors in one.items()
        for name, values in tensors.items()
        if not kept_by((layer, name), keep) and _same_and_varied(values, two[layer][name])
    ]
    if equal:
        more = f" and {len(equal) - _SHOWN} more" if len(equal) > _SHOWN else ""
        raise ModelError(
            f"make_model gives no fresh networks: {', '.join(equal[:_SHOWN])}{more} are equal in "
            f"{who}. Let it build untrained networks, without a fixed seed, or choose --init module"
        )


def _same_and_varied(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b.cpu()) and not bool((a == a.flatten()[0]).all())


def build(make_model: Callable[[], nn.Module], seed: int, network: Network) -> nn.Module:
    """Build a network with seeded random states; lazy layers see one input of zeros."""
    try:
        with random_state(seed, devices=()):
            built = interpreted(unwrapped(make_model()))
            if any(isinstance(p, nn.parameter.UninitializedParameter) for p in built.parameters()):
                built.eval()
                with torch.no_grad():
                    built(torch.zeros(network.trace.input_shape))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"make_model failed: {type(error).__name__}: {error}. It must build the network, "
            "untrained, "
            "without arguments"
        ) from error
    return built


def _read(owner: Owner, built: nn.Module) -> Drawn:
    modules = dict(built.named_modules(remove_duplicate=False))
    if owner.path not in modules:
        raise ModelError(
            f"make_model builds another network: it has no layer {owner.path!r}. Let it build the "
            "same "
            "architecture as the trained one"
        )
    found = owner.read_from(modules[owner.path])
    for slot in owner.slots:
        values = found.get(slot.layer, {}).get(slot.name)
        if values is None or values.shape != slot.tensor.shape:
            shape = None if values is None else tuple(values.shape)
            raise ModelError(
                f"make_model builds another network: expected {slot.path} of shape "
                f"{tuple(slot.tensor.shape)}, got {shape}. Let it build the same architecture"
            )
        found[slot.layer][slot.name] = values.to(slot.tensor.dtype)
    return found

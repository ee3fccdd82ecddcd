"""Routes: whether what the traced pass left unread is read for other images, or once the weights are others.

Mixtures of experts, early exits and other forward passes that branch on values read one set of layers for one image and
another for the next. What the traced pass never read is not randomised; so it must not matter anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from salsanity.errors import ModelError
from salsanity.models.network import Network
from salsanity.models.random_state import random_state
from salsanity.models.slots import Slot, Weights
from salsanity.models.steadiness import share_of_largest, tolerance_of
from salsanity.models.swap import swapped

_SHOWN: Final = 3


def check_routes(
    network: Network, batches: Iterable[Tensor], *, weights: Weights | None = None
) -> None:
    """Raise ModelError where, with `weights` put in, logits of some image depend on what the traced pass did not read."""
    unread = unread_by(network)
    if not unread:
        return
    given = weights or {}
    others = _merged(_stirred(unread), given)
    for x in batches:
        with torch.no_grad(), random_state(None):
            with swapped(network, given):
                first = network.logits(x)
            with swapped(network, others):
                second = network.logits(x)
        if share_of_largest(first, [second]) > tolerance_of(first) / 10:
            raise ModelError(_sentence(unread, is_trained=not given))


def unread_by(network: Network) -> tuple[Slot, ...]:
    """Return the parameters and buffers of decimal numbers that the traced pass did not read."""
    return tuple(
        slot
        for slot in network.slots
        if slot.key not in network.trace.uses
        and (slot.tensor.is_floating_point() or slot.tensor.is_complex())
        and slot.tensor.numel()
    )


def _stirred(slots: Iterable[Slot]) -> dict[str, dict[str, Tensor]]:
    """Return clearly other values for some tensors; none is negative where none was, as variances."""
    found: dict[str, dict[str, Tensor]] = {}
    for slot in slots:
        values = slot.tensor.detach()
        size = values.abs().max().clamp(min=1)
        noise = torch.linspace(0.5, 1.5, values.numel(), device=values.device).view(values.shape)
        found.setdefault(slot.layer, {})[slot.name] = (values + size * noise).to(values.dtype)
    return found


def _merged(stirred: dict[str, dict[str, Tensor]], weights: Weights) -> Weights:
    layers = {*stirred, *weights}
    return {layer: {**stirred.get(layer, {}), **weights.get(layer, {})} for layer in layers}


def _sentence(unread: tuple[Slot, ...], *, is_trained: bool) -> str:
    names = ", ".join(slot.path for slot in unread[:_SHOWN])
    more = f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    when = "for other images than the first" if is_trained else "once its weights are randomised"
    return (
        f"expected a network that reads the same layers for every image, got one that reads some of {names}{more} only {when} "
        "(a mixture of experts, an early exit, a branch on values): they would stay trained. Give one of its branches by itself, "
        "or let all of them run"
    )

"""Trained values that are no parameters or buffers of a network: a copy of it cannot have them randomised.

Layers in a Python list, a backbone hidden from `parameters()`, a forward that was replaced by a closure over the original,
packed weights of quantised layers: whatever the way, some operation reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import nn

from salsanity.errors import ModelError
from salsanity.models.learned import is_regular
from salsanity.models.reading import Outside
from salsanity.models.slots import Slot, memory_of
from salsanity.models.tracing import Trace

MANY: Final = 100
"""More irregular numbers that are added, or that the pass itself makes a matrix of, are no constants of the code."""

_SHOWN: Final = 3


def check_nothing_hidden(slots: Sequence[Slot], trace: Trace, original: nn.Module) -> None:
    """Raise ModelError, with module and line, where the traced copy reads trained values that are not its own.

    `original`: the user's network, never to be read by its copy.
    """
    if trace.packed:
        operation, module = trace.packed[0]
        raise ModelError(
            f"The network runs quantised layers ({operation} in {_module(module)}), whose weights are packed where they cannot "
            "be randomised. Give the network before it was quantised"
        )
    _check_whole_numbers(slots, trace)
    theirs = _memory(original)
    borrowed = [found for found in trace.outside if _is_of(theirs, found)]
    if borrowed:
        raise ModelError(
            f"The copy that salsanity works on still runs the original network: it reads {_named(borrowed, theirs)}, and that "
            "would stay trained. A forward, function or hook that was put on an object holds the original's layers: put it on "
            "as a method (types.MethodType(forward, layer)) or in a subclass, or give the network without it"
        )
    hidden = [found for found in trace.outside if is_weight(found)]
    if hidden:
        raise ModelError(
            f"The network reads trained values that are none of its parameters and buffers: {_named(hidden, {})}; they would "
            "stay trained. Register them: layers in a list by nn.ModuleList, a hidden network as an attribute, tensors by "
            "nn.Parameter or register_buffer"
        )


def is_weight(found: Outside) -> bool:
    """Whether a tensor beside the slots holds what training found: layers' parameters, and many irregular numbers."""
    if isinstance(found.tensor, nn.Parameter) or (found.tensor.requires_grad and not found.made):
        return True
    is_matrix, is_large = found.use.is_matrix, found.tensor.numel() > MANY
    is_added = "arithmetic" in found.use.roles and not (found.use.with_weights or found.made)
    return (is_large if found.made or not is_matrix else True) and (
        (is_matrix or is_added) and not is_regular(found.tensor)
    )


def note_on_outside(trace: Trace) -> str | None:
    """Say which tensors beside parameters and buffers were taken for constants; None where there are none to speak of."""
    used = [found for found in trace.outside if not found.made and found.use.roles]
    if not used:
        return None
    return f"Taken for constants, though no buffers of the network: {_named(used, {})}."


def _check_whole_numbers(slots: Sequence[Slot], trace: Trace) -> None:
    for slot in slots:
        use = trace.uses.get(slot.key)
        is_whole = trace.kinds[slot.key] == "whole numbers" and slot.tensor.dtype is not torch.bool
        is_weight_itself = use is not None and use.is_matrix and not use.with_weights
        if is_whole and is_weight_itself and not is_regular(slot.tensor):
            raise ModelError(
                f"The network's {slot.kind} {slot.path} holds weights as whole numbers ({slot.tensor.dtype}), which cannot be "
                "randomised. Give the network before it was quantised"
            )


def _memory(original: nn.Module) -> dict[int, str]:
    tensors = (*original.named_parameters(), *original.named_buffers())
    return {memory_of(tensor): name for name, tensor in tensors}


def _is_of(theirs: Mapping[int, str], found: Outside) -> bool:
    is_read = bool(found.use.roles) or isinstance(found.tensor, nn.Parameter)
    return is_read and memory_of(found.tensor) in theirs


def _named(found: Sequence[Outside], theirs: Mapping[int, str]) -> str:
    """Name some tensors by shape, module and line, with how many there are."""
    shown = ", ".join(_one(outside, theirs) for outside in found[:_SHOWN])
    values = sum(outside.tensor.numel() for outside in found)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    count = f"{len(found)} tensors of " if len(found) > 1 else ""
    return f"{count}{values:,} numbers, {shown}{more}"


def _one(outside: Outside, theirs: Mapping[int, str]) -> str:
    name = theirs.get(memory_of(outside.tensor), "a tensor")
    line = f", {outside.line}" if outside.line else ""
    return f"{name} {tuple(outside.tensor.shape)} in {_module(outside.module)}{line}"


def _module(name: str) -> str:
    return f"module {name!r}" if name else "the root module"

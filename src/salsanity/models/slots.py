"""The tensors of a network by slot: which layer owns which parameter or buffer under which name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

Key = tuple[str, str]
"""(path of the layer, name of the tensor in it); the path of the root module is ""."""


@final
@dataclass(frozen=True, eq=False)
class Slot:
    """A parameter or buffer where it is first owned; `aliases`: other places of a tied one."""

    layer: str
    name: str
    kind: Literal["parameter", "buffer"]
    tensor: Tensor
    aliases: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        """The layer's path and the tensor's name."""
        return (self.layer, self.name)

    @property
    def path(self) -> str:
        """The dotted name that `named_parameters` gives."""
        return dotted(self.layer, self.name)


def dotted(layer: str, name: str) -> str:
    """Join the path of a layer and the name of a tensor or child in it."""
    return f"{layer}.{name}" if layer else name


def slots_of(module: nn.Module) -> tuple[Slot, ...]:
    """Return every parameter and buffer once, in registration order."""
    places: dict[int, list[Key]] = {}
    first: dict[int, tuple[Literal["parameter", "buffer"], Tensor]] = {}
    for layer, owner in module.named_modules():
        for kind, name, tensor in _owned(owner):
            places.setdefault(id(tensor), []).append((layer, name))
            first.setdefault(id(tensor), (kind, tensor))
    return tuple(
        Slot(*places[key][0], kind=kind, tensor=tensor, aliases=tuple(places[key][1:]))
        for key, (kind, tensor) in first.items()
    )


def _owned(module: nn.Module) -> Iterator[tuple[Literal["parameter", "buffer"], str, Tensor]]:
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield "parameter", name, parameter
    for name, buffer in module._buffers.items():
        if buffer is not None:
            yield "buffer", name, buffer


def values_of(slots: tuple[Slot, ...]) -> dict[str, dict[str, Tensor]]:
    """Copy the values of all slots: layer -> tensor name -> values, on their device."""
    values: dict[str, dict[str, Tensor]] = {}
    for slot in slots:
        values.setdefault(slot.layer, {})[slot.name] = slot.tensor.detach().clone()
    return values


def fingerprint_of(slots: tuple[Slot, ...]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for slot in slots:
        tensor = slot.tensor.detach().cpu().contiguous()
        digest.update(f"{slot.path}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
        return
    for part in _parts(value):
        yield from tensors_in(part)


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif is_dataclass(value) and not isinstance(value, type):
        yield from (getattr(value, field.name) for field in fields(value))

"""The tensors of a network by slot: which layer owns which parameter or buffer under which name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

Key = tuple[str, str]
"""(path of the layer, name of the tensor in it); the path of the root module is ""."""

Weights = Mapping[str, Mapping[str, Tensor]]
"""Layer path -> name of a parameter or buffer that the layer owns directly -> values."""


@final
@dataclass(frozen=True, eq=False)
class Slot:
    """A parameter or buffer where it is first owned; `aliases`: other places of a tied one.

    `persistent`: whether it is saved with the network; a buffer that is not has its value from the constructor alone.
    """

    layer: str
    name: str
    kind: Literal["parameter", "buffer"]
    tensor: Tensor
    aliases: tuple[Key, ...] = ()
    persistent: bool = True

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
    passing: set[Key] = set()
    for layer, owner in module.named_modules():
        passing |= {(layer, name) for name in owner._non_persistent_buffers_set}
        for kind, name, tensor in _owned(owner):
            places.setdefault(id(tensor), []).append((layer, name))
            first.setdefault(id(tensor), (kind, tensor))
    return tuple(
        Slot(
            *at[0], kind=kind, tensor=tensor, aliases=tuple(at[1:]), persistent=at[0] not in passing
        )
        for at, (kind, tensor) in zip(places.values(), first.values(), strict=True)
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


def memory_of(tensor: Tensor) -> int:
    """Return a number that tensors share if and only if they lie in the same memory, while they live."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and other tensors without a storage
        return id(tensor)


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists, mappings and dataclasses, in order; a cycle is followed once."""
    yield from _tensors_in(value, set())


def _tensors_in(value: object, around: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif id(value) not in around:
        for part in _parts(value):
            yield from _tensors_in(part, {*around, id(value)})


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _fields_set(value)


def _fields_set(value: Any) -> Iterator[object]:
    """Values of a dataclass; a field that was never set, or that another attribute would answer for, is passed over."""
    for field in fields(value):
        try:
            yield object.__getattribute__(value, field.name)
        except AttributeError:
            continue

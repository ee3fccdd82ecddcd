"""`swapped`: the only thing that puts weights into a network, and takes them out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from salsanity.errors import ModelError
from salsanity.models.network import Network
from salsanity.models.saved import SavedModule, saved_modules
from salsanity.models.slots import Key, Weights


@final
@dataclass
class Shelf:
    """Copies of weights that are put in often: made once, and anew for what a network changed in place."""

    copies: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def copy_for(self, tensor: Tensor, values: Tensor) -> Tensor:
        """Return a copy of `values` as `tensor` lies in memory."""
        kept = self.copies.get((id(tensor), id(values)))
        if kept is not None and kept[0] is values:
            return kept[1]
        copy = torch.empty_like(tensor).copy_(values)
        self.copies[id(tensor), id(values)] = values, copy
        return copy

    def drop(self, tensor: Tensor, values: Tensor) -> None:
        """Forget a copy that is no longer what it was."""
        self.copies.pop((id(tensor), id(values)), None)


@contextmanager
def swapped(
    network: Network, weights: Weights, *, exact: bool = True, shelf: Shelf | None = None
) -> Iterator[set[Key]]:
    """Run the body with `weights` in the network's own copy, and put everything back afterwards.

    The values are copied in, so that what the body does to them does not reach the draw; with a `shelf`, the copy is
    kept there for the next time. On the way out, whatever happened, every module has the attributes, hooks, mode,
    parameters and buffers (the same objects, at the same memory) that it had on the way in. With `exact`, values that
    the body changed in place are found by comparing them with the trained ones; without it, by torch's version counters
    alone, which writing through `.data` evades. What the network keeps of earlier passes (biases of attention that were
    computed from its weights, say) is emptied on the way in: it belongs to other weights.

    The body may end by adding to the set that it gets the keys of slots in which it has just found the trained values: where
    these lie in the memory of before, they are not compared again.

    Raises ModelError, before anything is changed, for tensors that the network does not have.
    """
    targets = _targets(network, weights)
    for module in network.clean:
        module.empty_caches()
    before = _Before.of(network)
    versions: list[int] = []
    sound: set[Key] = set()
    store = Shelf() if shelf is None else shelf
    try:
        with torch.no_grad():
            for tensor, values in targets:
                tensor.data = store.copy_for(tensor, values)
                versions.append(tensor._version)
        yield sound
    finally:
        for (tensor, values), version in zip(targets, versions, strict=False):
            if tensor._version != version:
                store.drop(tensor, values)
        before.restore(network, exact=exact, sound=sound)


def _targets(network: Network, weights: Weights) -> list[tuple[Tensor, Tensor]]:
    modules = dict(network.module.named_modules(remove_duplicate=False))
    return [
        (_tensor_at(modules, layer, name, values), values)
        for layer, tensors in weights.items()
        for name, values in tensors.items()
    ]


def _tensor_at(modules: Mapping[str, nn.Module], layer: str, name: str, values: Tensor) -> Tensor:
    module = modules.get(layer)
    owned: Tensor | None = None
    if module is not None:
        owned = module._parameters.get(name)
        owned = module._buffers.get(name) if owned is None else owned
    if owned is None:
        raise ModelError(
            f"Cannot put weights in: the network has no tensor {name!r} in layer {layer!r}"
        )
    if owned.shape != values.shape:
        raise ModelError(
            f"Cannot put weights in: expected shape {tuple(owned.shape)} for {name!r} in layer "
            f"{layer!r}, "
            f"got {tuple(values.shape)}"
        )
    return owned


@final
@dataclass(frozen=True)
class _SavedTensor:
    """A parameter or buffer object, and the memory and flags it had."""

    tensor: Tensor
    data: Tensor
    version: int
    requires_grad: bool
    grad: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor) -> _SavedTensor:
        return cls(tensor, tensor.data, tensor._version, tensor.requires_grad, tensor.grad)

    def restore(self, trained: Tensor | None, *, exact: bool) -> None:
        """Give the object its memory and flags back, and that memory its values (None: unknown)."""
        moved = _place(self.tensor) != _place(self.data)
        touched = self.tensor._version != self.version
        if moved or touched:
            self.tensor.data = self.data
        if (
            trained is not None
            and (moved or touched or exact)
            and not torch.equal(self.data, trained)
        ):
            self.data.copy_(trained)
        if self.tensor.requires_grad != self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)
        self.tensor.grad = self.grad


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()


@final
@dataclass(frozen=True)
class _Before:
    """All of a network as it was on the way in."""

    modules: tuple[SavedModule, ...]
    tensors: tuple[tuple[_SavedTensor, Tensor | None], ...]

    @classmethod
    def of(cls, network: Network) -> _Before:
        modules = saved_modules(network.module)
        tensors = []
        for slot in network.slots:
            # Inside another swap the memory is not the trained one: its values cannot be checked.
            home = slot.tensor.data_ptr() == network.homes[slot.key]
            trained = network.trained[slot.layer][slot.name] if home else None
            tensors.append((_SavedTensor.of(slot.tensor), trained))
        return cls(modules, tuple(tensors))

    def restore(self, network: Network, *, exact: bool, sound: Set[Key]) -> None:
        for module in self.modules:
            module.restore()
        with torch.no_grad():
            for slot, (tensor, trained) in zip(network.slots, self.tensors, strict=True):
                tensor.restore(trained, exact=exact and slot.key not in sound)

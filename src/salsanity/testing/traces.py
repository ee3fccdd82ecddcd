"""What user code may leave behind: on a network, and in the global random state."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn


@final
@dataclass(frozen=True)
class Traces:
    """A network as it is now, to be compared with what it is later; every method names what differs, or returns None."""

    module: nn.Module
    values: Mapping[str, Tensor]
    objects: Mapping[str, int]
    grads: Mapping[str, tuple[bool, Tensor | None]]
    modes: Mapping[str, bool]
    attributes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, module: nn.Module) -> Traces:
        """Take note of a network."""
        return cls(
            module,
            {name: tensor.detach().clone() for name, tensor in _tensors(module).items()},
            {name: id(tensor) for name, tensor in _tensors(module).items()},
            {name: (p.requires_grad, p.grad) for name, p in module.named_parameters()},
            {name: part.training for name, part in module.named_modules()},
            {name: _attributes(part) for name, part in module.named_modules()},
        )

    def values_changed(self) -> str | None:
        """Name a parameter or buffer with other bits, of another object, new or gone."""
        now = _tensors(self.module)
        if {name: id(tensor) for name, tensor in now.items()} != self.objects:
            return "other parameters or buffers than before"
        return next(
            (n for n, before in self.values.items() if not _same_bits(before, now[n])), None
        )

    def grads_changed(self) -> str | None:
        """Name a parameter whose `.grad` or `requires_grad` changed."""
        for name, parameter in self.module.named_parameters():
            wanted, grad = self.grads.get(name, (None, None))
            if parameter.requires_grad is not wanted or parameter.grad is not grad:
                return name
        return None

    def modes_changed(self) -> str | None:
        """Name a module that was put into another mode."""
        now = {name: part.training for name, part in self.module.named_modules()}
        return next((n or "the network" for n in self.modes if now.get(n) != self.modes[n]), None)

    def attributes_changed(self) -> str | None:
        """Name a module with other hooks, attributes or children."""
        now = {name: _attributes(part) for name, part in self.module.named_modules()}
        if list(now) != list(self.attributes):
            return "other modules than before"
        return next((n or "the network" for n in now if now[n] != self.attributes[n]), None)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


def _attributes(part: nn.Module) -> dict[str, Any]:
    """Identities of what a module holds, and the contents of its tables of hooks; mode and tensors apart."""
    skipped = {"training", "_parameters", "_buffers"}
    return {
        name: [(key, id(item)) for key, item in value.items()]
        if isinstance(value, dict)
        else id(value)
        for name, value in vars(part).items()
        if name not in skipped
    }


def random_state() -> tuple[Any, ...]:
    """Return the states of Python's, NumPy's and torch's global generators, comparable by `==`."""
    kind, keys, *rest = np.random.get_state()
    return (
        random.getstate(),
        kind,
        tuple(np.asarray(keys).tolist()),
        rest,
        torch.get_rng_state().tolist(),
    )

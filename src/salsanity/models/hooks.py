"""Hooks that a network brings along: torch's own stay, those of somebody's earlier work are named and left off the copy.

Hooks of an earlier guided backprop change every gradient; hooks that keep activations for a library do nothing here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Literal, final

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules import module as torchs

from salsanity.errors import ModelError

Kind = Literal["forward", "forward pre", "backward", "backward pre"]
Hooks = Literal["drop", "keep"]

_TABLES: Final[dict[Kind, str]] = {
    "forward": "_forward_hooks",
    "forward pre": "_forward_pre_hooks",
    "backward": "_backward_hooks",
    "backward pre": "_backward_pre_hooks",
}
_FLAGS: Final = (
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)
_SHOWN: Final = 3


@final
@dataclass(frozen=True)
class Hook:
    """A hook on a module that is none of torch's own (weight and spectral norm, pruning, quantisation)."""

    module: str
    kind: Kind
    number: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.kind} hook of {self.module or 'the whole network'})"


def hooks_of(module: nn.Module) -> tuple[Hook, ...]:
    """Return the hooks on a network and its parts that do not belong to torch."""
    return tuple(
        Hook(name, kind, number, _name_of(hook))
        for name, part in module.named_modules()
        for kind, table in _TABLES.items()
        for number, hook in getattr(part, table).items()
        if not _is_torchs(hook)
    )


def take_off(module: nn.Module, hooks: Iterable[Hook]) -> None:
    """Remove hooks from a module of ours."""
    for hook in hooks:
        part = module.get_submodule(hook.module)
        for table in (_TABLES[hook.kind], *_FLAGS):
            getattr(part, table).pop(hook.number, None)


def in_words(hooks: Iterable[Hook]) -> str:
    """Name some hooks: how many, and the first ones."""
    found = tuple(hooks)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{len(found)} hook{'s' if len(found) > 1 else ''}: {', '.join(map(str, found[:_SHOWN]))}{more}"


def refuse_global_hooks() -> None:
    """Raise ModelError where hooks on all modules of the process would change every gradient."""
    tables = (torchs._global_backward_hooks, torchs._global_backward_pre_hooks)
    found = [_name_of(hook) for table in tables for hook in table.values() if not _is_torchs(hook)]
    if found:
        raise ModelError(
            f"Backward hooks are set on all modules of this process ({', '.join(found[:_SHOWN])}); they may change every "
            "gradient. Remove them (the handle of register_module_full_backward_hook has remove())"
        )


@contextmanager
def process_as_before() -> Iterator[None]:
    """Take off what the block leaves on all modules of the process, and put torch's default type of numbers back."""
    tables = {
        name: dict(table)
        for name, table in vars(torchs).items()
        if name.startswith("_global_") and isinstance(table, dict)
    }
    kind, is_full = torch.get_default_dtype(), torchs._global_is_full_backward_hook
    try:
        yield
    finally:
        for name, table in tables.items():
            live = getattr(torchs, name)
            if live != table:
                live.clear()
                live.update(table)
        torchs._global_is_full_backward_hook = is_full
        if torch.get_default_dtype() is not kind:
            torch.set_default_dtype(kind)


@final
@dataclass(frozen=True)
class Forwards:
    """What runs when a network runs beside its own attributes: the forwards of its parts' classes, and torch's functions."""

    places: tuple[tuple[type | ModuleType, str, object], ...]

    @classmethod
    def of(cls, module: nn.Module) -> Forwards:
        """Note them as they are."""
        kinds = dict.fromkeys(kind for part in module.modules() for kind in type(part).__mro__)
        own = ((kind, "forward", vars(kind).get("forward")) for kind in kinds if kind is not object)
        functions = ((functional, name, f) for name, f in vars(functional).items() if callable(f))
        return cls((*own, *functions))

    def put_back(self) -> list[str]:
        """Put back what somebody has replaced; return its names."""
        found = []
        for home, name, before in self.places:
            if vars(home).get(name) is before:
                continue
            found.append(f"{home.__name__}.{name}")
            if before is None:
                delattr(home, name)
            else:
                setattr(home, name, before)
        return found


def refuse_patched_classes(module: nn.Module) -> None:
    """Raise ModelError where layers of torch's have a forward that is none of torch's, for all networks of the process."""
    for part in module.modules():
        kind = type(part)
        forward = inspect.getattr_static(kind, "forward", None)  # TorchScript's asks the instance
        home = str(getattr(forward, "__module__", torch.__name__))
        if kind.__module__.startswith("torch.nn.") and home.partition(".")[0] != torch.__name__:
            raise ModelError(
                f"Expected torch's own {kind.__name__}.forward, but {home} has put another in its place, for every network of "
                "this process: gradients of the network would be others. Put it on inside the explainer that needs it, and "
                "back afterwards (unittest.mock.patch.object)"
            )


def _is_torchs(hook: object) -> bool:
    return _defined_in(hook).partition(".")[0] == torch.__name__


def _innermost(hook: object) -> object:
    while isinstance(hook, functools.partial):
        hook = hook.func
    return hook


def _defined_in(hook: object) -> str:
    inner = _innermost(hook)
    own = inner if hasattr(inner, "__qualname__") else type(inner)
    return str(getattr(own, "__module__", "") or "")


def _name_of(hook: object) -> str:
    inner = _innermost(hook)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return str(name).rpartition("<locals>.")[2]

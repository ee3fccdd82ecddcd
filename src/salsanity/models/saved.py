"""What modules hold beside their weights: kept, and put back as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from torch import nn

from salsanity.models.slots import tensors_in

_TORCHS: Final = frozenset(vars(nn.Module()))
"""Attributes that torch itself gives every module: tables of parameters, buffers, children and hooks, and the mode."""

_ABSENT: Final = object()


@final
@dataclass(frozen=True)
class SavedModule:
    """A module's class, attributes, and the contents of its tables and lists (parameters, hooks, caches ...)."""

    module: nn.Module
    kind: type[nn.Module]
    attributes: dict[str, Any]
    tables: dict[str, dict[Any, Any]]
    lists: dict[str, list[Any]]

    @classmethod
    def of(cls, module: nn.Module) -> SavedModule:
        """Take note of a module."""
        attributes = dict(vars(module))
        tables = {k: dict(v) for k, v in attributes.items() if isinstance(v, dict)}
        lists = {k: list(v) for k, v in attributes.items() if isinstance(v, list)}
        return cls(module, type(module), attributes, tables, lists)

    def restore(self) -> None:
        """Put back what differs; tables keep their identity, because hook handles refer to them."""
        if type(self.module) is not self.kind:
            self.module.__class__ = self.kind
        for name, table in self.tables.items():
            _refill(self.attributes[name], table)
        for name, items in self.lists.items():
            _refill_list(self.attributes[name], items)
        own = vars(self.module)
        if not _same_items(own, self.attributes):
            own.clear()
            own.update(self.attributes)

    def empty_caches(self) -> None:
        """Put back attributes, tables and lists of the network's own that have come to hold other tensors."""
        own = vars(self.module)
        for name in [name for name in own if name not in _TORCHS]:
            kept = self.attributes.get(name, _ABSENT)
            if own[name] is kept:
                if name in self.tables:
                    _refill(kept, self.tables[name])
                elif name in self.lists:
                    _refill_list(kept, self.lists[name])
            elif next(tensors_in(own[name]), None) is not None:
                if kept is _ABSENT:
                    del own[name]
                else:
                    own[name] = kept


def saved_modules(root: nn.Module) -> tuple[SavedModule, ...]:
    """Take note of a module and all its parts."""
    return tuple(SavedModule.of(module) for module in root.modules())


def _refill(live: Any, table: Mapping[Any, Any]) -> None:
    if not _same_items(live, table):
        live.clear()
        live.update(table)


def _refill_list(live: list[Any], items: Sequence[Any]) -> None:
    """Take tensors out of a list that were put in; what a network notes of its calls in numbers stays."""
    if list(map(id, live)) != list(map(id, items)) and next(tensors_in(live), None) is not None:
        live[:] = items


def _same_items(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> bool:
    """Whether two tables hold the same objects under the same keys in the same order."""
    if not a and not b:  # most tables of hooks
        return True
    return list(map(id, a.values())) == list(map(id, b.values())) and list(a) == list(b)

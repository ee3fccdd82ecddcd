"""State dicts inside what a file of weights holds: nested, under prefixes, beside averages, losses and counters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

NESTED: Final = ("state_dict", "model", "model_state_dict", "model_state", "net", "weights")
"""Keys under which training programs keep the network, the usual ones first."""

_PREFIXES: Final = ("", "module.", "model.", "net.", "network.")
"""Prefixes that wrappers for training give to names, the usual ones first."""

_WRAPPERS: Final = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Segments that compiling, sharding and checkpointing put into names, wherever they wrapped a module."""

_NOT_WEIGHTS: Final = ("optim", "sched", "scaler", "grad")
"""Parts of keys that hold the state of a training, which may go by the parameters' names."""

_AVERAGES: Final = ("ema", "teacher", "average", "swa")

_DEEPEST: Final = 4
_MOST: Final = 1000
"""Mappings that are looked at in a file; those nearer to its top first."""


@final
@dataclass(frozen=True)
class StateDict:
    """Entries of a file that may be a network's. `key`: where they lie, as `--weights-key` names it; empty: at the top.

    `entries`: by name, without wrappers and without the `prefix` under which they lie; `others`: what lies beside it.
    `fitting`: how many of the network's tensors are there, in their shape.
    """

    key: str
    prefix: str
    entries: Mapping[str, Any]
    others: Mapping[str, Any]
    fitting: int

    @property
    def is_usual(self) -> bool:
        """Whether the prefix is one that wrappers for training give, and not a part of a larger network."""
        return all(f"{segment}." in _PREFIXES for segment in self.prefix.split(".")[:-1])

    @property
    def rank(self) -> tuple[int, bool, int]:
        """How unusual the place is for a network in training: its key, whether it is an average, and its prefix."""
        place = self.key.removesuffix(self.prefix.rstrip(".")).rstrip(".")
        last = place.rpartition(".")[2]
        return (
            NESTED.index(last) if last in NESTED else len(NESTED),
            any(word in self.key.lower() for word in _AVERAGES),
            _PREFIXES.index(self.prefix) if self.prefix in _PREFIXES else len(_PREFIXES),
        )

    def differs(self, other: StateDict) -> bool:
        """Whether the two hold other values under one name."""
        return any(_differ(value, other.entries.get(name)) for name, value in self.entries.items())


def state_dicts(value: object, wanted: Mapping[str, Any], key: str | None) -> list[StateDict]:
    """List the entries that may be the tensors `wanted` (by plain name), the best fitting first; else the usual before others.

    `key`: a path of keys with dots between them, and perhaps a prefix of names at its end; only what lies there counts.
    """
    found = [
        state
        for place, entries in _mappings(value)
        for state in _under_prefixes(place, _plain(entries), wanted)
        if key is None or f"{state.key}.".startswith(f"{key.strip('.')}.")
    ]
    return sorted(found, key=lambda state: (-state.fitting, state.rank))  # else as they come


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Map names without wrappers, and without a usual prefix that all of them carry, to the names themselves."""
    found = {_without_wrappers(name): name for name in names}
    for prefix in _PREFIXES[1:]:
        if found and all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): whole for name, whole in found.items()}
    return found


def _mappings(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every mapping with tensors in it, and its place; what lies nearer to the top first."""
    queue = [("", value, 0)]
    for place, found, depth in queue:
        items = found.items() if isinstance(found, Mapping) else ()
        named = {name: item for name, item in items if isinstance(name, str)}
        if any(isinstance(item, Tensor) for item in named.values()):
            yield place, named
        inside = [
            (f"{place}.{name}" if place else name, item, depth + 1)
            for name, item in named.items()
            if isinstance(item, Mapping) and not any(w in name.lower() for w in _NOT_WEIGHTS)
        ]
        if depth < _DEEPEST:  # a dictionary may hold itself
            queue += inside[: _MOST - len(queue)]


def _plain(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {_without_wrappers(name): value for name, value in entries.items()}


def _without_wrappers(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _under_prefixes(
    place: str, entries: Mapping[str, Any], wanted: Mapping[str, Any]
) -> Iterator[StateDict]:
    """Yield the entries under each prefix below which a wanted tensor lies, and all as they are."""
    for prefix in _prefixes(entries, wanted):
        inside = {n.removeprefix(prefix): v for n, v in entries.items() if n.startswith(prefix)}
        others = {name: value for name, value in entries.items() if not name.startswith(prefix)}
        key = ".".join(part for part in (place, prefix.rstrip(".")) if part)
        fitting = sum(_fits(inside.get(name), tensor) for name, tensor in wanted.items())
        yield StateDict(key, prefix, inside, others, fitting)


def _prefixes(entries: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """List the prefixes of entries that end like a wanted tensor's name, in the order in which they come."""
    ends: dict[str, list[str]] = {}
    for name in wanted:
        ends.setdefault(name.rpartition(".")[2], []).append(name)
    found = {"": None}
    for entry in entries:
        for name in ends.get(entry.rpartition(".")[2], ()):
            if entry.endswith(f".{name}"):
                found[entry.removesuffix(name)] = None
    return list(found)


def _fits(value: object, tensor: object) -> bool:
    if not isinstance(value, Tensor) or not isinstance(tensor, Tensor):
        return value is not None and not isinstance(tensor, Tensor)
    return is_lazy(tensor) or value.shape == tensor.shape


def _differ(a: object, b: object) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return False
    return a.shape != b.shape or a.dtype != b.dtype or not torch.equal(a, b)

"""Blocks: the units of a network that a person recognises, in execution order."""

from __future__ import annotations

import difflib
import fnmatch
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal, final

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from salsanity.errors import ModelError
from salsanity.models.slots import dotted
from salsanity.models.tracing import Trace

MOST_BLOCKS: Final = 24
"""Above this, neighbours in a sequence are taken together ("about 20" of docs/science.md)."""

ENOUGH_BLOCKS: Final = 8
"""With so many, a coarser level is kept rather than grouped (EfficientNet-B4's stages)."""

ROOT: Final = "(root)"
"""Name of a block that consists of the root module's own parameters."""

BlockChoice = Literal["auto", "layer"] | Sequence[str]


@final
@dataclass(frozen=True)
class Block:
    """A named unit; `layers`: paths of modules that own parameters, by first use ("": root)."""

    name: str
    layers: tuple[str, ...]


@final
@dataclass(frozen=True)
class _Unit:
    """One or several neighbouring modules that make a block."""

    name: str
    roots: tuple[str, ...]


def blocks_of(module: nn.Module, trace: Trace, choice: BlockChoice = "auto") -> tuple[Block, ...]:
    """Divide the layers that the forward pass uses into blocks, bottom (first used) first.

    `choice`: "auto" for at most about 20 units; "layer" for every layer that owns parameters; or
    names or patterns (`layer4.*`) of modules. Every used layer is in exactly one block: a layer
    outside all units (a norm, a class token) joins the block used just before it, or the first one.

    Raises ModelError for names that fit no module.
    """
    if choice == "layer":
        return _assigned(trace, [_Unit(name, (name,)) for name in _owners(trace.layers)], {})
    if isinstance(choice, str) and choice != "auto":
        choice = [choice]
    if choice == "auto":
        units = _automatic(module, trace)
        return _assigned(trace, units, _small(module, trace))
    return _assigned(trace, _named(module, trace, choice), {})


def _owners(layers: Iterable[str]) -> list[str]:
    """Layers, with the parametrisations of a layer counted as that layer."""
    return list(dict.fromkeys(owner_of(layer) for layer in layers))


def owner_of(layer: str) -> str:
    """Return the layer itself, or the layer whose parametrisation it is (torch's `parametrize`)."""
    parts = layer.split(".")
    return (
        ".".join(parts[: parts.index("parametrizations")]) if "parametrizations" in parts else layer
    )


def _assigned(trace: Trace, units: Sequence[_Unit], small: Mapping[str, bool]) -> tuple[Block, ...]:
    """Give every used layer to the unit around it, or else to the block before it."""
    home = {root: unit for unit in units for root in unit.roots}
    sizeable = {_home_of(layer, home) for layer in trace.layers if not small.get(layer, False)}
    members: dict[_Unit, list[str]] = {}
    waiting: list[str] = []
    for layer in trace.layers:
        unit = _home_of(layer, home)
        if unit is not None and unit in sizeable:
            members.setdefault(unit, []).extend([*waiting, layer])
            waiting = []
        elif members:
            members[next(reversed(members))].append(layer)
        else:
            waiting.append(layer)
    if waiting:
        names = _owners(waiting)
        return tuple(
            Block(name or ROOT, tuple(w for w in waiting if owner_of(w) == name)) for name in names
        )
    return tuple(Block(unit.name or ROOT, tuple(layers)) for unit, layers in members.items())


def _home_of(layer: str, home: Mapping[str, _Unit]) -> _Unit | None:
    """The unit of the nearest module around a layer; the root's has only its own parameters."""
    path = layer
    while path:
        if path in home:
            return home[path]
        path = path.rpartition(".")[0]
    return home.get("") if not layer else None


def _small(module: nn.Module, trace: Trace) -> dict[str, bool]:
    """Which layers are no unit by themselves: norms, and the bare parameters of containers."""
    return {layer: not _has_matrix(module.get_submodule(layer)) for layer in trace.layers}


def _has_matrix(module: nn.Module) -> bool:
    """Whether a module is a layer with a weight matrix or kernel, not a container with a token."""
    has = any(p is not None and p.ndim > 1 for p in module._parameters.values())
    container = any(name != "parametrizations" for name, _ in module.named_children())
    whole = isinstance(module, nn.MultiheadAttention | ParametrizationList)
    return has and (whole or not container)


def _named(module: nn.Module, trace: Trace, patterns: Sequence[str]) -> list[_Unit]:
    names = [name for name, _ in module.named_modules() if name]
    used = {name for name in names if any(_within(layer, name) for layer in trace.layers)}
    return [_Unit(name, (name,)) for pattern in patterns for name in _matches(pattern, names, used)]


def _within(layer: str, root: str) -> bool:
    return layer == root or layer.startswith(root + ".")


def _matches(pattern: str, names: Sequence[str], used: set[str]) -> list[str]:
    """Modules that a pattern names, outermost only; a `*` does not leave its level."""
    if pattern in names:
        found = [pattern]
    else:
        depth = pattern.count(".")
        found = [n for n in names if n.count(".") == depth and fnmatch.fnmatchcase(n, pattern)]
    if not found:
        close = difflib.get_close_matches(pattern, names, 3)
        hint = (
            f"; did you mean {' or '.join(close)}?"
            if close
            else f"; it has {', '.join(names[:12])} ..."
        )
        raise ModelError(
            f"Expected the name of a module of the network in blocks, got {pattern!r}{hint}"
        )
    kept = [name for name in found if name in used]
    if not kept:
        raise ModelError(
            f"Block {pattern!r} has no parameters that the forward pass uses; leave it out of the "
            "blocks"
        )
    return kept


def _automatic(module: nn.Module, trace: Trace) -> list[_Unit]:
    """Open containers level by level while the pieces stay few, then group what is too many."""
    opener = _Opener(module, trace)
    units = [""]
    while True:
        opened = opener.opened(units)
        if opened == units:
            return [_Unit(name, (name,)) for name in units]
        if opener.count(opened) > MOST_BLOCKS:
            return _grouped(units, opened, opener)
        units = opened


@final
class _Opener:
    """Knows which modules of a network are opened into their children, and what the pieces are."""

    def __init__(self, module: nn.Module, trace: Trace) -> None:
        self.modules = dict(module.named_modules())
        self.branching = trace.branching
        self.order = {name: i for i, name in enumerate(trace.calls)}
        self.layers = [layer for layer in trace.layers if _has_matrix(self.modules[layer])]
        self.closed = {
            type(m) for n, m in self.modules.items() if n and self._pieces(n) and not self._opens(n)
        } - {nn.Sequential, nn.ModuleList, nn.ModuleDict}

    def opened(self, units: list[str]) -> list[str]:
        """Replace every unit that may be opened by its children with weights."""
        result: list[str] = []
        for name in units:
            result += self._pieces(name) if self._may_open(name) else [name]
        return result

    def count(self, units: Iterable[str]) -> int:
        return sum(1 for name in units if self.weights(name))

    def weights(self, name: str) -> int:
        """How many used layers with a weight matrix a module holds."""
        return sum(1 for layer in self.layers if not name or _within(layer, name))

    def _may_open(self, name: str) -> bool:
        if not name:
            return True
        return type(self.modules[name]) not in self.closed and self._opens(name)

    def _opens(self, name: str) -> bool:
        """Whether it is a list, or holds a list of repeated blocks and no branches or skips."""
        module = self.modules[name]
        if self.weights(name) < 2:
            return False
        if isinstance(module, nn.ModuleList | nn.ModuleDict) and name not in self.order:
            return True
        if type(module).forward is nn.Sequential.forward:
            return True
        return name not in self.branching and self._holds_repeats(name)

    def _holds_repeats(self, name: str) -> bool:
        return any(self._repeats(n) for n in self._inside(name, 3))

    def _inside(self, name: str, depth: int) -> Iterator[str]:
        yield name
        for child in self._pieces(name) if depth else []:
            yield from self._inside(child, depth - 1)

    def _repeats(self, name: str) -> bool:
        """Whether a list holds at least two blocks of one class."""
        if not _is_list(self.modules[name]):
            return False
        blocks = [self.modules[c] for c in self._pieces(name)]
        kinds = Counter(type(b) for b in blocks if next(b.children(), None) is not None)
        return any(n > 1 for n in kinds.values())

    def _pieces(self, name: str) -> list[str]:
        children = [dotted(name, child) for child, _ in self.modules[name].named_children()]
        return [c for c in children if c in self.modules and self.weights(c)]


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


def _grouped(closed: list[str], opened: list[str], opener: _Opener) -> list[_Unit]:
    """Stay at the coarser level where it has enough blocks; else take neighbours together."""
    coarse = [_Unit(name, (name,)) for name in closed if opener.weights(name)]
    if len(coarse) >= ENOUGH_BLOCKS:
        return coarse
    families: dict[str, list[str]] = {}
    for name in opened:
        families.setdefault(name if name in closed else name.rpartition(".")[0], []).append(name)
    for size in range(2, 5):
        if sum(ceil(len(f) / size) for f in families.values()) <= MOST_BLOCKS:
            return [
                _run(f[i : i + size]) for f in families.values() for i in range(0, len(f), size)
            ]
    return coarse


def _run(names: Sequence[str]) -> _Unit:
    last = names[-1].rpartition(".")[2]
    return _Unit(names[0] if len(names) == 1 else f"{names[0]}-{last}", tuple(names))

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

from salsanity.errors import ModelError
from salsanity.models.atoms import Atom, atoms_of, owner_of, weight_layers
from salsanity.models.slots import Key, dotted
from salsanity.models.tracing import Trace

MOST_BLOCKS: Final = 24
"""Above this, neighbours in a sequence are taken together ("about 20" units)."""

USUAL_BLOCKS: Final = 20
"""Where no structure is found, so many groups of neighbouring layers are made."""

ENOUGH_BLOCKS: Final = 8
"""With so many, a coarser level is kept rather than grouped (EfficientNet-B4's stages)."""

FEWEST_BLOCKS: Final = 3
"""With fewer there is no half of a network; containers are then opened that would else stay closed."""

ROOT: Final = "(root)"
"""Name of a block that consists of the root module's own parameters."""

BlockChoice = Literal["auto", "layer"] | Sequence[str]


@final
@dataclass(frozen=True)
class Block:
    """A named unit; `layers`: paths of modules that own learned tensors, by first use ("": root).

    `parts`: where a module's own tensors belong to several blocks, those that are in this one.
    """

    name: str
    layers: tuple[str, ...]
    parts: tuple[Key, ...] = ()

    def holds(self, layer: str, name: str) -> bool:
        """Whether the block holds a tensor, or one that a parametrisation of its layers stores."""
        if any(layer == divided for divided, _ in self.parts):
            return (layer, name) in self.parts
        return owner_of(layer) in {owner_of(mine) for mine in self.layers}


@final
@dataclass(frozen=True)
class _Unit:
    """One or several neighbouring modules, or parts of a module, that make a block."""

    name: str
    roots: tuple[str, ...]


def blocks_of(module: nn.Module, trace: Trace, choice: BlockChoice = "auto") -> tuple[Block, ...]:
    """Divide the layers that the forward pass uses into blocks, bottom (first used) first.

    `choice`: "auto" for at most about 20 units; "layer" for every layer that owns parameters; or
    names or patterns (`layer4.*`) of modules. Every used layer is in exactly one block: a layer
    outside all units (a norm, a class token) joins the block used just before it, or the first one.
    With "auto" and "layer", a network of three or more layers with a weight matrix has three or more blocks.

    Raises ModelError for names that fit no module.
    """
    atoms = atoms_of(module, trace)
    if choice == "layer":
        names = dict.fromkeys(owner_of(atom.path) for atom in atoms)
        return _assigned(atoms, [_Unit(name, (name,)) for name in names], sizeable_only=False)
    if isinstance(choice, str) and choice != "auto":
        choice = [choice]
    if choice == "auto":
        return _automatic(module, trace, atoms)
    return _assigned(atoms, _named(module, trace, choice), sizeable_only=False)


def count_weight_layers(module: nn.Module, trace: Trace) -> int:
    """Count the layers with a weight matrix that the forward pass uses: with three there should be a `half`.

    Layers that are pieces of one tensor count, too, though no block can part them.
    """
    inside = sum(max(1, trace.uses[key].pieces) - 1 for key in trace.matrices)
    return len(weight_layers(module, trace)) + inside


def _assigned(
    atoms: Sequence[Atom], units: Sequence[_Unit], *, sizeable_only: bool = True
) -> tuple[Block, ...]:
    """Give every used layer to the unit around it, or else to the block before it.

    With `sizeable_only` a unit without a weight matrix is no block.
    """
    home = {root: unit for unit in units for root in unit.roots}
    sizeable = {_home_of(atom.path, home) for atom in atoms if atom.is_matrix or not sizeable_only}
    members: dict[_Unit, list[Atom]] = {}
    waiting: list[Atom] = []
    for atom in atoms:
        unit = _home_of(atom.path, home)
        if unit is not None and unit in sizeable:
            members.setdefault(unit, []).extend([*waiting, atom])
            waiting = []
        elif members:
            members[next(reversed(members))].append(atom)
        else:
            waiting.append(atom)
    for atom in waiting:  # no weight matrix anywhere
        members.setdefault(_Unit(owner_of(atom.path), ()), []).append(atom)
    return tuple(_block(unit.name or ROOT, held) for unit, held in members.items())


def _block(name: str, atoms: Sequence[Atom]) -> Block:
    layers = tuple(dict.fromkeys(atom.layer for atom in atoms))
    return Block(name, layers, tuple(key for atom in atoms for key in atom.parts))


def _home_of(path: str, home: Mapping[str, _Unit]) -> _Unit | None:
    """The unit of the nearest module around a layer; the root's has only its own parameters."""
    inner = path
    while inner:
        if inner in home:
            return home[inner]
        inner = inner.rpartition(".")[0]
    return home.get("") if not path else None


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


def _automatic(module: nn.Module, trace: Trace, atoms: Sequence[Atom]) -> tuple[Block, ...]:
    """Open containers level by level while the pieces stay few, then group what is too many.

    Where that gives fewer than three blocks, or one with more than half of the layers, the largest is opened all the same.
    """
    opener = _Opener(module, trace, atoms)
    units = _levels(opener, [""])
    blocks = _assigned(atoms, units)
    while (largest := opener.too_large(units, len(blocks))) is not None:
        inner = [_Unit(name, (name,)) for name in opener.inside(largest)]
        place = units.index(largest)
        units = [*units[:place], *inner, *units[place + 1 :]]
        blocks = _assigned(atoms, units)
    return blocks if len(blocks) <= MOST_BLOCKS else _neighbours(blocks)


def _levels(opener: _Opener, units: list[str]) -> list[_Unit]:
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

    def __init__(self, module: nn.Module, trace: Trace, atoms: Sequence[Atom]) -> None:
        self.modules = dict(module.named_modules())
        self.branching = trace.branching
        self.order = {name: i for i, name in enumerate(trace.calls)}
        self.layers = list(dict.fromkeys(owner_of(a.path) for a in atoms if a.is_matrix))
        self.parts: dict[str, list[str]] = {}
        for atom in atoms:
            if atom.parts:
                self.parts.setdefault(atom.layer, []).append(atom.path)
        self.trunk = self._trunk()
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

    def too_large(self, units: Sequence[_Unit], blocks: int) -> _Unit | None:
        """The largest unit that can be opened, where there are too few blocks or it holds more than half of all layers."""
        total = len(self.layers)
        sizes = {u: sum(self.weights(root) for root in u.roots) for u in units if self.inside(u)}
        largest = max(sizes, key=sizes.__getitem__, default=None)
        if largest is None or sizes[largest] < 2:
            return None
        is_lopsided = total >= FEWEST_BLOCKS and 2 * sizes[largest] > total
        return largest if blocks < min(FEWEST_BLOCKS, total) or is_lopsided else None

    def inside(self, unit: _Unit) -> list[str]:
        """What a unit is opened into: its modules, or the children of its only one."""
        return list(unit.roots) if len(unit.roots) > 1 else self._pieces(unit.roots[0])

    def _trunk(self) -> set[str]:
        """The root, and inside it each wrapper around all the rest."""
        found, inner = {""}, self._pieces("")
        while len(inner) == 1 and self._pieces(inner[0]):
            found.add(inner[0])
            inner = self._pieces(inner[0])
        return found

    def _may_open(self, name: str) -> bool:
        if name in self.trunk or name not in self.modules:
            return name in self.trunk
        return type(self.modules[name]) not in self.closed and self._opens(name)

    def _opens(self, name: str) -> bool:
        """Whether it is a list, or holds a list of repeated blocks and no branches or skips."""
        module = self.modules[name]
        if self.weights(name) < 2:
            return False
        if name in self.parts or name in self.trunk:
            return True
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
        if name not in self.modules or not _is_list(self.modules[name]):
            return False
        blocks = [self.modules[c] for c in self._pieces(name) if c in self.modules]
        kinds = Counter(type(b) for b in blocks if next(b.children(), None) is not None)
        return any(n > 1 for n in kinds.values())

    def _pieces(self, name: str) -> list[str]:
        if name not in self.modules:
            return []
        children = [dotted(name, child) for child, _ in self.modules[name].named_children()]
        held = [c for c in children if c in self.modules and self.weights(c)]
        return [*held, *self.parts.get(name, ())]


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
    return _Unit(_span(names), tuple(names))


def _span(names: Sequence[str]) -> str:
    """Name a run of neighbours by its first and last: `layer1.0-3`, or in full where they lie apart."""
    first, last = names[0], names[-1]
    if len(names) == 1:
        return first
    parent, _, child = last.rpartition(".")
    return f"{first}-{child if parent == first.rpartition('.')[0] else last}"


def _neighbours(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Take blocks that follow each other together, so that about twenty are left."""
    size = ceil(len(blocks) / USUAL_BLOCKS)
    runs = [blocks[i : i + size] for i in range(0, len(blocks), size)]
    return tuple(
        Block(
            _span([block.name for block in run]),
            tuple(dict.fromkeys(layer for block in run for layer in block.layers)),
            tuple(key for block in run for key in block.parts),
        )
        for run in runs
    )

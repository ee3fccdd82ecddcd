"""Atoms: what is never divided among blocks, the layers that own learned tensors, in the order of their first use.

Mostly one module is one atom. A module that owns the matrices of several steps of a network itself (converted networks keep
all of theirs in one place, functional ones in the root) is several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

from torch import nn

from salsanity.models.slots import Key, dotted
from salsanity.models.tracing import Trace

FEWEST: Final = 3
"""With fewer layers, a module of the user's own that has several matrices counts once for each."""


@final
@dataclass(frozen=True)
class Atom:
    """A layer, or a part of one; `path`: the layer's path, or of a part the dotted name of its first tensor.

    `parts`: the tensors of a part. `is_matrix`: whether it has a weight matrix or kernel.
    """

    path: str
    layer: str
    is_matrix: bool
    parts: tuple[Key, ...] = ()


def owner_of(layer: str) -> str:
    """Return the layer itself, or the layer whose parametrisation it is (torch's `parametrize`)."""
    parts = layer.split(".")
    return (
        ".".join(parts[: parts.index("parametrizations")]) if "parametrizations" in parts else layer
    )


def atoms_of(module: nn.Module, trace: Trace) -> tuple[Atom, ...]:
    """Return the atoms of a network by first use."""
    divided = _divided(module, trace)
    matrices = {owner_of(layer) for layer, _ in trace.matrices}
    atoms: list[Atom] = []
    for layer in trace.layers:
        steps = divided.get(layer)
        if steps is None:
            atoms.append(Atom(layer, layer, owner_of(layer) in matrices))
        else:
            atoms += _parts(trace, layer, steps)
    order = {key: i for i, key in enumerate(trace.uses)}
    return tuple(sorted(atoms, key=lambda atom: order[_first(trace, atom)]))


def weight_layers(module: nn.Module, trace: Trace) -> tuple[str, ...]:
    """Return the paths of the layers with a weight matrix that the forward pass uses, by first use."""
    found = [owner_of(atom.path) for atom in atoms_of(module, trace) if atom.is_matrix]
    return tuple(dict.fromkeys(found))


def _first(trace: Trace, atom: Atom) -> Key:
    if atom.parts:
        return atom.parts[0]
    return next(k for k in trace.uses if k[0] == atom.layer and _is_held(trace, k))


def _is_held(trace: Trace, key: Key) -> bool:
    return trace.kinds[key] in ("learned", "statistics")


def _parts(trace: Trace, layer: str, steps: list[list[Key]]) -> list[Atom]:
    """One atom per step; what is no matrix goes with the step before it, or with the first one."""
    home = {key: i for i, step in enumerate(steps) for key in step}
    parts: list[list[Key]] = [[] for _ in steps]
    now = 0
    for key in (k for k in trace.uses if k[0] == layer and _is_held(trace, k)):
        now = home.get(key, now)
        parts[now].append(key)
    return [
        Atom(dotted(*step[0]), layer, True, tuple(part))
        for step, part in zip(steps, parts, strict=True)
    ]


def _divided(module: nn.Module, trace: Trace) -> dict[str, list[list[Key]]]:
    """Layers that count as several: layer -> its matrices by step."""
    matrices: dict[str, dict[Key, int]] = {}
    for key, number in sorted(trace.matrices.items(), key=lambda item: item[1]):
        matrices.setdefault(owner_of(key[0]), {})[key] = number
    few = len(matrices) < FEWEST
    steps = {owner: _steps(module.get_submodule(owner), held) for owner, held in matrices.items()}
    return {
        owner: steps[owner]
        for owner, held in matrices.items()
        if all(layer == owner for layer, _ in held)
        and (
            (few and len(steps[owner]) > 1)
            or _is_spread(held.values(), owner, matrices)
            or _is_around(module.get_submodule(owner), owner, matrices)
        )
    }


def _is_around(module: nn.Module, owner: str, matrices: Iterable[str]) -> bool:
    """Whether other layers lie inside a module that owns a matrix itself, which is then no layer but a container."""
    inside = [layer for layer in matrices if layer != owner and _within(layer, owner)]
    return bool(inside) and not isinstance(module, nn.MultiheadAttention)


def _within(layer: str, root: str) -> bool:
    return not root or layer.startswith(root + ".")


def _steps(module: nn.Module, found: Mapping[Key, int]) -> list[list[Key]]:
    """The matrices of one layer by step: those of one operation together, those of one layer of an RNN."""
    if isinstance(module, nn.MultiheadAttention):
        return [list(found)]
    steps: dict[object, list[Key]] = {}
    for key, number in found.items():
        level = re.search(r"_l(\d+)", key[1]) if isinstance(module, nn.RNNBase) else None
        steps.setdefault(level.group(1) if level else number, []).append(key)
    return list(steps.values())


def _is_spread(mine: Iterable[int], owner: str, matrices: Mapping[str, Mapping[Key, int]]) -> bool:
    """Whether another layer's matrices come between those of one layer."""
    others = [n for layer, held in matrices.items() if layer != owner for n in held.values()]
    return any(a < n < b for a, b in pairwise(sorted(mine)) for n in others)

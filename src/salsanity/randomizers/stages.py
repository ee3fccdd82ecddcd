"""Stages: which blocks of a network are randomised together, and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal, final

from torch import Tensor

from salsanity.errors import SpecError
from salsanity.models.blocks import Block
from salsanity.models.network import Network
from salsanity.models.slots import Weights

Order = Literal["top_down", "independent", "bottom_up"]
FULL: Final = "full"
"""Name of the stage that randomises everything, where no cascade ends in it by itself."""


@final
@dataclass(frozen=True)
class Stage:
    """A state of the network: the blocks that are randomised in it; the index counts from 1."""

    name: str
    index: int
    blocks: tuple[str, ...]


def stages_of(blocks: Sequence[Block], order: Order = "top_down") -> tuple[Stage, ...]:
    """Return the stages over `blocks` (bottom first); the last one randomises everything.

    `top_down`: stage k has the k topmost blocks and is named after its lowest one. `bottom_up`:
    stage k has the k lowest blocks and is named after its topmost one (Hedstroem et al. 2024).
    `independent`: one block each, topmost first, then `full`.
    """
    names = tuple(block.name for block in blocks)
    count = len(names)
    if order == "top_down":
        return tuple(Stage(names[count - k], k, names[count - k :]) for k in range(1, count + 1))
    if order == "bottom_up":
        return tuple(Stage(names[k - 1], k, names[:k]) for k in range(1, count + 1))
    if order == "independent":
        single = tuple(Stage(name, k, (name,)) for k, name in enumerate(reversed(names), 1))
        return (*single, Stage(FULL, count + 1, names))
    raise SpecError(f"Expected order top_down, independent or bottom_up, got {order!r}")


def half_of(stages: Sequence[Stage]) -> Stage | None:
    """Return the top-down stage of the ceil(K/2) topmost of K blocks; None if K < 3."""
    return stages[ceil(len(stages) / 2) - 1] if len(stages) >= 3 else None


def first_stages(stages: Sequence[Stage]) -> dict[str, str]:
    """Return block -> name of the first stage that randomises it."""
    first: dict[str, str] = {}
    for stage in stages:
        for block in stage.blocks:
            first.setdefault(block, stage.name)
    return first


def weights_at(network: Network, drawn: Weights, stage: Stage) -> dict[str, dict[str, Tensor]]:
    """Return the part of a draw that belongs to the blocks of a stage."""
    blocks = [block for block in network.blocks if block.name in set(stage.blocks)]
    held = {
        layer: {n: v for n, v in tensors.items() if any(b.holds(layer, n) for b in blocks)}
        for layer, tensors in drawn.items()
    }
    return {layer: tensors for layer, tensors in held.items() if tensors}


def full_of(stages: Sequence[Stage]) -> Stage:
    """Return the stage that randomises everything: the last one."""
    return stages[-1]

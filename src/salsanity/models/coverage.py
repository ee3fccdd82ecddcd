"""Coverage: every parameter and buffer is randomised at a stage, or listed with the reason."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import torch
from torch import Tensor

from salsanity.errors import ModelError
from salsanity.models.network import Network
from salsanity.models.slots import Slot, dotted

BatchNorm = Literal["keep", "reset", "recalibrate"]
Weights = Mapping[str, Mapping[str, Tensor]]

STATISTICS: Final = frozenset({"running_mean", "running_var"})

_LEARNED_BUFFERS: Final = frozenset({"weight", "bias"})
"""Frozen norms keep what was learned in buffers of these names."""

UNUSED: Final = "never used in the forward pass"
INITIAL: Final = "at its initial value: nothing was learned in it"
NEVER: Final = "never changes"


def is_learned(slot: Slot) -> bool:
    """Whether a tensor holds what training found: float parameters, and frozen norms' buffers."""
    if not slot.tensor.is_floating_point():
        return False
    return slot.kind == "parameter" or slot.name in _LEARNED_BUFFERS


def uses(network: Network, slot: Slot) -> bool:
    """Whether the forward pass uses a tensor; a buffer is used where its layer runs."""
    if slot.kind == "buffer":
        return slot.layer in network.trace.layers
    return network.trace.uses_tensor(slot.layer, slot.name)


def kept_by(slot: Slot | tuple[str, str], patterns: Iterable[str]) -> str | None:
    """Return the pattern that keeps a tensor: one that fits its dotted name or its layer's."""
    layer, name = slot.key if isinstance(slot, Slot) else slot
    names = (dotted(layer, name), layer)
    return next((p for p in patterns if any(fnmatch.fnmatchcase(n, p) for n in names)), None)


@final
@dataclass(frozen=True)
class Covered:
    """One parameter or buffer: randomised from `stage` on, or not, with the reason."""

    layer: str
    tensor: str
    kind: Literal["parameter", "buffer"]
    shape: tuple[int, ...]
    block: str | None
    stage: str | None
    randomised: bool
    reason: str | None = None

    @property
    def size(self) -> int:
        """How many numbers the tensor has."""
        return int(torch.Size(self.shape).numel())

    def to_json(self) -> dict[str, Any]:
        """Return the entry of coverage.json."""
        return {
            "layer": self.layer,
            "tensor": self.tensor,
            "kind": self.kind,
            "shape": list(self.shape),
            "block": self.block,
            "stage": self.stage,
            "randomised": self.randomised,
            "reason": self.reason,
        }


def coverage_of(
    network: Network,
    draws: Sequence[Weights],
    stages: Mapping[str, str],
    *,
    batchnorm: BatchNorm = "keep",
    keep: Sequence[str] = (),
) -> tuple[Covered, ...]:
    """Account for every parameter and buffer of a network under some draws.

    `stages`: block -> name of the first stage that randomises it. `keep`: patterns of tensors or
    layers that stay trained. A tensor is randomised if some draw changes it.

    Raises ModelError for a used float parameter that no draw changes and no pattern keeps, unless
    both its trained and its drawn values are one constant (a norm's 1, a bias of 0), and for a
    pattern that fits nothing.
    """
    for pattern in keep:
        if not any(kept_by(slot, [pattern]) for slot in network.slots):
            raise ModelError(f"Expected keep={pattern!r} to fit a parameter or layer; it fits none")
    blocks = {layer: block.name for block in network.blocks for layer in block.layers}
    rows = tuple(
        _covered(
            slot, blocks.get(slot.layer), _why_not(network, slot, draws, batchnorm, keep), stages
        )
        for slot in network.slots
    )
    _check(rows)
    return rows


def randomised_share(rows: Iterable[Covered]) -> float:
    """Return the share of all parameters (by count of numbers) that some stage randomises."""
    parameters = [row for row in rows if row.kind == "parameter"]
    return sum(r.size for r in parameters if r.randomised) / max(1, sum(r.size for r in parameters))


def _covered(
    slot: Slot, block: str | None, reason: str | None, stages: Mapping[str, str]
) -> Covered:
    stage = stages.get(block) if block is not None and reason is None else None
    shape = tuple(slot.tensor.shape)
    return Covered(slot.layer, slot.name, slot.kind, shape, block, stage, reason is None, reason)


def _why_not(
    network: Network, slot: Slot, draws: Sequence[Weights], batchnorm: str, keep: Sequence[str]
) -> str | None:
    """The reason why a tensor is not randomised; None if it is."""
    pattern = kept_by(slot, keep)
    if pattern is not None:
        return f"kept as asked (keep {pattern})"
    drawn = [d[slot.layer][slot.name] for d in draws if slot.name in d.get(slot.layer, {})]
    if not drawn:
        return _why_not_drawn(network, slot, batchnorm)
    trained = network.trained[slot.layer][slot.name].cpu()
    if any(not torch.equal(values.cpu(), trained) for values in drawn):
        return None
    if ".parametrizations." in f".{slot.layer}." and _siblings_change(network, slot, draws):
        return None
    return INITIAL if bool((trained == trained.flatten()[0]).all()) else NEVER


def _why_not_drawn(network: Network, slot: Slot, batchnorm: str) -> str | None:
    if slot.kind == "buffer" and slot.name in STATISTICS:
        if batchnorm != "keep" and uses(network, slot):
            return None
        return f"running statistics are kept (batchnorm={batchnorm})"
    if not slot.tensor.is_floating_point():
        return "whole numbers: a counter or index, not learned"
    if slot.kind == "buffer":
        return "a constant of the architecture, not learned"
    return NEVER if uses(network, slot) else UNUSED


def _siblings_change(network: Network, slot: Slot, draws: Sequence[Weights]) -> bool:
    """Whether the weight that a parametrisation computes changes through its other tensors."""
    for draw in draws:
        for layer, tensors in draw.items():
            if layer.startswith(slot.layer):
                trained = network.trained[layer]
                if any(not torch.equal(v.cpu(), trained[n].cpu()) for n, v in tensors.items()):
                    return True
    return False


def _check(rows: Sequence[Covered]) -> None:
    stuck = [dotted(row.layer, row.tensor) for row in rows if row.reason == NEVER]
    if stuck:
        more = f" and {len(stuck) - 4} more" if len(stuck) > 4 else ""
        raise ModelError(
            f"These parameters are used but never randomised: {', '.join(stuck[:4])}{more}. "
            "Choose another "
            "initialiser, or name them in keep if they should stay trained"
        )

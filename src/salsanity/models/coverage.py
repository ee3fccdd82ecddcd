"""Coverage: every parameter and buffer is randomised at a stage, or listed with the reason."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import torch
from torch import Tensor

from salsanity.errors import ModelError
from salsanity.models.learned import STATISTICS, is_regular
from salsanity.models.network import Network
from salsanity.models.reading import Outside
from salsanity.models.slots import Slot, Weights, dotted

BatchNorm = Literal["keep", "reset", "recalibrate"]

UNUSED: Final = "never used in the forward pass"
INITIAL: Final = "at its initial value: nothing was learned in it"
NEVER: Final = "never changes"
CONSTANT: Final = "a constant of the architecture, not learned"
BUILT_IN: Final = "equal in every newly built network: a constant of the architecture"
COUNTER: Final = "whole numbers: a counter or index, not learned"
OUTSIDE: Final = "neither parameter nor buffer: taken for a constant"

_KEPT: Final = "kept as asked"

ENOUGH: Final = 0.95
"""With less than this share of the learned values randomised, a test says nothing good about a method."""

LIKE: Final = 0.5
"""Drawn weights whose correlation with the trained ones is above this keep what was learned; new ones have next to none."""

MANY: Final = 100
"""Correlations of fewer numbers are not looked at."""


def is_learned(network: Network, slot: Slot) -> bool:
    """Whether a tensor holds what training found and the forward pass reads: parameters, and buffers used like them."""
    return network.trace.kinds[slot.key] == "learned"


def kept_by(slot: Slot | tuple[str, str], patterns: Iterable[str]) -> str | None:
    """Return the pattern that keeps a tensor: one that fits its dotted name or its layer's."""
    layer, name = slot.key if isinstance(slot, Slot) else slot
    names = (dotted(layer, name), layer)
    return next((p for p in patterns if any(fnmatch.fnmatchcase(n, p) for n in names)), None)


@final
@dataclass(frozen=True)
class Covered:
    """One tensor: randomised from `stage` on, or not, with the reason.

    `kind`: "outside" is what the forward pass reads beside parameters and buffers. `counts`: whether it holds what training
    found and the forward pass reads, and nobody asked to keep it; of these values a run needs nearly all randomised.
    """

    layer: str
    tensor: str
    kind: Literal["parameter", "buffer", "outside"]
    shape: tuple[int, ...]
    block: str | None
    stage: str | None
    randomised: bool
    reason: str | None = None
    counts: bool = False

    @property
    def size(self) -> int:
        """How many numbers the tensor has."""
        return int(torch.Size(self.shape).numel())

    @property
    def is_trained_still(self) -> bool:
        """Whether it should have been randomised and is not; a tensor at its initial value has nothing to lose."""
        return self.counts and not self.randomised and self.reason != INITIAL

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
            "counts": self.counts,
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

    Raises ModelError for draws that are nearly the trained weights, for a used float parameter that no
    draw changes and no pattern keeps, unless both its trained and its drawn values are one constant (a norm's 1,
    a bias of 0), and for a pattern that fits nothing.
    """
    for pattern in keep:
        if not any(kept_by(slot, [pattern]) for slot in network.slots):
            raise ModelError(f"Expected keep={pattern!r} to fit a parameter or layer; it fits none")
    rows = tuple(
        _covered(network, slot, _why_not(network, slot, draws, batchnorm, keep), stages)
        for slot in network.slots
    )
    _check(rows)
    _check_built_in(network, rows)
    _check_far(network, draws, keep)
    return (*rows, *(_outside(found) for found in network.trace.outside if not found.made))


def randomised_share(rows: Iterable[Covered]) -> float:
    """Return the share of all parameters and of all else that counts (by number of values) that some stage randomises."""
    wanted = [row for row in rows if row.kind == "parameter" or row.counts]
    return sum(r.size for r in wanted if r.randomised) / max(1, sum(r.size for r in wanted))


def learned_share(rows: Iterable[Covered]) -> float:
    """Return the share of the learned values that the forward pass reads, and nobody asked to keep, that is randomised."""
    wanted = [row for row in rows if row.counts]
    lost = sum(row.size for row in wanted if row.is_trained_still)
    return 1 - lost / max(1, sum(row.size for row in wanted))


def still_trained(rows: Iterable[Covered]) -> str | None:
    """Say in one sentence what stays trained where that is too much for a PASS; None where it is not."""
    rows = tuple(rows)
    share = learned_share(rows)
    if share >= ENOUGH:
        return None
    kept = sorted((r for r in rows if r.is_trained_still), key=lambda row: -row.size)
    named = ", ".join(dotted(r.layer, r.tensor) for r in kept[:3])
    more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
    return (
        f"only {share:.1%} of the learned values that the network reads are randomised (at least {ENOUGH:.0%} are needed): "
        f"{named}{more} stay as they are"
    )


def _check_built_in(network: Network, rows: Sequence[Covered]) -> None:
    """Raise ModelError where most weights are buffers that every newly built network has: a pretrained body, not constants."""
    kinds, uses = network.trace.kinds, network.trace.uses
    kept = [
        row
        for row in rows
        if row.reason == BUILT_IN
        and kinds[row.layer, row.tensor] == "learned"
        and uses[row.layer, row.tensor].is_matrix
    ]
    if sum(row.size for row in kept) > sum(row.size for row in rows if row.counts):
        named = ", ".join(dotted(row.layer, row.tensor) for row in kept[:3])
        named += " and more" if len(kept) > 3 else ""
        raise ModelError(
            f"Most weights of the network are buffers that every newly built one has ({named}): "
            "they would stay as they are. Choose --init module, which draws them anew, or let make_model build them untrained"
        )


def _check_far(network: Network, draws: Sequence[Weights], keep: Sequence[str]) -> None:
    """Raise ModelError where most of the weights that were drawn go with the trained ones."""
    near, total = {}, 0
    for slot in network.slots:
        values = draws[0].get(slot.layer, {}).get(slot.name) if draws else None
        if values is None or values.numel() < MANY or kept_by(slot, keep):
            continue
        total += values.numel()
        likeness = _correlation(values, network.trained[slot.layer][slot.name])
        if abs(likeness) > LIKE:
            near[slot.path] = values.numel()
    if total and sum(near.values()) > total / 2:
        named = ", ".join([*near][:3]) + (" and more" if len(near) > 3 else "")
        raise ModelError(
            f"The initialiser gives weights that go with the trained ones (correlation above {LIKE:g} in {named}), so that what "
            "was learned would stay. Let make_model, the function or reset_parameters draw them anew, without loading any, or "
            "choose another initialiser, such as --init he"
        )


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's of two tensors' values; 0 where one is constant or complex."""
    a, b = (t.detach().flatten().cpu() for t in (one, other))
    if a.is_complex() or b.is_complex():
        return 0.0
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    length = float((a.square().sum() * b.square().sum()).sqrt())
    return float((a * b).sum()) / length if length else 0.0


def _covered(
    network: Network, slot: Slot, reason: str | None, stages: Mapping[str, str]
) -> Covered:
    block = next((b.name for b in network.blocks if b.holds(slot.layer, slot.name)), None)
    stage = stages.get(block) if block is not None and reason is None else None
    counts = is_learned(network, slot) and not (reason or "").startswith((_KEPT, BUILT_IN))
    shape = tuple(slot.tensor.shape)
    return Covered(
        slot.layer, slot.name, slot.kind, shape, block, stage, reason is None, reason, counts
    )


def _outside(found: Outside) -> Covered:
    shape, line = tuple(found.tensor.shape), found.line or "a tensor"
    is_weight = found.use.is_matrix or "arithmetic" in found.use.roles
    counts = is_weight and not is_regular(found.tensor)
    return Covered(found.module, line, "outside", shape, None, None, False, OUTSIDE, counts)


def _why_not(
    network: Network, slot: Slot, draws: Sequence[Weights], batchnorm: str, keep: Sequence[str]
) -> str | None:
    """The reason why a tensor is not randomised; None if it is."""
    pattern = kept_by(slot, keep)
    if pattern is not None:
        return f"{_KEPT} (keep {pattern})"
    drawn = [d[slot.layer][slot.name] for d in draws if slot.name in d.get(slot.layer, {})]
    if not drawn:
        return _why_not_drawn(network, slot, batchnorm)
    trained = network.trained[slot.layer][slot.name].cpu()
    if any(not torch.equal(values.cpu(), trained) for values in drawn):
        return None
    if ".parametrizations." in f".{slot.layer}." and _siblings_change(network, slot, draws):
        return None
    if bool((trained == trained.flatten()[0]).all()):
        return INITIAL
    return BUILT_IN if slot.kind == "buffer" else NEVER


def _why_not_drawn(network: Network, slot: Slot, batchnorm: str) -> str | None:
    kind, used = network.trace.kinds[slot.key], network.trace.uses_tensor(*slot.key)
    if kind == "statistics":
        if batchnorm != "keep" and used and slot.name in STATISTICS:
            return None
        return f"running statistics are kept (batchnorm={batchnorm})"
    if kind == "whole numbers":
        return COUNTER
    if slot.kind == "buffer" and kind != "learned":
        return CONSTANT
    return NEVER if used else UNUSED


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

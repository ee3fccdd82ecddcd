"""What a run costs, told before it is paid."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from salsanity.checks.prepare import comparison_seconds, cost_by_method, shared_cost
from salsanity.methods import Method
from salsanity.records import UnitKey
from salsanity.suite.narrator import Narrator, duration
from salsanity.suite.preparing import Preparation

WORTH_ADVICE = 120.0
"""Seconds beyond which a run says what would make it cheaper."""


def shared(ready: Preparation, methods: Sequence[Method]) -> int:
    """Return the passes per image and state that methods cost together."""
    x = torch.empty(1, *ready.tools.network.trace.input_shape[1:])
    return shared_cost(ready.tools, methods, x, torch.zeros(1, dtype=torch.long), ready.ids[:1])


def unit_passes(ready: Preparation, unit: UnitKey, *, references: int = 1) -> int:
    """Count the forward and backward passes of a unit; the first draw of a chunk pays its references."""
    names = {name.partition("#")[0] for name in unit.methods}
    chosen = [m for m in ready.tools.methods if m.name in names]
    total = shared(ready, chosen) * len(unit.stages)
    if unit.draw == 0:
        noisy = [method for method in chosen if method.stochastic]
        total += references * shared(ready, chosen) + shared(ready, noisy)
    return total * len(unit.images)


def tell_cost(
    ready: Preparation,
    narrator: Narrator,
    *,
    passes: int,
    maps: int,
    done: int,
    wanted: int,
    at_most: bool = False,
) -> None:
    """Say how many passes are to come, at what measured speed, how long that takes, and what would be cheaper."""
    if done == wanted:
        narrator.say("Every unit of this run is already there; judging it again.")
        return
    if done > 0:
        narrator.say(f"Continuing: {done} of {wanted} units are already there.")
    some = ready.reader.read(ready.ids[:4])
    comparison_seconds(some, ready.tools.similarities)
    each = comparison_seconds(some, ready.tools.similarities)
    seconds = passes * ready.speed.seconds + maps * each
    narrator.say(
        f"{'At most ' if at_most else ''}{passes:,} passes (forward and backward of one image) at "
        f"{ready.speed.seconds * 1e3:.3g} ms each, measured at batch size {ready.speed.batch_size}, and {maps:,} maps to "
        f"compare at {each * 1e3:.2g} ms: {_about(seconds)}."
    )
    if seconds > WORTH_ADVICE:
        narrator.say(_cheaper(ready))


def _cheaper(ready: Preparation) -> str:
    x = torch.empty(1, *ready.tools.network.trace.input_shape[1:])
    costs = cost_by_method(ready.tools, x, torch.zeros(1, dtype=torch.long), ready.ids[:1])
    dearest = max(costs, key=lambda name: costs[name])
    share = costs[dearest] / max(1, shared(ready, ready.tools.methods))
    return (
        "Cheaper: --quick; fewer --draws or --max-images; fewer --samples and --steps; or leave out "
        f"{dearest}, which takes up to {share:.0%} of the passes. Ctrl-C stops; the same command continues."
    )


def _about(seconds: float) -> str:
    text = duration(seconds)
    return text if text.startswith("under") else f"about {text}"

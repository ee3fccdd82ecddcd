"""What a run costs, told before it is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from salsanity.narrator import Narrator, duration
from salsanity.records import UnitKey
from salsanity.suite.planning import Costs, costs, shared
from salsanity.suite.preparing import Run
from salsanity.units.admit import comparison_seconds

WORTH_ADVICE: Final = 120.0
"""Seconds beyond which a run says what would make it cheaper."""


def tell_cost(run: Run, narrator: Narrator, *, missing: Sequence[UnitKey], wanted: int) -> None:
    """Say how many passes are to come, at what measured speed, how long that takes, and what would be cheaper."""
    if not missing:
        narrator.say("Every unit of this run is already there; judging it again.")
        return
    if len(missing) < wanted:
        narrator.say(f"Continuing: {wanted - len(missing)} of {wanted} units are already there.")
    counted = Costs(run, missing)
    passes, maps = counted.total, counted.maps
    some = run.reader.read(run.ids[:4])
    comparison_seconds(some, run.tools.similarities)
    each = comparison_seconds(some, run.tools.similarities)
    seconds = passes * run.speed.seconds + maps * each
    narrator.say(
        f"{'At most ' if run.spec.until_decided else ''}{passes:,} passes (forward and backward of one image) at "
        f"{run.speed.seconds * 1e3:.3g} ms each, measured at batch size {run.speed.batch_size}, and {maps:,} maps to "
        f"compare at {each * 1e3:.2g} ms: {_about(seconds)}."
    )
    if len(run.settled) > 1:
        narrator.say(_by_check(run, counted))
    if seconds > WORTH_ADVICE:
        narrator.say(_cheaper(run))


def _by_check(run: Run, counted: Costs) -> str:
    passes = dict.fromkeys((settled.check.name for settled in run.settled), 0)
    for unit, amount in counted.passes.items():
        passes[unit.check] += amount
    told = (f"{name} {n:,} ({n * run.speed.seconds:.0f} s)" for name, n in passes.items())
    return f"Passes by check: {', '.join(told)}."


def _cheaper(run: Run) -> str:
    found = costs(run)
    dearest = max(found, key=lambda name: found[name])
    share = found[dearest] / max(1, shared(run, run.tools.methods))
    return (
        "Cheaper: --quick; fewer --draws or --max-images; fewer --samples and --steps; or leave out "
        f"{dearest}, which takes up to {share:.0%} of the passes. Ctrl-C stops; the same command continues."
    )


def _about(seconds: float) -> str:
    text = duration(seconds)
    return text if text.startswith("under") else f"about {text}"

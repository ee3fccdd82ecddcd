"""What a run costs, told before it is paid."""

from __future__ import annotations

from typing import Final

from salsanity.narrator import Narrator, duration
from salsanity.suite.planning import Costs, costs, together
from salsanity.suite.prepared import Run
from salsanity.units.admit import comparison_seconds

WORTH_A_WORD: Final = 0.01
"""Share of a run from which on it says what it spends on the figures."""

WORTH_ADVICE: Final = 120.0
"""Seconds beyond which a run says what would make it cheaper."""


def tell_cost(run: Run, counted: Costs, narrator: Narrator, *, wanted: int) -> None:
    """Say how many passes are to come, at what measured speed, how long that takes, and what would be cheaper."""
    if not counted.units:
        narrator.say("Every unit of this run is already there; judging it again.")
        return
    if counted.units < wanted:
        narrator.say(f"Continuing: {wanted - counted.units} of {wanted} units are already there.")
    passes, maps = counted.passes.total(), counted.maps
    some = run.reader.read(run.ids[:4])
    comparison_seconds(some, run.tools.similarities)
    each = comparison_seconds(some, run.tools.similarities)
    foreign = sum(counted.seconds.values())
    seconds = passes * run.speed.seconds + foreign + maps * each
    most = "At most " if run.spec.until_decided else ""
    own = (
        f"{passes:,} passes (forward and backward of one image) at {run.speed.seconds * 1e3:.3g} ms each, measured at batch "
        f"size {run.speed.batch_size}, "
    )
    said = (
        f"{most}{own if passes else ''}{_foreign(run, foreign)}and {maps:,} maps to compare at {each * 1e3:.2g} ms: "
        f"{_about(seconds)}."
    )
    narrator.say(said[0].upper() + said[1:])
    if len(run.settled) > 1:
        narrator.say(_by_check(run, counted))
    if counted.for_figures > WORTH_A_WORD * counted.total:
        narrator.say(_for_figures(run, counted))
    if seconds > WORTH_ADVICE:
        narrator.say(_cheaper(run))


def _foreign(run: Run, seconds: float) -> str:
    """Say what explainers that are not ours take, as they were tried."""
    if not run.tries:
        return ""
    each = ", ".join(
        f"{one.name} {one.seconds:.2g} s a map, {'in batches' if one.batched else 'one by one'}"
        for one in run.tries
    )
    return f"explainers of yours or of libraries for {_about(seconds)} ({each}, as tried), "


def _by_check(run: Run, counted: Costs) -> str:
    told = (
        f"{name} {counted.passes[name]:,} ({counted.worth(name) * run.speed.seconds:.0f} s)"
        for name in counted.checks
    )
    return f"Passes by check: {', '.join(told)}."


def _for_figures(run: Run, counted: Costs) -> str:
    share = counted.for_figures / counted.total
    return (
        f"Of this, {share:.0%} is for the figures: their images run further stages in the first draw (--gallery 0 leaves that "
        "out)."
    )


def _cheaper(run: Run) -> str:
    found = costs(run)
    dearest = max(found, key=lambda name: found[name])
    share = found[dearest] / max(1e-12, together(run))
    return (
        "Cheaper: --quick; fewer --draws or --max-images; fewer --samples and --steps; or leave out "
        f"{dearest}, which takes up to {share:.0%} of the time. Ctrl-C stops; the same command continues."
    )


def _about(seconds: float) -> str:
    text = duration(seconds)
    return text if text.startswith("under") else f"about {text}"

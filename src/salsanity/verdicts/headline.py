"""A method's headline: the worst of its informative cells, with the reason in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from salsanity.records import CheckRecord, Outcome, Verdict
from salsanity.verdicts import words
from salsanity.verdicts.cells import Decision
from salsanity.verdicts.retained import Retained

DOMINATED: Final = 0.05
"""Noise times input may retain this much less and still explain what a method retains."""
CHANGES_SIGN: Final = ("signed", "spearman")
"""The cell that passes where a method changes the signs of its maps but not their magnitudes."""
NO_SCORES: Final = "there are no scores of this method"


def headline(decisions: Sequence[Decision], record: CheckRecord) -> Decision | None:
    """Return the decision that stands for the method, its reason made a headline; None: no cells.

    FAIL is worse than INCONCLUSIVE, and that than PASS. UNINFORMATIVE cells count for nothing
    unless there are no others. Among equals, the cell furthest beyond its line decides.
    """
    if not decisions:
        return None
    informative = [d for d in decisions if d.outcome is not Outcome.UNINFORMATIVE]
    top = _worst(informative, decisions, record) if informative else _silent(decisions)
    never = record.never_pass if record.never_pass in top.answer.caveat else ""
    if never and top.outcome is not Outcome.FAIL and never not in top.reason:
        return replace(top, reason=f"{top.reason}; {never}")
    return top


def dominated_cells(
    decisions: Sequence[Decision], noise_x_input: Sequence[Decision], *, has_multiplier: bool
) -> list[Decision]:
    """Give "dominated by the input" as the reason of each failing cell where it is one.

    It is one when the method's signed Spearman passes and noise times the input retains at least the method's retained
    similarity - 0.05 in the same cell at the same stage; where a line is set against another stage, the control's similarity
    above chance is set against the method's own line.
    """
    passes = {(d.cell.view, d.cell.similarity) for d in decisions if d.outcome is Outcome.PASS}
    if CHANGES_SIGN not in passes:
        return list(decisions)
    control = {
        (d.cell.view, d.cell.similarity, answer.line.stage): answer.retained
        for d in noise_x_input
        for answer in d.cell.answers
    }
    return [_dominated(d, control, has_multiplier=has_multiplier) for d in decisions]


def distrust(verdicts: Iterable[Verdict], record: CheckRecord) -> list[str]:
    """Return a sentence for each control that did not come out as the check says it must."""
    found = {v.method: v for v in verdicts if v.view is None and v.check == record.name}
    return [
        _sentence(control, expected, found.get(control))
        for control, expected in record.controls.items()
        if control not in found or found[control].outcome is not expected
    ]


def _sentence(control: str, expected: Outcome, verdict: Verdict | None) -> str:
    if verdict is None:
        return f"the control `{control}` must be {expected} but was not run"
    return f"the control `{control}` must be {expected} but is {verdict.outcome}: {verdict.reason}"


def _silent(decisions: Sequence[Decision]) -> Decision:
    first = decisions[0]
    if len({d.reason for d in decisions}) == 1 or len(decisions) == 1:
        return first
    return replace(first, reason=f"none of the {len(decisions)} cells can tell: {first.reason}")


def _worst(
    informative: Sequence[Decision], decisions: Sequence[Decision], record: CheckRecord
) -> Decision:
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS):
        equal = [d for d in informative if d.outcome is outcome]
        if equal:
            break
    worst = max(equal, key=lambda d: d.answer.excess)
    every = f"{len(informative)} cells"
    if len(informative) < len(decisions):
        every = f"{len(informative)} informative cells"
    if worst.outcome is Outcome.PASS:
        return replace(worst, reason=_passes(worst, every, len(informative), record))
    if len(equal) == 1:
        return worst
    verb = "fail" if worst.outcome is Outcome.FAIL else "are open"
    return replace(worst, reason=f"{worst.reason} ({len(equal)} of {every} {verb})")


def _passes(worst: Decision, every: str, informative: int, record: CheckRecord) -> str:
    """Say that nothing was found, and that this says nothing good: pure noise passes too, where it does."""
    noise = record.controls.get("noise") is Outcome.PASS
    uncaught = "was not caught (pure noise passes too)" if noise else "was not caught"
    if informative == 1:
        return f"{uncaught}: {worst.reason}"
    extreme = "most" if worst.answer.line.must == "change" else "least"
    return f"{uncaught}: all {every} pass; the {extreme} that stays: {worst.reason}"


def _dominated(
    decision: Decision,
    controls: Mapping[tuple[str, str, str], Retained],
    *,
    has_multiplier: bool,
) -> Decision:
    cell, own, line = decision.cell, decision.answer.retained, decision.answer.line
    control = controls.get((cell.view, cell.similarity, line.stage))
    if decision.outcome is not Outcome.FAIL or line.must == "stay" or control is None:
        return decision
    on_own_line = (control.S - control.C) / (own.top - own.floor)
    retained = control.R if line.against is None else on_own_line
    if not retained >= own.R - DOMINATED:
        return decision
    reason = words.dominated(decision.reason, retained, has_multiplier=has_multiplier)
    return replace(decision, reason=reason)

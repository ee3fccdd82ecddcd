"""A method's headline: the worst of its informative cells, with the reason in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from salsanity.records import LabelVerdict, Outcome, Verdict
from salsanity.verdicts import words
from salsanity.verdicts.cells import Decision
from salsanity.verdicts.retained import Retained

DOMINATED: Final = 0.05
"""Noise times input may retain this much less and still explain what a method retains."""
CHANGES_SIGN: Final = ("signed", "spearman")
"""The cell that passes where a method changes the signs of its maps but not their magnitudes."""
EXPECTED: Final = {"edge": Outcome.FAIL, "noise": Outcome.PASS}
NO_SCORES: Final = "there are no scores of this method"


def headline(decisions: Sequence[Decision]) -> Decision | None:
    """Return the decision that stands for the method, its reason made a headline; None: no cells.

    FAIL is worse than INCONCLUSIVE, and that than PASS. UNINFORMATIVE cells count for nothing
    unless there are no others. Among equals, the cell furthest above its threshold decides.
    """
    informative = [d for d in decisions if d.outcome is not Outcome.UNINFORMATIVE]
    if not informative:
        return _silent(decisions)
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS):
        equal = [d for d in informative if d.outcome is outcome]
        if equal:
            break
    worst = max(equal, key=lambda d: d.answer.excess)
    return replace(worst, reason=_reason(worst, len(equal), len(informative), len(decisions)))


def dominated_cells(
    decisions: Sequence[Decision],
    noise_x_input: Sequence[Decision],
    *,
    on_own_line: bool = True,
) -> list[Decision]:
    """Give "dominated by the input" as the reason of each failing cell where it is one.

    It is one when the method's signed Spearman passes and noise times the input retains at least
    the method's retained similarity - 0.05 in the same cell at the same stage. `on_own_line` False:
    the control's similarity above chance is set against the method's line, where the lines mean
    different things (two honest networks' agreement for a method, 1 for a control).
    """
    passes = {(d.cell.view, d.cell.similarity) for d in decisions if d.outcome is Outcome.PASS}
    if CHANGES_SIGN not in passes:
        return list(decisions)
    control = {
        (d.cell.view, d.cell.similarity, answer.question.stage): answer.retained
        for d in noise_x_input
        for answer in d.cell.answers
    }
    return [_dominated(d, control, on_own_line=on_own_line) for d in decisions]


def trustworthy(verdicts: Iterable[Verdict | LabelVerdict]) -> bool:
    """Say whether the controls came out as they must: `edge` FAILs and `noise` PASSes."""
    return not distrust(verdicts)


def distrust(verdicts: Iterable[Verdict | LabelVerdict]) -> list[str]:
    """Return a sentence for each control that did not come out as it must."""
    found = {v.method: v for v in verdicts if v.view is None}
    return [
        _sentence(control, expected, found.get(control))
        for control, expected in EXPECTED.items()
        if control not in found or found[control].outcome is not expected
    ]


def _sentence(control: str, expected: Outcome, verdict: Verdict | LabelVerdict | None) -> str:
    if verdict is None:
        return f"the control `{control}` must be {expected} but was not run"
    return f"the control `{control}` must be {expected} but is {verdict.outcome}: {verdict.reason}"


def _silent(decisions: Sequence[Decision]) -> Decision | None:
    if not decisions:
        return None
    reason = f"none of the {len(decisions)} cells can tell: {decisions[0].reason}"
    return decisions[0] if len(decisions) == 1 else replace(decisions[0], reason=reason)


def _reason(worst: Decision, equal: int, informative: int, cells: int) -> str:
    every = f"{informative} cells" if informative == cells else f"{informative} informative cells"
    if worst.outcome is Outcome.PASS:
        which = f"all {every} pass; the most that stays" if informative > 1 else "passes"
        return f"{which}: {worst.reason}"
    if informative == 1 or equal == 1:
        return worst.reason
    verb = "fail" if worst.outcome is Outcome.FAIL else "are open"
    return f"{worst.reason} ({equal} of {every} {verb})"


def _dominated(
    decision: Decision, controls: Mapping[tuple[str, str, str], Retained], *, on_own_line: bool
) -> Decision:
    cell, own = decision.cell, decision.answer.retained
    control = controls.get((cell.view, cell.similarity, decision.answer.question.stage))
    if decision.outcome is not Outcome.FAIL or control is None:
        return decision
    retained = control.R if on_own_line else (control.S - control.C) / (own.top - own.floor)
    if not retained >= own.R - DOMINATED:
        return decision
    return replace(decision, reason=words.dominated(decision.reason, retained))

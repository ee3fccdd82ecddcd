"""The question and the answer in two sentences, and what makes a run not to be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from salsanity.records import Outcome
from salsanity.report.folder import Run
from salsanity.report.terms import listed, method_name, printable

ORDER = (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNINFORMATIVE)
SAYS = {
    Outcome.PASS: ("depends on what it learned", "depend on what it learned"),
    Outcome.FAIL: ("hardly depends on what it learned", "hardly depend on what it learned"),
    Outcome.INCONCLUSIVE: ("is undecided", "are undecided"),
    Outcome.UNINFORMATIVE: ("cannot be judged here", "cannot be judged here"),
}


def summary_sentences(run: Run) -> tuple[str, str]:
    """Return the question of a run and its answer, one sentence each."""
    return question(run), answer(run)


def question(run: Run) -> str:
    """Return what the run asks."""
    if run.is_labels:
        return (
            "Would these saliency maps look different if the labels the network learned from "
            "had meant nothing?"
        )
    return "Would these saliency maps look different if the network had forgotten all it learned?"


def answer(run: Run) -> str:
    """Return what came out, with the methods by name."""
    groups = by_outcome(run)
    if not groups:
        return "No method was judged."
    subject = "what the labels mean" if run.is_labels else "what it learned"
    parts = [_clause(outcome, groups[outcome], subject) for outcome in ORDER if outcome in groups]
    count = sum(len(names) for names in groups.values())
    opening = "The one method tried" if count == 1 else f"Of {count} methods"
    text = f"{opening} on {printable(run.model_name)}: {'; '.join(parts)}."
    return text if run.trusted else f"Not to be trusted, because a control or gate failed: {text}"


def by_outcome(run: Run) -> Mapping[Outcome, list[str]]:
    """Return the names of the methods on trial, by their headline."""
    groups: dict[Outcome, list[str]] = {}
    for method in run.methods:
        if method in run.headlines:
            groups.setdefault(run.headlines[method].outcome, []).append(method_name(method))
    return groups


def tally(run: Run) -> list[tuple[Outcome, int]]:
    """Count the headlines of the methods on trial; outcomes that did not occur are left out."""
    counts = Counter({outcome: len(names) for outcome, names in by_outcome(run).items()})
    return [(outcome, counts[outcome]) for outcome in ORDER if counts[outcome]]


def _clause(outcome: Outcome, names: list[str], subject: str) -> str:
    one, many = SAYS[outcome]
    says = (one if len(names) == 1 else many).replace("what it learned", subject)
    return f"{len(names)} {says} ({outcome}: {listed(names)})"


def distrust(run: Run) -> list[str]:
    """Return the reasons why the run cannot be trusted; empty where it can."""
    reasons = [printable(reason) for reason in run.gates.get("reasons") or ()]
    reasons += [f"failed: {printable(unit)}" for unit in run.gates.get("failed_units") or ()]
    return reasons if reasons or run.trusted else ["a control or a gate failed"]

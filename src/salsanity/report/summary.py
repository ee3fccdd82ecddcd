"""The question and the answer in two sentences, and what makes a run not to be trusted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from salsanity.records import Outcome
from salsanity.report.folder import Part, Run
from salsanity.report.terms import CONTROL_WORDS, listed, many, measured, printable
from salsanity.report.worst import WORST_FIRST, worst_part

OPEN: Final = {
    Outcome.INCONCLUSIVE: ("is undecided", "are undecided"),
    Outcome.UNINFORMATIVE: ("cannot be judged here", "cannot be judged here"),
}
DISTRUSTED: Final = "Not to be trusted, because a control or gate failed: "


def summary_sentences(run: Run | Part) -> tuple[str, str]:
    """Return a question and its answer, one sentence each; of several checks, the one that came out worst."""
    part = worst_part(run) if isinstance(run, Run) else run
    return printable(part.record.words.question), answer(part)


def answer(part: Part) -> str:
    """Return what came out, with the methods by name."""
    groups = by_outcome(part)
    clauses = [
        f"{_clause(part, outcome, len(groups[outcome]))} ({outcome}: {listed(groups[outcome])})"
        for outcome in WORST_FIRST
        if outcome in groups
    ]
    broken = [part.names[method] for method in part.broken]
    return _sentence(part, [*clauses, *_silent(broken, f" ({listed(broken)})")])


def short_answer(part: Part) -> str:
    """Return what came out, in numbers alone."""
    groups = by_outcome(part)
    clauses = [_clause(part, o, len(groups[o])) for o in WORST_FIRST if o in groups]
    return _sentence(part, [*clauses, *_silent(list(part.broken))])


def _silent(broken: Collection[str], named: str = "") -> list[str]:
    """Say of how many methods there is nothing to judge; nothing where every one gave maps."""
    who = "it" if len(broken) == 1 else "they"
    said = f"{len(broken)} gave no maps, because {who} raised on every image{named}"
    return [said] if broken else []


def _sentence(part: Part, clauses: list[str]) -> str:
    if not clauses:
        return "No method was judged."
    count = sum(len(names) for names in by_outcome(part).values()) + len(part.broken)
    opening = "The one method tried" if count == 1 else f"Of {count} methods"
    text = f"{opening} on {part.model_name}: {'; '.join(clauses)}."
    return text if part.trusted else f"{DISTRUSTED}{text}"


def _clause(part: Part, outcome: Outcome, count: int) -> str:
    words = part.record.words
    if outcome is Outcome.FAIL:
        return f"{count} {many('was caught', count)}: {printable(many(words.caught, count))}"
    if not measured(part.record).is_judged:
        return f"{count} {many('was measured, without a verdict', count)}"
    if outcome is Outcome.PASS:
        return f"{count} {printable(many(words.uncaught, count))}"
    return f"{count} {OPEN[outcome][count != 1]}"


def by_outcome(part: Part) -> Mapping[Outcome, list[str]]:
    """Return the names of the methods on trial, by their headline; those that raised on every image have none."""
    groups: dict[Outcome, list[str]] = {}
    for method in part.methods:
        if method in part.headlines and method not in part.broken:
            groups.setdefault(part.headlines[method].outcome, []).append(part.names[method])
    return groups


def tally(part: Part) -> list[tuple[Outcome, int]]:
    """Count the headlines of the methods on trial, worst first; outcomes that did not occur are left out."""
    groups = by_outcome(part)
    return [(outcome, len(groups[outcome])) for outcome in WORST_FIRST if outcome in groups]


def looks(part: Part) -> str:
    """Say how maps look that the check catches."""
    first = part.record.lines[0] if part.record.lines else None
    if first is None or not part.record.words.caught:
        return ""
    how = "keep their look" if first.must == "change" else "change their look"
    how = measured(part.record).caught or how
    return f"A row whose maps {how} is caught: {printable(part.record.words.caught)}."


def changed(part: Part) -> str:
    """Say what was done at the first line."""
    return printable(part.record.lines[0].words) if part.record.lines else "changed"


def passes_too(part: Part) -> str:
    """Say which control, whose maps are worth nothing, is not caught either; empty where all are."""
    for control, words in CONTROL_WORDS.items():
        headline = part.headlines.get(control)
        if headline is not None and headline.outcome is Outcome.PASS:
            return f"{words} passes too"
    return ""


def distrust(run: Run | Part) -> list[str]:
    """Return the reasons why the run, or one check of it, cannot be trusted; empty where it can."""
    known = run.gates.get("reasons") or ()
    if isinstance(run, Run) and len(run.parts) > 1 and "checks" in run.gates:
        of_checks = {r for part in run.parts for r in part.gates.get("reasons") or ()}
        reasons = [f"{_title(p)}: {printable(r)}" for p in run.parts for r in p.gates["reasons"]]
        reasons += [printable(reason) for reason in known if reason not in of_checks]
    else:
        reasons = [printable(reason) for reason in known]
    reasons += [_failed(unit) for unit in run.gates.get("failed_units") or ()]
    return reasons if reasons or run.trusted else ["a control or a gate failed"]


def _title(part: Part) -> str:
    return printable(part.record.words.title)


def _failed(unit: Mapping[str, object]) -> str:
    """Say what of the work failed, and why."""
    about = [
        f"{name} {printable(str(unit[name])[:12])}" for name in ("draw", "unit") if name in unit
    ]
    where = f" ({', '.join(about)})" if about else ""
    return f"failed{where}: {printable(unit.get('reason') or 'no reason was recorded')}"

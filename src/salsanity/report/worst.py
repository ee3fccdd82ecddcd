"""What speaks most against a method, and which methods come first."""

from __future__ import annotations

from typing import Final

from salsanity.records import Kept, Outcome, Verdict
from salsanity.report.folder import Part, Run

WORST_FIRST: Final = (
    Outcome.FAIL,
    Outcome.INCONCLUSIVE,
    Outcome.UNINFORMATIVE,
    Outcome.PASS,
)
"""Outcomes of methods in the order in which they are shown."""

BADNESS: Final = (Outcome.PASS, Outcome.UNINFORMATIVE, Outcome.INCONCLUSIVE, Outcome.FAIL)


def beyond(kept: Kept) -> float:
    """Return how far what was measured lies on the wrong side of its line; NaN where nothing was."""
    over = kept.retained - kept.threshold
    return over if kept.must == "change" else -over


def furthest(cell: Verdict) -> Kept | None:
    """Return what was measured where a cell is furthest beyond its line; the first line where nothing was."""
    measured = [kept for kept in cell.kept if kept.retained == kept.retained]
    return max(measured, key=beyond, default=cell.kept[0] if cell.kept else None)


def decisive(part: Part, headline: Verdict, cell: Verdict) -> Kept | None:
    """Return what was measured at the line that the headline's reason names; where it names none, furthest beyond it."""
    words = {line.name: line.words for line in part.record.lines if line.words}
    measured = [kept for kept in cell.kept if kept.retained == kept.retained]
    told = [k for k in measured if k.line in words and words[k.line] in headline.reason]
    return max(told or measured, key=beyond, default=None)


def excess(cell: Verdict) -> float:
    """Return how far a cell lies on the wrong side of its lines, where it is furthest; negative: on the right side."""
    most = furthest(cell)
    return -9.0 if most is None or most.retained != most.retained else beyond(most)


def deciding(part: Part, headline: Verdict, view: str | None = None) -> Verdict:
    """Return the cell that speaks for a method: the headline's, or of one view the worst that is furthest beyond its line."""
    cells = part.cells(headline.method, view)
    said = [c for c in cells if (c.outcome, c.kept) == (headline.outcome, headline.kept)]
    if view is None and said:
        return said[0]
    informative = [c for c in cells if c.outcome is not Outcome.UNINFORMATIVE] or list(cells)
    return max(informative, key=lambda c: (BADNESS.index(c.outcome), excess(c)), default=headline)


def worst_first(part: Part) -> list[str]:
    """Return the methods on trial: those that were caught first, and among equals those furthest beyond a line."""

    def place(method: str) -> tuple[int, float]:
        headline = part.headlines.get(method)
        if headline is None:
            return len(WORST_FIRST), 0.0
        return WORST_FIRST.index(headline.outcome), -excess(deciding(part, headline))

    return sorted(part.methods, key=place)


def worst_part(run: Run) -> Part:
    """Return the check that speaks most against the methods: where most were caught, then most are undecided."""

    def count(part: Part) -> list[int]:
        found = [v.outcome for m, v in part.headlines.items() if m in part.methods]
        return [found.count(outcome) for outcome in WORST_FIRST]

    return max(run.parts, key=count)

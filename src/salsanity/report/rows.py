"""The verdicts as rows of the page: one for each method and control, worst first."""

from __future__ import annotations

from dataclasses import dataclass

from salsanity.records import Outcome, Verdict
from salsanity.report.charts import Lane, lanes
from salsanity.report.folder import Part
from salsanity.report.summary import passes_too
from salsanity.report.terms import METHOD_LINES, decimals, printable, similarity_name
from salsanity.report.worst import deciding, worst_first


@dataclass(frozen=True)
class ViewBar:
    """What one view says of a method: its deciding cell, drawn."""

    view: str
    similarity: str
    outcome: Outcome
    lanes: list[Lane]
    note: str
    """What else must stand beside the number: shares of blank maps, and a p value."""


@dataclass(frozen=True)
class Deciding:
    """What decides on a method: the lane that speaks most against it, and in which cell it lies."""

    words: str
    lane: Lane
    note: str


@dataclass(frozen=True)
class CellRow:
    """One cell in numbers."""

    view: str
    similarity: str
    outcome: Outcome
    lanes: list[Lane]
    ceiling: str
    counts: str
    blank: str
    reason: str


@dataclass(frozen=True)
class MethodRow:
    """A method's headline with what is behind it.

    `given`: as it was named in the run. `beside`: what stands beside the outcome. `decides`: the one number of its line; None
    where nothing was measured. `is_broken`: it raised on every image, so that there is nothing to have a verdict on.
    """

    method: str
    name: str
    given: str
    line: str
    outcome: Outcome
    reason: str
    beside: str
    decides: Deciding | None
    is_broken: bool
    bars: list[ViewBar]
    cells: list[CellRow]


def method_rows(part: Part) -> list[MethodRow]:
    """Return the methods on trial, worst first."""
    return [_row(part, part.headlines[m]) for m in worst_first(part) if m in part.headlines]


@dataclass(frozen=True)
class ControlRow:
    """A control: what it had to be (None: nothing is demanded) and what it was."""

    row: MethodRow
    expected: str | None
    ok: bool


def control_rows(part: Part) -> list[ControlRow]:
    """Return the controls, those with a demand first."""
    demands = part.gates.get("controls") or {}
    rows = []
    for control in part.controls:
        if control in part.headlines:
            demand = demands.get(control) or {}
            row = _row(part, part.headlines[control])
            rows.append(ControlRow(row, demand.get("expected"), bool(demand.get("ok", True))))
    return sorted(rows, key=lambda r: r.expected is None)


def _row(part: Part, headline: Verdict) -> MethodRow:
    is_broken = headline.method in part.broken
    shown = () if is_broken else reversed(part.views)
    views = [view for view in shown if part.cells(headline.method, view)]
    return MethodRow(
        method=headline.method,
        name=part.names[headline.method],
        given=printable(headline.method),
        line=METHOD_LINES.get(headline.method, ""),
        outcome=headline.outcome,
        reason=printable(part.broken.get(headline.method, headline.reason)),
        beside=_beside(part, headline),
        decides=_decides(part, deciding(part, headline)),
        is_broken=is_broken,
        bars=[_bar(part, deciding(part, headline, view)) for view in views],
        cells=[_cell(part, cell) for cell in part.cells(headline.method)],
    )


def _beside(part: Part, headline: Verdict) -> str:
    """Say beside a PASS that it is no praise, where its reason does not."""
    if headline.outcome is not Outcome.PASS or headline.method in part.controls:
        return ""
    said = passes_too(part) or printable(part.record.words.uncaught)
    return "" if said in headline.reason else said


def _decides(part: Part, cell: Verdict) -> Deciding | None:
    found = [lane for lane in lanes(part, cell) if lane.x is not None]
    if cell.view is None or not found:
        return None
    lane = max(found, key=lambda lane: lane.beyond)
    at = f", {lane.name}" if len(part.record.lines) > 1 else ""
    return Deciding(f"{cell.view} {similarity_name(cell.similarity or '')}{at}", lane, _note(cell))


def blank_words(cell: Verdict) -> str:
    """Say which shares of maps are blank; empty where none are, or where that was not recorded."""
    changed, reference = cell.blank_changed, cell.blank_reference
    if not (changed > 0 or reference > 0):
        return ""
    shares = (("", changed), ("before ", reference))
    return "blank " + ", ".join(f"{when}{_percent(s)}" for when, s in shares if s == s)


def _percent(share: float) -> str:
    """Write a share so that some is never none, and nearly all never all."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def _bar(part: Part, cell: Verdict) -> ViewBar:
    name = similarity_name(cell.similarity or "")
    return ViewBar(cell.view or "", name, cell.outcome, lanes(part, cell), _note(cell))


def _note(cell: Verdict) -> str:
    said = [f"p = {decimals(cell.p)}"] if cell.p == cell.p else []
    return ", ".join([*said, *filter(None, [blank_words(cell)])])


def _cell(part: Part, cell: Verdict) -> CellRow:
    one, several = part.record.words.draw
    draws = f"{cell.n_draws} {printable(one if cell.n_draws == 1 else several)}"
    lost = f", {cell.n_undefined} undefined" if cell.n_undefined else ""
    return CellRow(
        view=cell.view or "",
        similarity=similarity_name(cell.similarity or ""),
        outcome=cell.outcome,
        lanes=lanes(part, cell),
        ceiling=decimals(cell.ceiling),
        counts=f"{cell.n_images} images, {draws}{lost}",
        blank=blank_words(cell),
        reason=printable(cell.reason),
    )

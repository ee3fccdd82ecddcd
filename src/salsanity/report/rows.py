"""The verdicts as rows of the page: one for each method and control."""

from __future__ import annotations

from dataclasses import dataclass

from salsanity.records import Outcome, Verdict
from salsanity.report.charts import Lane, lanes
from salsanity.report.folder import Run
from salsanity.report.tables import deciding
from salsanity.report.terms import METHOD_LINES, decimals, method_name, printable, similarity_name


@dataclass(frozen=True)
class ViewBar:
    """What one view says of a method: its deciding cell, drawn."""

    view: str
    similarity: str
    outcome: Outcome
    lanes: list[Lane]


@dataclass(frozen=True)
class CellRow:
    """One cell in numbers."""

    view: str
    similarity: str
    outcome: Outcome
    lanes: list[Lane]
    ceiling: str
    counts: str
    reason: str


@dataclass(frozen=True)
class MethodRow:
    """A method's headline with what is behind it."""

    method: str
    name: str
    line: str
    outcome: Outcome
    reason: str
    bars: list[ViewBar]
    cells: list[CellRow]


def method_rows(run: Run) -> list[MethodRow]:
    """Return the methods on trial, in the order of the spec."""
    return [_row(run, run.headlines[m]) for m in run.methods if m in run.headlines]


@dataclass(frozen=True)
class ControlRow:
    """A control: what it had to be (None: nothing is demanded) and what it was."""

    row: MethodRow
    expected: str | None
    ok: bool


def control_rows(run: Run) -> list[ControlRow]:
    """Return the controls, those with a demand first."""
    demands = run.gates.get("controls") or {}
    rows = []
    for control in run.controls:
        if control in run.headlines:
            demand = demands.get(control) or {}
            row = _row(run, run.headlines[control])
            rows.append(ControlRow(row, demand.get("expected"), bool(demand.get("ok", True))))
    return sorted(rows, key=lambda r: r.expected is None)


def _row(run: Run, headline: Verdict) -> MethodRow:
    views = [view for view in reversed(run.views) if run.cells(headline.method, view)]
    return MethodRow(
        method=headline.method,
        name=method_name(headline.method),
        line=METHOD_LINES.get(headline.method, ""),
        outcome=headline.outcome,
        reason=printable(headline.reason),
        bars=[_bar(run, deciding(run, headline, view)) for view in views],
        cells=[_cell(run, cell) for cell in run.cells(headline.method)],
    )


def _bar(run: Run, cell: Verdict) -> ViewBar:
    name = similarity_name(cell.similarity or "")
    return ViewBar(cell.view or "", name, cell.outcome, lanes(run, cell))


def _cell(run: Run, cell: Verdict) -> CellRow:
    draws = "pairs" if run.is_labels else "draws"
    lost = f", {cell.n_undefined} undefined" if cell.n_undefined else ""
    return CellRow(
        view=cell.view or "",
        similarity=similarity_name(cell.similarity or ""),
        outcome=cell.outcome,
        lanes=lanes(run, cell),
        ceiling=decimals(cell.ceiling),
        counts=f"{cell.n_images} images, {cell.n_draws} {draws}{lost}",
        reason=printable(cell.reason),
    )

"""A run in a few lines of HTML, for notebooks."""

from __future__ import annotations

from markupsafe import Markup, escape

from salsanity.records import Outcome
from salsanity.report.folder import Part, Run
from salsanity.report.rows import MethodRow, method_rows
from salsanity.report.summary import answer, distrust
from salsanity.report.terms import printable

COLOURS = {
    Outcome.PASS: "#00806f",
    Outcome.FAIL: "#c8401f",
    Outcome.INCONCLUSIVE: "#94700a",
    Outcome.UNINFORMATIVE: "#737d89",
}
"""Dark enough on white and light enough on black, for either theme of a notebook."""

SIGNS = {
    Outcome.PASS: "●",
    Outcome.FAIL: "■",
    Outcome.INCONCLUSIVE: "◆",
    Outcome.UNINFORMATIVE: "○",
}


def notebook_html(run: Run | Part) -> str:
    """Return the answers and the verdicts as an HTML fragment; every string is escaped."""
    parts = run.parts if isinstance(run, Run) else (run,)
    tables = Markup("").join(_table(part, titled=len(parts) > 1) for part in parts)
    return Markup("<div>{}{}</div>").format(_alarm(run), tables)


def _table(part: Part, *, titled: bool) -> Markup:
    heads = Markup("").join(
        Markup('<th style="text-align:left">{}</th>').format(head)
        for head in ("Method", "Verdict", "Kept", "Why")
    )
    title = Markup("<h4>{}</h4>").format(printable(part.record.words.title)) if titled else ""
    return Markup(
        "{title}<p>{answer}</p><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    ).format(
        title=title,
        answer=answer(part),
        heads=heads,
        body=Markup("").join(_row(row) for row in method_rows(part)),
    )


def _alarm(run: Run | Part) -> Markup:
    if run.trusted:
        return Markup("")
    reasons = Markup("; ").join(escape(reason) for reason in distrust(run))
    return Markup(
        '<p style="border:2px solid #c8401f;padding:.4em .8em"><strong>This run cannot be '
        "trusted:</strong> {}</p>"
    ).format(reasons)


def _row(row: MethodRow) -> Markup:
    lanes = [lane for bar in row.bars for lane in bar.lanes if lane.x is not None]
    lane = max(lanes, key=lambda lane: lane.beyond, default=None)
    kept = f"{lane.value} ({lane.interval})" if lane else "–"
    why = f"{row.beside}: {row.reason}" if row.beside else row.reason
    return Markup(
        '<tr><th style="text-align:left">{}</th>'
        '<td style="text-align:left;white-space:nowrap;color:{}"><strong>{} {}</strong></td>'
        '<td style="text-align:left;white-space:nowrap">{}</td>'
        '<td style="text-align:left">{}</td></tr>'
    ).format(row.name, COLOURS[row.outcome], SIGNS[row.outcome], row.outcome, kept, why)

"""A run in a few lines of HTML, for notebooks."""

from __future__ import annotations

from markupsafe import Markup, escape

from salsanity.records import Outcome
from salsanity.report.folder import Run
from salsanity.report.rows import MethodRow, method_rows
from salsanity.report.summary import distrust, summary_sentences

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


def notebook_html(run: Run) -> str:
    """Return the answer and the verdicts as an HTML fragment; every string is escaped."""
    body = Markup("").join(_row(row) for row in method_rows(run))
    heads = Markup("").join(
        Markup('<th style="text-align:left">{}</th>').format(head)
        for head in ("Method", "Verdict", "Kept", "Why")
    )
    return Markup(
        "<div><p>{answer}</p>{alarm}<table><thead><tr>{heads}</tr></thead>"
        "<tbody>{body}</tbody></table></div>"
    ).format(answer=summary_sentences(run)[1], alarm=_alarm(run), heads=heads, body=body)


def _alarm(run: Run) -> Markup:
    if run.trusted:
        return Markup("")
    reasons = Markup("; ").join(escape(reason) for reason in distrust(run))
    return Markup(
        '<p style="border:2px solid #c8401f;padding:.4em .8em"><strong>This run cannot be '
        "trusted:</strong> {}</p>"
    ).format(reasons)


def _row(row: MethodRow) -> Markup:
    lane = max(
        (bar.lanes[0] for bar in row.bars if bar.lanes),
        key=lambda lane: lane.x or 0.0,
        default=None,
    )
    kept = f"{lane.value} ({lane.interval})" if lane else "–"
    return Markup(
        '<tr><th style="text-align:left">{}</th>'
        '<td style="text-align:left;white-space:nowrap;color:{}"><strong>{} {}</strong></td>'
        '<td style="text-align:left;white-space:nowrap">{}</td>'
        '<td style="text-align:left">{}</td></tr>'
    ).format(row.name, COLOURS[row.outcome], SIGNS[row.outcome], row.outcome, kept, row.reason)

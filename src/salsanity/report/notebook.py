"""A run in a few lines of HTML, for notebooks."""

from __future__ import annotations

from markupsafe import Markup, escape

from salsanity.records import Outcome
from salsanity.report.card import DISTRUST, MISSING, Card, CardCell, CardColumn
from salsanity.report.folder import Part, Run
from salsanity.report.rows import MethodRow, method_rows
from salsanity.report.summary import answer, distrust
from salsanity.report.terms import NO_MAPS, printable
from salsanity.report.tiles import FLAT, example
from salsanity.report.worst import worst_part

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
    """Return the answers, two methods' maps and the verdicts as an HTML fragment; every string is escaped."""
    parts = run.parts if isinstance(run, Run) else (run,)
    tables = Markup("").join(_table(part, titled=len(parts) > 1) for part in parts)
    picture = _picture(worst_part(run) if isinstance(run, Run) else run)
    return Markup("<div>{}{}{}</div>").format(_alarm(run), picture, tables)


def _picture(part: Part) -> Markup:
    """Show the maps of one image, trained and changed, for the worst method that was caught and one that was not."""
    shown = example(part)
    if shown is None:
        return Markup("")
    heads = Markup("").join(Markup("<th>{}</th>").format(state) for state in shown.states)
    rows = Markup("").join(
        Markup(
            '<tr><th style="text-align:left">{}<br><strong style="color:{}">{} {}</strong></th>{}</tr>'
        ).format(
            row.name,
            COLOURS[row.outcome],
            SIGNS[row.outcome],
            row.outcome,
            Markup("").join(_map(uri, row.name) for uri in (row.before, row.after)),
        )
        for row in shown.rows
    )
    return Markup("<table><thead><tr><th></th>{}</tr></thead><tbody>{}</tbody></table>").format(
        heads, rows
    )


def _map(uri: str, name: str) -> Markup:
    if uri == FLAT:
        return Markup("<td>flat</td>")
    return Markup(
        '<td><img src="{}" alt="map of {}" style="width:7em;image-rendering:pixelated"></td>'
    ).format(uri, name)


def card_html(card: Card) -> str:
    """Return the card as an HTML fragment with its foot; every string is escaped."""
    columns = Markup("").join(_card_head(column) for column in card.columns)
    rows = Markup("").join(
        Markup('<tr><th style="text-align:left">{}</th>{}</tr>').format(
            row.name, Markup("").join(_card_cell(cell) for cell in row.cells)
        )
        for row in card.rows
    )
    foot = Markup("").join(Markup("<li>{}</li>").format(said) for said in card.foot)
    return Markup(
        '<div><p>{}</p><table><thead><tr><th style="text-align:left">Method</th>{}</tr></thead><tbody>{}</tbody></table>'
        '<ul style="font-size:.85em">{}</ul></div>'
    ).format(card.subject, columns, rows, foot)


def _card_head(column: CardColumn) -> Markup:
    flag = Markup('<br><strong style="color:{}">{}</strong>').format(
        COLOURS[Outcome.FAIL], DISTRUST
    )
    return Markup('<th style="text-align:left" title="{}">{}{}</th>').format(
        column.question, column.title, Markup("") if column.trusted else flag
    )


def _card_cell(cell: CardCell | None) -> Markup:
    if cell is None:
        return Markup('<td style="text-align:left">{}</td>').format(MISSING)
    beside = " ".join(filter(None, [f"({cell.span})" if cell.span else "", cell.line]))
    return Markup(
        '<td style="text-align:left;white-space:nowrap" title="{}"><strong style="color:{}">{} {}</strong>'
        "<br>{} <small>{}</small></td>"
    ).format(
        cell.reason, COLOURS[cell.outcome], SIGNS[cell.outcome], cell.outcome, cell.text, beside
    )


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
    said = NO_MAPS if row.is_broken else f"{SIGNS[row.outcome]} {row.outcome}"
    return Markup(
        '<tr><th style="text-align:left">{}</th>'
        '<td style="text-align:left;white-space:nowrap;color:{}"><strong>{}</strong></td>'
        '<td style="text-align:left;white-space:nowrap">{}</td>'
        '<td style="text-align:left">{}</td></tr>'
    ).format(row.name, COLOURS[row.outcome], said, kept, why)

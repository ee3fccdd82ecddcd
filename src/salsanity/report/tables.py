"""The verdicts on a terminal: fits 80 columns and needs no colour."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from salsanity.records import Kept, Outcome, Verdict
from salsanity.report.folder import Part, Run
from salsanity.report.summary import answer, distrust, passes_too
from salsanity.report.terms import NO_MAPS, RETAINED, demand, measured, printable
from salsanity.report.worst import deciding, furthest, worst_first

STYLES = {
    Outcome.PASS: "bold green",
    Outcome.FAIL: "bold red",
    Outcome.INCONCLUSIVE: "bold yellow",
    Outcome.UNINFORMATIVE: "bold magenta",
}
COLUMNS: Final = 2
"""Lines that have a column each; of more lines, the deciding one is shown."""


def verdict_table(run: Run | Part) -> RenderableType:
    """Return the verdicts as something `rich` prints: answer, table, reasons, and warnings, for each check.

    Names come from outside, so nothing here is parsed as markup.
    """
    shown = run.parts if isinstance(run, Run) else (run,)
    parts = list(_banner(run))
    for part in shown:
        if len(shown) > 1:
            title = printable(part.record.words.title)
            parts += [*([Text()] if parts else []), Text(title, style="bold underline"), Text()]
        parts += _verdicts(part, is_first=part is shown[0])
    return Group(*parts)


def _verdicts(part: Part, *, is_first: bool) -> Iterator[RenderableType]:
    yield Text(answer(part))
    yield Text()
    yield _table(part)
    yield Text(
        _legend(part, is_first=is_first or measured(part.record) is not RETAINED), style="dim"
    )
    yield Text()
    for method in worst_first(part):
        headline = part.headlines.get(method)
        if headline is not None and headline.outcome is not Outcome.PASS:
            yield _reason(part, headline)


def plain_table(run: Run | Part) -> str:
    """Return the verdict table as on the terminal, 80 columns wide, without colour."""
    console = Console(
        file=StringIO(),
        width=80,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,  # which would show it in the cell
        highlight=False,
    )
    with console.capture() as captured:
        console.print(verdict_table(run))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _banner(run: Run | Part) -> Iterator[RenderableType]:
    if not run.trusted:
        yield Text("THIS RUN CANNOT BE TRUSTED", style="bold white on red")
        for reason in distrust(run):
            yield Text(f"  - {reason}", style="red")
        yield Text()


def _table(part: Part) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("Method", overflow="fold", max_width=31)
    table.add_column("Verdict", no_wrap=True)
    for heading in _headings(part):
        table.add_column(heading, justify="right", no_wrap=True)
    for method in worst_first(part):
        _add(table, part, method, method)
    for control in part.controls:
        _add(table, part, control, f"({control})")
    return table


def _headings(part: Part) -> list[str]:
    lines = part.record.lines
    name = measured(part.record).name
    if not 1 < len(lines) <= COLUMNS:
        return [name]
    return [f"{name} at {printable(line.name)}" for line in lines]


def _add(table: Table, part: Part, method: str, label: str) -> None:
    headline = part.headlines.get(method)
    if headline is None:
        table.add_row(Text(printable(label)), Text("not judged", style="dim"))
        return
    if method in part.broken:
        table.add_row(Text(printable(label)), Text(NO_MAPS, style="bold"))
        return
    cell = deciding(part, headline)
    row = [Text(printable(label)), Text(headline.outcome, style=STYLES[headline.outcome])]
    by_line = {kept.line: kept for kept in cell.kept}
    few = len(part.record.lines) <= COLUMNS
    shown = [by_line.get(line.name) for line in part.record.lines] if few else [furthest(cell)]
    table.add_row(*row, *(Text(_kept(kept)) for kept in shown))


def _kept(kept: Kept | None) -> str:
    if kept is None or kept.retained != kept.retained:
        return "-"
    if all(bound != bound for bound in kept.retained_ci):
        return _short(kept.retained)  # one draw gives no interval
    low, high = (_short(bound) for bound in kept.retained_ci)
    return f"{_short(kept.retained)} [{low},{high}]"


def _short(value: float) -> str:
    """Write a share in as few signs as two decimals allow: .62, -.04, 1.00."""
    if value != value:
        return "?"
    text = f"{value:.2f}"
    text = "0.00" if float(text) == 0 else text
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _legend(part: Part, *, is_first: bool) -> str:
    what = measured(part.record)
    said = f"{what.name}: {what.says}; of the cell that decides, with its 90 % interval. In brackets: controls."
    sentences = [said] if is_first else []
    for line in part.record.lines if what.is_judged else ():
        at = f"At {printable(line.name)}, {printable(line.words)}: "
        sentences.append(f"{at}{demand(line, part.record)}.")
    if part.record.never_pass:
        sentences.append(f"No method can PASS here: {printable(part.record.never_pass)}.")
    if found := passes_too(part):
        sentences.append(f"A PASS says only that a method was not caught: {found}.")
    return "\n".join(sentences)


def _reason(part: Part, headline: Verdict) -> RenderableType:
    text = Text()
    text.append(printable(headline.method), style="bold")
    if headline.method in part.broken:
        text.append(f" {NO_MAPS}: ", style="bold")
        text.append(printable(part.broken[headline.method]))
        return text
    text.append(f" {headline.outcome}: ", style=STYLES[headline.outcome])
    text.append(printable(headline.reason))
    return text

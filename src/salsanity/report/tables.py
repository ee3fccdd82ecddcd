"""The verdicts on a terminal: fits 80 columns and needs no colour."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from salsanity.records import Outcome, Verdict
from salsanity.report.folder import Run
from salsanity.report.summary import distrust, summary_sentences
from salsanity.report.terms import printable

STYLES = {
    Outcome.PASS: "bold green",
    Outcome.FAIL: "bold red",
    Outcome.INCONCLUSIVE: "bold yellow",
    Outcome.UNINFORMATIVE: "bold magenta",
}


def verdict_table(run: Run) -> RenderableType:
    """Return the verdicts as something `rich` prints: answer, table, reasons, and warnings.

    Names come from outside, so nothing here is parsed as markup.
    """
    parts: list[RenderableType] = [*_banner(run), Text(summary_sentences(run)[1]), Text()]
    parts += [_table(run), Text(_legend(run), style="dim"), Text(), *_reasons(run)]
    return Group(*parts)


def plain_table(run: Run) -> str:
    """Return the verdict table as on the terminal, 80 columns wide, without colour."""
    console = Console(
        file=StringIO(), width=80, color_system=None, force_terminal=False, highlight=False
    )
    with console.capture() as captured:
        console.print(verdict_table(run))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _banner(run: Run) -> list[RenderableType]:
    if run.trusted:
        return []
    lines = [Text("THIS RUN CANNOT BE TRUSTED", style="bold white on red")]
    lines += [Text(f"  - {reason}", style="red") for reason in distrust(run)]
    return [*lines, Text()]


def _table(run: Run) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("Method", overflow="fold", max_width=31)
    table.add_column("Verdict", no_wrap=True)
    for heading in _headings(run):
        table.add_column(heading, justify="right", no_wrap=True)
    for method in run.methods:
        _add(table, run, method, method)
    for control in run.controls:
        _add(table, run, control, f"({control})")
    return table


def _headings(run: Run) -> tuple[str, ...]:
    return ("Kept",) if run.is_labels else ("Kept at full", "Kept at half")


def _add(table: Table, run: Run, method: str, label: str) -> None:
    headline = run.headlines.get(method)
    if headline is None:
        table.add_row(Text(printable(label)), Text("not judged", style="dim"))
        return
    cell = deciding(run, headline)
    row = [Text(printable(label)), Text(headline.outcome, style=STYLES[headline.outcome])]
    row.append(Text(_kept(cell.retained_full, cell.retained_full_ci)))
    if not run.is_labels:
        row.append(Text(_kept(cell.retained_half, cell.retained_half_ci)))
    table.add_row(*row)


def deciding(run: Run, headline: Verdict, view: str | None = None) -> Verdict:
    """Return the cell that speaks for a method: of the worst outcome, the one that kept most."""
    cells = run.cells(headline.method, view)
    informative = [c for c in cells if c.outcome is not Outcome.UNINFORMATIVE] or list(cells)
    return max(informative, key=lambda c: _badness(run, c), default=headline)


def _badness(run: Run, cell: Verdict) -> tuple[int, float]:
    rank = (Outcome.PASS, Outcome.UNINFORMATIVE, Outcome.INCONCLUSIVE, Outcome.FAIL)
    full, half = run.thresholds["full"], run.thresholds.get("half", 1.0)
    over = [cell.retained_full - full, cell.retained_half - half]
    defined = [value for value in over if value == value]
    return rank.index(cell.outcome), max(defined, default=-9.0)


def _kept(value: float, interval: tuple[float, float]) -> str:
    if value != value:
        return "-"
    low, high = (_short(bound) for bound in interval)
    return f"{_short(value)} [{low},{high}]"


def _short(value: float) -> str:
    """Write a share in as few signs as two decimals allow: .62, -.04, 1.00."""
    if value != value:
        return "?"
    text = f"{value:.2f}"
    text = "0.00" if float(text) == 0 else text
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _legend(run: Run) -> str:
    full, half = run.thresholds["full"], run.thresholds.get("half")
    share = (
        "Kept: the share of similarity that is left where most is left, with its 90 %\n"
        "interval; 0 = chance, 1 = nothing changed. In brackets: controls. "
    )
    if run.is_labels:
        return f"{share}\nFAIL above {full:g}."
    return f"{share}\nFAIL above {full:g} at full (all randomised) or above {half:g} at half."


def _reasons(run: Run) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for method in run.methods:
        headline = run.headlines.get(method)
        if headline is not None and headline.outcome is not Outcome.PASS:
            lines.append(_reason(headline))
    return lines


def _reason(headline: Verdict) -> RenderableType:
    text = Text()
    text.append(printable(headline.method), style="bold")
    text.append(f" {headline.outcome}: ", style=STYLES[headline.outcome])
    text.append(printable(headline.reason))
    return text

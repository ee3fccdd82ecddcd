"""The card: methods in rows, checks in columns, outcome and number in each cell; it ranks nobody.

A column is a question, and the task decides which questions matter; the foot says for which use each one does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

import pandas as pd

from salsanity.records import Line, Outcome
from salsanity.report.folder import Part, Run
from salsanity.report.markup import ampersands as _ampersands
from salsanity.report.markup import latex as _latex
from salsanity.report.markup import markdown as _markdown
from salsanity.report.markup import one_line as _one_line
from salsanity.report.markup import piped as _piped
from salsanity.report.summary import passes_too
from salsanity.report.terms import (
    RETAINED,
    decimals,
    limit,
    listed,
    measured,
    method_names,
    printable,
)
from salsanity.report.worst import WORST_FIRST, deciding, furthest

MISSING: Final = "–"
"""What stands where a method was not put to a check."""

DISTRUST: Final = "not to be trusted"
HEADING: Final = "Sanity checks of saliency maps"
FIELDS: Final = ("outcome", "retained", "low", "high", "line", "trusted")
"""Columns of the table for each check."""


@final
@dataclass(frozen=True)
class CardCell:
    """What a check says of a method: the outcome, and what was kept in the deciding cell with its 90 % interval.

    `number` is NaN where nothing was measured. `line`: the name of the line that it belongs to, where a check has several.
    """

    outcome: Outcome
    number: float
    interval: tuple[float, float]
    reason: str
    line: str = ""

    @property
    def text(self) -> str:
        """The number as it is shown; empty where nothing was measured."""
        return decimals(self.number) if self.number == self.number else ""

    @property
    def span(self) -> str:
        """The interval as it is shown; empty where there is none."""
        low, high = self.interval
        return f"{decimals(low)} to {decimals(high)}" if low == low else ""


@final
@dataclass(frozen=True)
class CardColumn:
    """A check of a run: `use` is the task for which a FAIL matters, `limits` the lines that decide.

    `measured`: what the numbers are, where they are no shares of similarity. `extent`: on how much it was measured.
    """

    key: str
    title: str
    network: str
    question: str
    use: str
    measured: str
    limits: tuple[str, ...]
    passes_too: str
    trusted: bool
    extent: str = ""

    @property
    def head(self) -> str:
        """The title, with the warning that must stand wherever it stands."""
        return self.title if self.trusted else f"{self.title} ({DISTRUST})"


@final
@dataclass(frozen=True)
class CardRow:
    """A method, and its cell in each column; None where it was not put to that check."""

    method: str
    name: str
    cells: tuple[CardCell | None, ...]


@final
@dataclass(frozen=True)
class Card:
    """Methods by checks, worst first."""

    columns: tuple[CardColumn, ...]
    rows: tuple[CardRow, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per method with the columns `FIELDS` for each check; None or NaN where a method was not put to it.

        `line`: which of several lines the number belongs to; None where there is one.
        """
        table: dict[str, list[object]] = {"method": [row.method for row in self.rows]}
        for k, column in enumerate(self.columns):
            cells = [_fields(row.cells[k], column) for row in self.rows]
            for field in FIELDS:
                table[f"{column.key} {field}"] = [cell[field] for cell in cells]
        return pd.DataFrame(table).set_index("method")

    def to_csv(self) -> str:
        """Return `to_frame` as CSV."""
        return str(self.to_frame().to_csv(lineterminator="\n"))

    def to_markdown(self) -> str:
        """Return a block for a model card: a heading, a table in GitHub's Markdown, and the foot."""
        head = ["Method", *(_markdown(c.head) for c in self.columns)]
        lines = [f"## {HEADING}", "", _markdown(self.subject), ""]
        lines += [_piped(head), _piped(["---"] * len(head))]
        for row in self.rows:
            lines.append(_piped([_markdown(row.name), *(_said(cell) for cell in row.cells)]))
        return "\n".join([*lines, "", *(f"- {_markdown(said)}" for said in self.foot), ""])

    def to_latex(self) -> str:
        """Return a tabular in the style of booktabs, with the foot as comments above it."""
        head = ["Method", *(_latex(c.head) for c in self.columns)]
        body = [[_latex(row.name), *(_latex_cell(cell) for cell in row.cells)] for row in self.rows]
        return "\n".join(
            [
                *(f"% {_one_line(said)}" for said in (self.subject, *self.foot)),
                rf"\begin{{tabular}}{{l{'l' * len(self.columns)}}}",
                r"\toprule",
                _ampersands(head),
                r"\midrule",
                *map(_ampersands, body),
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )

    @property
    def subject(self) -> str:
        """Whose maps these are."""
        networks = list(dict.fromkeys(column.network for column in self.columns))
        return f"{'Network' if len(networks) == 1 else 'Networks'}: {listed(networks)}."

    @property
    def foot(self) -> tuple[str, ...]:
        """What a reader must know: what each column asks and when it matters, and what a PASS is not."""
        columns = (_column_words(column) for column in self.columns)
        return (
            *columns,
            "Numbers are shares of similarity that are kept, unless a check says otherwise, in the cell that decides, with 90 % "
            "intervals; 0 is chance, 1 is no change.",
            f"INCONCLUSIVE: too few images or draws to say, or too close to the line. {MISSING}: the method was not put to this "
            "check, which is no PASS.",
            "The card ranks nobody: a column is a question, and the task decides which questions matter.",
        )


def card_of(*runs: Run | Part) -> Card:
    """Return the card of one or several runs: methods by the checks that each run holds."""
    parts = [part for run in runs for part in (run.parts if isinstance(run, Run) else (run,))]
    methods = list(dict.fromkeys(method for part in parts for method in part.methods))
    names = method_names(methods)
    cells = {method: tuple(_cell(part, method) for part in parts) for method in methods}
    rows = [CardRow(method, names[method], cells[method]) for method in methods]
    return Card(tuple(_columns(parts)), tuple(sorted(rows, key=_place)))


def _cell(part: Part, method: str) -> CardCell | None:
    headline = part.headlines.get(method) if method in part.methods else None
    if headline is None:
        return None
    kept = furthest(deciding(part, headline))
    number = kept.retained if kept else math.nan
    interval = kept.retained_ci if kept else (math.nan, math.nan)
    line = kept.line if kept and kept.retained == kept.retained and len(headline.kept) > 1 else ""
    return CardCell(headline.outcome, number, interval, printable(headline.reason), printable(line))


def _fields(cell: CardCell | None, column: CardColumn) -> dict[str, object]:
    if cell is None:
        return dict.fromkeys(FIELDS) | dict.fromkeys(FIELDS[1:4], math.nan)
    low, high = cell.interval
    values = (str(cell.outcome), cell.number, low, high, cell.line or None, column.trusted)
    return dict(zip(FIELDS, values, strict=True))


def _place(row: CardRow) -> list[int]:
    """Place a method: the more checks caught it, the earlier, then the more are undecided, then missing."""
    found = Counter(cell.outcome for cell in row.cells if cell)
    return [*(-found[outcome] for outcome in WORST_FIRST[:-1]), -row.cells.count(None)]


def _columns(parts: list[Part]) -> Iterable[CardColumn]:
    """Name the columns by their checks, and by network or folder too where one check stands in two columns."""
    checks = Counter(part.record.name for part in parts)
    networks = Counter((part.record.name, part.model_name) for part in parts)
    used: Counter[str] = Counter()
    for part in parts:
        title, key = printable(part.record.words.title), printable(part.record.name)
        if checks[part.record.name] > 1:
            same = networks[part.record.name, part.model_name] > 1
            which = printable(part.folder.resolve().name) if same else part.model_name
            title, key = f"{title}, {which}", f"{key}, {which}"
        used[key] += 1
        if used[key] > 1:
            title, key = f"{title} ({used[key]})", f"{key} ({used[key]})"
        yield _column(part, title, key)


def _column(part: Part, title: str, key: str) -> CardColumn:
    what = measured(part.record)
    lines = part.record.lines if what.is_judged else ()
    return CardColumn(
        key=key,
        title=title,
        network=part.model_name,
        question=printable(part.record.words.question),
        use=printable(part.record.words.use),
        measured="" if what is RETAINED else f"{what.name}: {what.says}",
        limits=tuple(_limit_words(line, named=len(lines) > 1) for line in lines),
        passes_too=passes_too(part),
        trusted=part.trusted,
        extent=_extent(part),
    )


def _extent(part: Part) -> str:
    """Say on how many images and draws a check was measured, and of which network."""
    record = part.record
    said = _counted(len(part.spec["images"]), ("image", "images"))
    if record.draws and not record.is_fixed:
        said += f" and {_counted(record.draws, record.words.draw)}"
    return f"{said}, {part.model_name}"


def _counted(count: int, words: tuple[str, str]) -> str:
    return f"{count} {printable(words[0] if count == 1 else words[1])}"


def _limit_words(line: Line, *, named: bool) -> str:
    said = f"{limit(line)} {printable(line.words)}"
    return f"{printable(line.name)}: {said}" if named else said


def _column_words(column: CardColumn) -> str:
    parts = [f"{column.title}: {column.question}"]
    parts += [f"It matters for {column.use}."] if column.use else []
    parts += [f"{column.measured}."] if column.measured else []
    parts += [f"Demanded: {'; '.join(column.limits)}."] if column.limits else []
    parts += [f"PASS says only that it was not caught: {column.passes_too}."] * bool(
        column.passes_too
    )
    parts += [f"Measured on {column.extent}."] if column.extent else []
    parts += [] if column.trusted else [f"{DISTRUST.upper()}: a control or gate failed."]
    return " ".join(parts)


def _said(cell: CardCell | None) -> str:
    if cell is None:
        return MISSING
    span = f" ({cell.span})" if cell.span else ""
    return " ".join(
        filter(None, [f"{cell.outcome} {cell.text}{span}".strip(), _markdown(cell.line)])
    )


def _latex_cell(cell: CardCell | None) -> str:
    if cell is None:
        return "--"
    span = rf" {{\small ({_latex(cell.span)})}}" if cell.span else ""
    line = rf" {{\small {_latex(cell.line)}}}" if cell.line else ""
    return f"{cell.outcome} {_latex(cell.text)}{span}{line}".strip()

"""The card as a figure: outcome and number, methods by checks, and at its foot what each check is for."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salsanity.records import Outcome
from salsanity.report.card import DISTRUST, MISSING, Card, CardCell, CardColumn
from salsanity.report.figures.style import GREY, INK, MUTED, blank_axes, styled

COLOURS: Final = {
    Outcome.FAIL: "#b02a12",
    Outcome.INCONCLUSIVE: "#7d5a00",
    Outcome.UNINFORMATIVE: MUTED,
    Outcome.PASS: "#00695c",
}
TINTS: Final = {
    Outcome.FAIL: "#fbe3de",
    Outcome.INCONCLUSIVE: "#faf0d7",
    Outcome.UNINFORMATIVE: "#eeeff0",
    Outcome.PASS: "#dff2ee",
}
ROW: Final = 0.2
"""Inches of a row."""

LINE: Final = 0.115
"""Inches of a further line of text."""

COLUMN: Final = 2.2
NUMBERS: Final = 0.95
"""Inches from an outcome to its number."""

EDGE: Final = 0.08
LETTER: Final = 0.062
"""Inches of a letter of a method's name."""

NAME: Final = 40
"""Letters of a name in one line, at most."""


@final
@dataclass(frozen=True)
class Sheet:
    """Where everything stands, in inches from the upper left."""

    names: Sequence[str]
    heads: Sequence[str]
    foot: Sequence[str]

    @classmethod
    def of(cls, card: Card) -> Sheet:
        """Lay the card out."""
        names = ["\n".join(broken(row.name)) for row in card.rows]
        heads = [_head(column) for column in card.columns]
        bare = cls(names, heads, ())
        letters = int(bare.width / 0.047)
        foot = [line for said in card.foot for line in textwrap.wrap(said, letters)]
        return cls(names, heads, foot)

    @property
    def left(self) -> float:
        """Where the columns begin."""
        longest = max((len(line) for name in self.names for line in name.split("\n")), default=0)
        return EDGE + max(1.0, LETTER * longest + 0.1)

    @property
    def width(self) -> float:
        """Of the sheet."""
        return self.left + COLUMN * max(1, len(self.heads)) + EDGE

    @property
    def top(self) -> float:
        """Where the rows begin."""
        return 0.2 + LINE * (1 + max((head.count("\n") for head in self.heads), default=0))

    def rows(self) -> list[tuple[float, float]]:
        """Where each row begins and ends."""
        found, y = [], self.top
        for name in self.names:
            height = ROW + LINE * name.count("\n")
            found.append((y, y + height))
            y += height
        return found

    @property
    def bottom(self) -> float:
        """Where the rows end."""
        return self.rows()[-1][1] if self.names else self.top

    @property
    def height(self) -> float:
        """Of the sheet."""
        return self.bottom + 0.12 + LINE * len(self.foot) + EDGE


def card_figure(card: Card) -> Figure:
    """Draw the card: a row per method, a column per check, worst first, what each check is for below."""
    with styled():
        sheet = Sheet.of(card)
        figure = Figure(figsize=(sheet.width, sheet.height))
        axes = blank_axes(figure, 0, 0, sheet.width, sheet.height)
        axes.set_axis_off()
        axes.set_xlim(0, sheet.width)
        axes.set_ylim(sheet.height, 0)
        _rules(axes, sheet)
        for k, head in enumerate(sheet.heads):
            title, _, rest = head.partition("\n\n")
            x, y = sheet.left + k * COLUMN, sheet.top - 0.06
            axes.text(x, y, rest, va="bottom", fontsize=5.5, color=MUTED)
            up = y - LINE * (rest.count("\n") + 1)
            axes.text(x, up, title, va="bottom", fontsize=7, fontweight="bold")
        for (start, end), name, row in zip(sheet.rows(), sheet.names, card.rows, strict=True):
            axes.text(EDGE, (start + end) / 2, name, va="center", fontsize=7)
            for k, (column, cell) in enumerate(zip(card.columns, row.cells, strict=True)):
                box = sheet.left + k * COLUMN, start, end
                _cell(axes, cell, box, is_trusted=column.trusted)
        foot = "\n".join(sheet.foot)
        axes.text(EDGE, sheet.bottom + 0.12, foot, va="top", fontsize=5.5, color=MUTED)
        return figure


def _rules(axes: Axes, sheet: Sheet) -> None:
    ends = EDGE, sheet.width - EDGE
    axes.hlines([sheet.top, sheet.bottom], *ends, color=INK, linewidth=0.8, zorder=3)
    between = [end for _, end in sheet.rows()[:-1]]
    axes.hlines(between, *ends, color=GREY, linewidth=0.2, zorder=3)


def broken(name: str) -> list[str]:
    """Break a name into lines of at most `NAME` letters, at commas and brackets rather than within words; none is lost."""
    lines = [""]
    for part in re.findall(r"[^,(\s]*[,(\s]*", name):
        for piece in [part[i : i + NAME] for i in range(0, len(part), NAME)]:
            if len(lines[-1]) + len(piece) > NAME:
                lines.append("")
            lines[-1] += piece
    return lines


def _head(column: CardColumn) -> str:
    """Return the lines over a column: its title, then its question, a blank line between."""
    mark = "" if column.trusted else f"\n({DISTRUST})"
    return f"{textwrap.fill(column.title, 30)}{mark}\n\n{textwrap.fill(column.question, 42)}"


def _cell(
    axes: Axes, cell: CardCell | None, box: tuple[float, float, float], *, is_trusted: bool
) -> None:
    x, start, end = box
    y = (start + end) / 2
    if cell is None:
        axes.text(x, y, MISSING, va="center", color=MUTED)
        return
    if is_trusted:
        axes.fill_between([x - 0.06, x + COLUMN - 0.1], start, end, color=TINTS[cell.outcome], lw=0)
    colour = COLOURS[cell.outcome] if is_trusted else MUTED
    axes.text(x, y, cell.outcome, va="center", color=colour, fontsize=6.5, fontweight="bold")
    axes.text(x + NUMBERS, y, cell.text, va="center", fontsize=6.5)
    beside = "  ".join(filter(None, [cell.span, cell.line]))
    axes.text(x + NUMBERS + 0.32, y, beside, va="center", fontsize=6, color=MUTED)

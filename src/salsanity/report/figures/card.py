"""The card as a figure: outcome and number, methods by checks."""

from __future__ import annotations

import textwrap
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salsanity.records import Outcome
from salsanity.report.card import MISSING, Card, CardCell
from salsanity.report.figures.style import GREY, INK, MUTED, blank_axes, styled

COLOURS: Final = {
    Outcome.FAIL: "#b02a12",
    Outcome.INCONCLUSIVE: "#7d5a00",
    Outcome.UNINFORMATIVE: MUTED,
    Outcome.PASS: "#00695c",
}
ROW: Final = 0.3
"""Inches of a row."""

NAMES: Final = 2.0
COLUMN: Final = 2.3
NUMBERS: Final = 0.95
"""Inches from an outcome to its number."""

HEAD: Final = 0.55


def card_figure(card: Card) -> Figure:
    """Draw the card: a row per method, a column per check, worst first."""
    with styled():
        width = NAMES + COLUMN * len(card.columns) + 0.1
        height = HEAD + ROW * len(card.rows) + 0.1
        figure = Figure(figsize=(width, height))
        axes = blank_axes(figure, 0, 0, width, height)
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.hlines([HEAD, height - 0.05], 0.08, width - 0.08, color=INK, linewidth=0.8)
        for k, column in enumerate(card.columns):
            mark = "" if column.trusted else "\n(not to be trusted)"
            title = textwrap.fill(column.title, 32) + mark
            place = NAMES + k * COLUMN, HEAD - 0.07
            axes.text(*place, title, va="bottom", fontsize=7, fontweight="bold")
        for i, row in enumerate(card.rows):
            y = HEAD + ROW * (i + 0.5)
            axes.text(
                0.08, y, textwrap.shorten(row.name, 32, placeholder="…"), va="center", fontsize=7
            )
            axes.hlines(y + ROW / 2, 0.08, width - 0.08, color=GREY, linewidth=0.2)
            for k, cell in enumerate(row.cells):
                _cell(axes, cell, NAMES + k * COLUMN, y)
        return figure


def _cell(axes: Axes, cell: CardCell | None, x: float, y: float) -> None:
    if cell is None:
        axes.text(x, y, MISSING, va="center", color=MUTED)
        return
    colour = COLOURS[cell.outcome]
    axes.text(x, y, cell.outcome, va="center", color=colour, fontsize=6.5, fontweight="bold")
    numbers = f"{cell.text}  {cell.span}".strip()
    axes.text(x + NUMBERS, y, numbers, va="center", fontsize=6.5)

"""Similarity curves by stage, with chance and ceiling (P, figure 4)."""

from __future__ import annotations

import math
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from salsanity.errors import UsageError
from salsanity.report.charts import marked_stages
from salsanity.report.figures.style import BLUE, GREY, INK, MUTED, ORANGE, blank_axes, styled
from salsanity.report.folder import Part
from salsanity.report.terms import printable, similarity_name, state_name

PANEL: Final = (1.75, 1.5)
"""Inches of a panel with its share of the space between."""

GAP: Final = (0.2, 0.35)
LEFT: Final = 0.55
TOP: Final = 0.55
BOTTOM: Final = 0.45


def curves_figure(
    part: Part, *, view: str = "absolute", similarity: str | None = None, columns: int = 5
) -> Figure:
    """Draw, for every method, the similarity to the reference map by stage."""
    if not part.record.is_course:
        raise UsageError(
            "expected a check whose stages follow each other, "
            f"got {printable(part.record.name)}; ask for bars"
        )
    similarity = similarity or part.similarities[0]
    table = part.curves
    table = table[(table["view"] == view) & (table["similarity"] == similarity)]
    methods = [m for m in (*part.methods, *part.controls) if (table["method"] == m).any()]
    if not methods:
        raise UsageError(
            f"expected scores of the {view} view by {similarity}, got none; "
            f"this run has {', '.join(part.views)} and {', '.join(part.similarities)}"
        )
    with styled():
        return _panels(part, table, methods, view, similarity, columns)


def _panels(
    part: Part, table: pd.DataFrame, methods: list[str], view: str, similarity: str, columns: int
) -> Figure:
    """Place the panels by hand: layouts and shared axes take most of a second each."""
    columns = min(columns, len(methods))
    rows = math.ceil(len(methods) / columns)
    width, height = PANEL[0] * columns + LEFT + 0.1, PANEL[1] * rows + TOP + BOTTOM
    figure = Figure(figsize=(width, height))
    lowest = table[["S", "C", "S_low"]].min().min()
    low = (
        0.0 if math.isnan(lowest) else min(0.0, math.floor(lowest * 10) / 10)
    )  # one image has no chance
    for k, method in enumerate(methods):
        row, column = divmod(k, columns)
        bottom = height - TOP - (row + 1) * PANEL[1] + GAP[1]
        inner = PANEL[0] - GAP[0], PANEL[1] - GAP[1]
        axes = blank_axes(figure, LEFT + column * PANEL[0], bottom, *inner)
        curve_panel(axes, table[table["method"] == method].sort_values("stage_index"))
        axes.set_title(part.names.get(method, method))
        _frame(axes, part, low, left=column == 0, lowest=k + columns >= len(methods))
    label = f"{similarity_name(similarity)}, {view} view"
    figure.text(0.08 / width, 0.5, label, rotation=90, va="center", fontsize=8)
    _key(figure, part)
    return figure


def curve_panel(axes: Axes, part: pd.DataFrame) -> None:
    """Draw one method: similarity with its interval, chance, and the ceiling."""
    x, ceiling = part["stage_index"], float(part["A"].mean())
    axes.axhline(ceiling, color=ORANGE, linewidth=0.9, linestyle=(0, (1, 1.4)))
    axes.plot(x, part["C"], color=GREY, linestyle=(0, (4, 2)), linewidth=1.2)
    axes.fill_between(x, part["S_low"], part["S_high"], color=BLUE, alpha=0.2, linewidth=0)
    known = part[part["S_low"].notna()]  # one draw gives no interval
    axes.vlines(known["stage_index"], known["S_low"], known["S_high"], color=BLUE, linewidth=0.7)
    axes.plot([0, *x], [ceiling, *part["S"]], color=BLUE, linewidth=1.3, marker=".", markersize=3)


def _frame(axes: Axes, part: Part, low: float, *, left: bool, lowest: bool) -> None:
    """Give a panel the scale of all, and names at the outer edges only."""
    last = len(part.stages)
    axes.set_xlim(-0.04 * last, 1.04 * last)
    axes.set_ylim(low - 0.03, 1.04)
    rules = [value for value in (-1.0, -0.5, 0.0, 0.5, 1.0) if value >= low]
    axes.hlines(rules, 0, last, color=GREY, linewidth=0.3, zorder=0)
    for place in marked_stages(part):
        axes.axvline(place, color=GREY, linewidth=0.5, alpha=0.7, zorder=0)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    if left:
        axes.set_yticks(rules)
    if lowest:
        _name_stages(axes, part)


def _name_stages(axes: Axes, part: Part) -> None:
    """Name the stages, every second or third of them where there are many."""
    names = [state_name(part.states[0]), *(printable(stage) for stage in part.stages)]
    short = [name if len(name) <= 14 else f"{name[:13]}…" for name in names]
    step = max(1, math.ceil(len(names) / 9))
    axes.set_xticks(range(0, len(names), step), short[::step], rotation=60, ha="right", fontsize=6)


def _key(figure: Figure, part: Part) -> None:
    entries: tuple[tuple[str, str, Any], ...] = (
        ("similarity to the reference map", BLUE, "-"),
        ("chance: maps of other images", GREY, (0, (4, 2))),
        ("ceiling: the reference explained again", ORANGE, (0, (1, 1.4))),
    )
    lines = [Line2D([], [], color=c, linestyle=s, linewidth=1.3, label=n) for n, c, s in entries]
    figure.legend(
        handles=lines, loc="upper center", ncols=3, frameon=False, fontsize=6.5, labelcolor=INK
    )
    figure.text(
        0.99,
        0.012,
        _foot(part),
        ha="right",
        color=MUTED,
        fontsize=6,
    )


def _foot(part: Part) -> str:
    """Say what the upright lines are."""
    marked = marked_stages(part)
    named = [line.name for line in part.record.lines if part.stages.index(line.stage) + 1 in marked]
    upright = f"; upright line: {', '.join(map(printable, named))}" if named else ""
    return f"bands: 90 % intervals{upright}"

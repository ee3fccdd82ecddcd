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
from salsanity.report.figures.style import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    USUAL,
    Look,
    blank_axes,
    root,
    styled,
)
from salsanity.report.folder import Part
from salsanity.report.terms import printable, similarity_name, state_name

PANEL: Final = (1.75, 1.5)
"""Inches of a panel with its share of the space between."""

GAP: Final = (0.2, 0.35)
LEFT: Final = 0.55
TOP: Final = 0.55
BOTTOM: Final = 0.45


def curves_figure(
    part: Part,
    *,
    view: str = "absolute",
    similarity: str | None = None,
    columns: int | None = None,
    look: Look = USUAL,
) -> Figure:
    """Draw, for every method, the similarity to the reference map by stage; in axes of the caller's, all in one."""
    if not part.record.is_course:
        raise UsageError(
            "expected a check whose stages follow each other, "
            f"got {printable(part.record.name)}; ask for bars"
        )
    similarity = similarity or part.similarities[0]
    table = part.curves
    table = table[(table["view"] == view) & (table["similarity"] == similarity)]
    chosen = look.chosen(part.methods, part.controls)
    methods = [m for m in chosen if (table["method"] == m).any()]
    if not methods:
        raise UsageError(
            f"expected scores of the {view} view by {similarity}, got none; "
            f"this run has {', '.join(part.views)} and {', '.join(part.similarities)}"
        )
    label = f"{similarity_name(similarity)}, {view} view"
    with styled():
        if look.ax is not None:
            return _overlaid(look.ax, part, table, methods, label, look)
        fitting = max(1, int((look.inches(10) - LEFT - 0.1) / 1.3)) if look.width else 5
        return _panels(part, table, methods, label, columns or fitting, look)


def _overlaid(
    axes: Axes, part: Part, table: pd.DataFrame, methods: list[str], label: str, look: Look
) -> Figure:
    """Draw one line with its band for each method; labels are set for a legend."""
    for k, method in enumerate(methods):
        rows = table[table["method"] == method].sort_values("stage_index")
        color = look.color(method, k, f"C{k % 10}")
        x, start = rows["stage_index"], float(rows["A"].mean())
        axes.fill_between(x, rows["S_low"], rows["S_high"], color=color, alpha=0.2, linewidth=0)
        name = look.name(method, part.names)
        axes.plot([0, *x], [start, *rows["S"]], color=color, marker=".", markersize=3, label=name)
    _frame(axes, part, _lowest(table), left=True, lowest=True)
    axes.set_ylabel(label)
    return root(axes)


def _lowest(table: pd.DataFrame) -> float:
    """Return where the scale ends below: under every similarity, interval and chance."""
    lowest = table[["S", "C", "S_low"]].min().min()  # one image has no chance
    return 0.0 if math.isnan(lowest) else min(0.0, math.floor(lowest * 10) / 10)


def _panels(
    part: Part, table: pd.DataFrame, methods: list[str], label: str, columns: int, look: Look
) -> Figure:
    """Place the panels by hand: layouts and shared axes take most of a second each."""
    columns = min(columns, len(methods))
    rows = math.ceil(len(methods) / columns)
    width = look.inches(PANEL[0] * columns + LEFT + 0.1)
    across = (width - LEFT - 0.1) / columns
    height = PANEL[1] * rows + TOP + BOTTOM + look.head
    figure = Figure(figsize=(width, height))
    low = _lowest(table)
    for k, method in enumerate(methods):
        row, column = divmod(k, columns)
        bottom = height - look.head - TOP - (row + 1) * PANEL[1] + GAP[1]
        inner = across - GAP[0], PANEL[1] - GAP[1]
        axes = blank_axes(figure, LEFT + column * across, bottom, *inner)
        curve_panel(axes, table[table["method"] == method].sort_values("stage_index"), look)
        axes.set_title(look.name(method, part.names))
        _frame(axes, part, low, left=column == 0, lowest=k + columns >= len(methods))
    figure.text(0.08 / width, 0.5, label, rotation=90, va="center", fontsize=8)
    _key(figure, part, look)
    return figure


def curve_panel(axes: Axes, part: pd.DataFrame, look: Look) -> None:
    """Draw one method: similarity with its interval, chance, and the ceiling."""
    x, ceiling = part["stage_index"], float(part["A"].mean())
    BLUE, GREY, ORANGE = (look.color(*of) for of in ROLES)
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


ROLES: Final = (("similarity", 0, BLUE), ("chance", 1, GREY), ("ceiling", 2, ORANGE))
"""What the curves are called where a caller gives them colours, and their usual ones."""


def _key(figure: Figure, part: Part, look: Look) -> None:
    BLUE, GREY, ORANGE = (look.color(*of) for of in ROLES)
    narrow = {"ncols": 1, "fontsize": 5.5, "borderaxespad": 0.1, "labelspacing": 0.1}
    usual = {"ncols": 3, "fontsize": 6.5}
    fitting: Any = usual if figure.get_figwidth() >= 6 else narrow
    entries: tuple[tuple[str, str, Any], ...] = (
        ("similarity to the reference map", BLUE, "-"),
        ("chance: maps of other images", GREY, (0, (4, 2))),
        ("ceiling: the reference explained again", ORANGE, (0, (1, 1.4))),
    )
    lines = [Line2D([], [], color=c, linestyle=s, linewidth=1.3, label=n) for n, c, s in entries]
    figure.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - look.head / figure.get_figheight()),
        frameon=False,
        labelcolor=INK,
        **fitting,
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

"""Similarity curves by stage, with chance and ceiling (P, figure 4)."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from salsanity.errors import UsageError
from salsanity.report.figures.style import BLUE, GREY, INK, MUTED, ORANGE, styled
from salsanity.report.folder import Run
from salsanity.report.terms import method_name, printable, similarity_name

PANEL: Final = (1.75, 1.5)
"""Inches of a panel with its share of the space between."""

LEFT: Final = 0.55
TOP: Final = 0.5
BOTTOM: Final = 0.75


def curves_figure(
    run: Run, *, view: str = "absolute", similarity: str | None = None, columns: int = 5
) -> Figure:
    """Draw, for every method, the similarity to the trained network's map by stage."""
    similarity = similarity or run.similarities[0]
    table = run.curves
    table = table[(table["view"] == view) & (table["similarity"] == similarity)]
    methods = [m for m in (*run.methods, *run.controls) if (table["method"] == m).any()]
    if not methods:
        raise UsageError(
            f"expected scores of the {view} view by {similarity}, got none; "
            f"this run has {', '.join(run.views)} and {', '.join(run.similarities)}"
        )
    with styled():
        return _panels(run, table, methods, view, similarity, columns)


def _panels(
    run: Run, table: pd.DataFrame, methods: list[str], view: str, similarity: str, columns: int
) -> Figure:
    columns = min(columns, len(methods))
    rows = math.ceil(len(methods) / columns)
    width, height = PANEL[0] * columns + LEFT, PANEL[1] * rows + TOP + BOTTOM
    figure = Figure(figsize=(width, height))
    # set by hand: a constrained layout draws everything twice and takes minutes for many panels
    places = {"left": LEFT / width, "right": 1 - 0.1 / width, "wspace": 0.12, "hspace": 0.32}
    places |= {"bottom": BOTTOM / height, "top": 1 - TOP / height}
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(**places)
    low = min(0.0, math.floor(table["S"].min() * 10) / 10)
    for axes, method in zip(grid.flat, methods, strict=False):
        curve_panel(axes, table[table["method"] == method].sort_values("stage_index"))
        axes.set_title(method_name(method))
        axes.set_ylim(low - 0.03, 1.04)
    for axes in grid.flat[len(methods) :]:
        axes.set_visible(False)
    _stage_ticks(run, grid, len(methods), columns)
    label = f"{similarity_name(similarity)}, {view} view"
    figure.text(0.08 / width, 0.5, label, rotation=90, va="center", fontsize=8)
    _key(figure)
    return figure


def curve_panel(axes: Axes, part: pd.DataFrame) -> None:
    """Draw one method: similarity with its interval, chance, and the ceiling."""
    x, ceiling = part["stage_index"], float(part["A"].iloc[0])
    axes.axhline(ceiling, color=ORANGE, linewidth=0.9, linestyle=(0, (1, 1.4)))
    axes.plot(x, part["C"], color=GREY, linestyle=(0, (4, 2)), linewidth=1.2)
    axes.fill_between(x, part["S_low"], part["S_high"], color=BLUE, alpha=0.2, linewidth=0)
    axes.errorbar(x, part["S"], _reach(part), fmt="none", ecolor=BLUE, elinewidth=0.7, capsize=1.2)
    axes.plot([0, *x], [ceiling, *part["S"]], color=BLUE, linewidth=1.3, marker=".", markersize=3)
    axes.spines[["top", "right"]].set_visible(False)


def _reach(part: pd.DataFrame) -> np.ndarray:
    """Return the interval's distances below and above S; 0 where one draw gives no interval."""
    ends = np.abs(np.stack([part["S"] - part["S_low"], part["S_high"] - part["S"]]))
    reach: np.ndarray = np.nan_to_num(ends)
    return reach


def _stage_ticks(run: Run, grid: object, count: int, columns: int) -> None:
    """Name the stages under the lowest panel of each column."""
    names = ["trained", *(printable(stage) for stage in run.stages)]
    flat = list(grid.flat)  # type: ignore[attr-defined]
    for k, axes in enumerate(flat[:count]):
        step = max(1, math.ceil(len(names) / 9))
        axes.set_xticks(range(0, len(names), step), names[::step], rotation=60, ha="right")
        axes.tick_params(axis="x", labelbottom=k + columns >= count, labelsize=6)


def _key(figure: Figure) -> None:
    entries: tuple[tuple[str, str, Any], ...] = (
        ("similarity to the trained network's map", BLUE, "-"),
        ("chance: another image's map", GREY, (0, (4, 2))),
        ("ceiling: the trained network explained again", ORANGE, (0, (1, 1.4))),
    )
    lines = [Line2D([], [], color=c, linestyle=s, linewidth=1.3, label=n) for n, c, s in entries]
    figure.legend(
        handles=lines, loc="upper center", ncols=3, frameon=False, fontsize=6.5, labelcolor=INK
    )
    figure.text(0.99, 0.012, "bands: 90 % intervals", ha="right", color=MUTED, fontsize=6)

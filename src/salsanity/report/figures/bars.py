"""Bars of similarity by stage, where stages do not follow each other (P, figure 6)."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salsanity.errors import UsageError
from salsanity.report.figures.style import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    USUAL,
    Look,
    root,
    styled,
)
from salsanity.report.folder import Part
from salsanity.report.terms import measured, printable, similarity_name, stage_words

COLOURS: Final = (BLUE, ORANGE, GREY, MUTED)
"""Colours of the stages; more stages share them in turn."""


def bars_figure(
    part: Part, *, similarity: str | None = None, view: str | None = None, look: Look = USUAL
) -> Figure:
    """Draw, per view and method, how alike maps are at each stage; in axes of the caller's, one view."""
    if part.record.is_course:
        raise UsageError(
            f"expected a check whose stages do not follow each other, got {printable(part.record.name)}; ask for curves"
        )
    similarity = similarity or part.similarities[0]
    table = part.curves
    table = table[table["similarity"] == similarity]
    chosen = look.chosen(part.methods, part.controls)
    methods = [m for m in chosen if (table["method"] == m).any()]
    views = (view,) if view else part.judged_views
    with styled():
        if look.ax is not None:
            _axes_of(look.ax, part, table, methods, views[-1], look)
            return root(look.ax)
        width = look.inches(0.5 * len(methods) + 1.2)
        height = 1.9 * len(views) + 1.3 + look.head
        figure = Figure(figsize=(width, height))
        panels = figure.subplots(len(views), 1, sharex=True, sharey=True, squeeze=False)
        places = {"left": 0.75 / width, "right": 1 - 0.1 / width, "hspace": 0.12}
        figure.subplots_adjust(**places, bottom=0.95 / height, top=1 - (0.4 + look.head) / height)
        for axes, one in zip(panels[:, 0], views, strict=True):
            _axes_of(axes, part, table, methods, one, look)
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(),
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - look.head / height),
            ncols=3,
            frameon=False,
            labelcolor=INK,
        )
        return figure


def _axes_of(
    axes: Axes, part: Part, table: pd.DataFrame, methods: list[str], view: str, look: Look
) -> None:
    similarity = table["similarity"].iloc[0] if len(table) else ""
    _bars(axes, part, table[table["view"] == view], methods, look)
    axes.set_ylabel(f"{similarity_name(similarity)}, {view}")
    names = [look.name(m, part.names) for m in methods]
    axes.set_xticks(range(len(methods)), names, rotation=35, ha="right")


def _bars(axes: Axes, part: Part, table: pd.DataFrame, methods: list[str], look: Look) -> None:
    places, stages = np.arange(len(methods)), _measured(part, table)
    width = 0.76 / max(1, len(stages))
    for k, stage in enumerate(stages):
        rows = table[table["stage"] == stage].set_index("method").reindex(methods)
        at = places + (k - (len(stages) - 1) / 2) * width
        label = stage_words(part.record, stage)
        color = look.color(stage, k, COLOURS[k % len(COLOURS)])
        axes.bar(at, rows["S"], 0.95 * width, color=color, label=label)
        known = rows["S_low"].notna().to_numpy()  # a single column gives no interval
        axes.vlines(
            at[known], rows["S_low"][known], rows["S_high"][known], color=INK, linewidth=1.1
        )
    decisive = part.record.lines[0].stage if part.record.lines else stages[-1]
    chance = table[table["stage"] == decisive].set_index("method").reindex(methods)["C"]
    ends, beside = (places - 0.4, places + 0.4), measured(part.record).beside
    axes.hlines(chance, *ends, color=INK, linewidth=1.2, linestyle=":", label=beside)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _measured(part: Part, table: pd.DataFrame) -> list[str]:
    return [stage for stage in part.stages if (table["stage"] == stage).any()]

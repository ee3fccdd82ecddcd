"""The data randomisation test: maps of true and permuted networks, bars (P, figures 5 and 6)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salsanity.errors import UsageError
from salsanity.report.figures.grids import states_figure
from salsanity.report.figures.style import BLUE, INK, MUTED, ORANGE, styled
from salsanity.report.folder import Run
from salsanity.report.terms import method_name, similarity_name


def labels_figure(run: Run, *, view: str = "absolute", image: int = 0) -> Figure:
    """Draw the maps of networks trained on true and on permuted labels, for one image."""
    _require_labels(run)
    return states_figure(run, view=view, image=image)


def bars_figure(run: Run, *, similarity: str | None = None) -> Figure:
    """Draw, per view and method, how alike maps of true-true and true-permuted networks are."""
    _require_labels(run)
    similarity = similarity or run.similarities[0]
    table = run.curves
    table = table[table["similarity"] == similarity]
    methods = [m for m in (*run.methods, *run.controls) if (table["method"] == m).any()]
    with styled():
        width, height = 0.5 * len(methods) + 1.2, 1.9 * len(run.views) + 1.3
        figure = Figure(figsize=(width, height))
        panels = figure.subplots(len(run.views), 1, sharex=True, sharey=True, squeeze=False)
        places = {"left": 0.75 / width, "right": 1 - 0.1 / width, "hspace": 0.12}
        figure.subplots_adjust(**places, bottom=0.95 / height, top=1 - 0.4 / height)
        for axes, view in zip(panels[:, 0], run.views, strict=True):
            _bars(axes, table[table["view"] == view], methods)
            axes.set_ylabel(f"{similarity_name(similarity)}, {view}")
        names = [method_name(m) for m in methods]
        panels[-1, 0].set_xticks(range(len(methods)), names, rotation=35, ha="right")
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(),
            loc="upper center",
            ncols=3,
            frameon=False,
            labelcolor=INK,
        )
        return figure


def _require_labels(run: Run) -> None:
    if not run.is_labels:
        raise UsageError(
            "expected a run of the data randomisation test (salsanity labels), "
            f"got {run.spec['check']}; ask for one of: methods, cascade, curves"
        )


def _bars(axes: Axes, table: pd.DataFrame, methods: list[str]) -> None:
    places = np.arange(len(methods))
    for kind, stage, shift, colour in (
        ("true", "TT", -0.19, BLUE),
        ("permuted", "TP", 0.19, ORANGE),
    ):
        part = table[table["stage"] == stage].set_index("method").reindex(methods)
        label = f"true against {kind} labels"
        axes.bar(places + shift, part["S"], 0.36, color=colour, label=label)
        known = part["S_low"].notna().to_numpy()  # one pair of networks gives no interval
        ends = part["S_low"][known], part["S_high"][known]
        axes.vlines(places[known] + shift, *ends, color=INK, linewidth=1.1)
    chance = table[table["stage"] == "TP"].set_index("method").reindex(methods)["C"]
    axes.hlines(
        chance, places - 0.4, places + 0.4, color=INK, linewidth=1.2, linestyle=":", label="chance"
    )
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)

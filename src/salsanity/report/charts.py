"""Numbers turned into places on the page: bars of verdicts, curves by stage, bars of labels."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from salsanity.records import Verdict
from salsanity.report.folder import Run
from salsanity.report.terms import decimals, method_name, similarity_name, state_name

BAR_WIDTH: Final = 240.0
BAR_DOMAIN: Final = (-0.12, 1.12)
PANEL_WIDTH: Final = 260.0
PANEL_HEIGHT: Final = 132.0
MARGINS: Final = (30.0, 8.0, 8.0, 20.0)
"""Left, right, top and bottom of a panel."""


@dataclass(frozen=True)
class Lane:
    """One retained similarity on the line from 0 = chance to 1 = nothing changed."""

    stage: str
    value: str
    interval: str
    threshold: str
    x: float | None
    low: float
    high: float
    line: float
    below: bool
    above: bool
    """Whether the interval goes on beyond what is drawn."""


def lanes(run: Run, cell: Verdict) -> list[Lane]:
    """Return the lanes of a cell: full and half, or the one of the label test."""
    names = {"full": "kept" if run.is_labels else "full", "half": "half"}
    values = {"full": (cell.retained_full, cell.retained_full_ci)}
    if not run.is_labels:
        values["half"] = (cell.retained_half, cell.retained_half_ci)
    limits = run.thresholds
    return [
        _lane(names[stage], value, interval, limits[stage])
        for stage, (value, interval) in values.items()
        if value == value or stage == "full"
    ]


def _lane(stage: str, value: float, interval: tuple[float, float], limit: float) -> Lane:
    low, high = (value if bound != bound else bound for bound in interval)
    known = interval[0] == interval[0]
    return Lane(
        stage=stage,
        value=decimals(value),
        interval=f"{decimals(low)} to {decimals(high)}" if known else "no interval",
        threshold=f"{limit:g}",
        x=bar_x(value) if value == value else None,
        low=bar_x(low),
        high=bar_x(high),
        line=bar_x(limit),
        below=low < BAR_DOMAIN[0],
        above=high > BAR_DOMAIN[1],
    )


def bar_x(value: float) -> float:
    """Return where a retained similarity lies; what is outside goes to the edge."""
    low, high = BAR_DOMAIN
    inside = min(max(value, low), high) if value == value else 0.0
    return round((inside - low) / (high - low) * BAR_WIDTH, 1)


@dataclass(frozen=True)
class Point:
    """One stage on a curve."""

    x: float
    y: float
    low: float
    high: float
    banded: bool
    text: str


@dataclass(frozen=True)
class Panel:
    """The curve of one method, one view and one similarity."""

    method: str
    points: list[Point]
    line: str
    chance: str
    band: str
    ceiling: float
    ceiling_text: str
    summary: str


@dataclass(frozen=True)
class CurveGroup:
    """The panels of one view and one similarity, on one scale."""

    view: str
    similarity: str
    similarity_name: str
    ticks: list[tuple[float, str]]
    stages: list[tuple[float, str]]
    half: float | None
    panels: list[Panel]


def curve_groups(run: Run) -> list[CurveGroup]:
    """Return the curves of a run, by view and similarity, methods first."""
    table = run.curves
    groups = []
    for similarity in run.similarities:
        for view in reversed(run.views):
            part = table[(table["view"] == view) & (table["similarity"] == similarity)]
            if part["S"].notna().any():
                groups.append(_group(run, part, view, similarity))
    return groups


def _group(run: Run, part: pd.DataFrame, view: str, similarity: str) -> CurveGroup:
    scale = Scale(low=_floor(part), states=len(run.stages) + 1)
    methods = [m for m in (*run.methods, *run.controls) if (part["method"] == m).any()]
    half = run.spec.get("half")
    return CurveGroup(
        view=view,
        similarity=similarity,
        similarity_name=similarity_name(similarity),
        ticks=[(scale.y(v), f"{v:g}".replace("-", "−")) for v in scale.ticks()],
        stages=[(scale.x(k), name) for k, name in _stage_marks(run)],
        half=scale.x(run.stages.index(half) + 1) if half in run.stages else None,
        panels=[
            _panel(m, part[part["method"] == m].sort_values("stage_index"), scale) for m in methods
        ],
    )


def _floor(part: pd.DataFrame) -> float:
    columns = ["S", "C"]
    return min(0.0, max(-1.0, math.floor(float(part[columns].min().min()) * 5) / 5))


def _stage_marks(run: Run) -> list[tuple[int, str]]:
    """Number the stages; with many, only some of them."""
    last = len(run.stages)
    step = 1 if last <= 9 else 2 if last <= 18 else math.ceil(last / 8)
    return [(k, str(k)) for k in range(0, last + 1, step)]


@dataclass(frozen=True)
class Scale:
    """From stage numbers and similarities to places in a panel."""

    low: float
    states: int

    def x(self, stage: float) -> float:
        """Return the place of a stage; 0 is the trained network."""
        left, right, _, _ = MARGINS
        share = stage / max(1, self.states - 1)
        return round(left + share * (PANEL_WIDTH - left - right), 1)

    def y(self, value: float) -> float:
        """Return the place of a similarity; 1 is at the top."""
        _, _, top, bottom = MARGINS
        inside = min(max(value, self.low), 1.05)
        share = (1.05 - inside) / (1.05 - self.low)
        return round(top + share * (PANEL_HEIGHT - top - bottom), 1)

    def ticks(self) -> list[float]:
        """Return the similarities that are named on the axis."""
        return [v for v in (-1.0, -0.5, 0.0, 0.5, 1.0) if v >= self.low]


def _panel(method: str, part: pd.DataFrame, scale: Scale) -> Panel:
    known = part[part["S"].notna()]
    points = [_point(row, scale) for row in known.to_dict("records")]
    ceiling = float(part["A"].mean())
    start = f"{scale.x(0)},{scale.y(ceiling)}"
    last = known.iloc[-1] if len(known) else None
    ends = "no score is defined" if last is None else _ending(last)
    return Panel(
        method=method,
        points=points,
        line=" ".join([start, *(f"{p.x},{p.y}" for p in points)]),
        chance=" ".join(
            f"{scale.x(k)},{scale.y(c)}"
            for k, c in zip(known["stage_index"], known["C"], strict=True)
            if c == c
        ),
        band=_band(points),
        ceiling=scale.y(ceiling),
        ceiling_text=decimals(ceiling),
        summary=f"{method_name(method)}: {ends}",
    )


def _ending(row: pd.Series) -> str:
    return (
        f"similarity {decimals(row['S'])} at the last stage {state_name(row['stage'])}, "
        f"chance {decimals(row['C'])}, ceiling {decimals(row['A'])}"
    )


def _point(row: Mapping[Hashable, Any], scale: Scale) -> Point:
    s, low, high = float(row["S"]), float(row["S_low"]), float(row["S_high"])
    banded = low == low
    interval = f" ({decimals(low)} to {decimals(high)})" if banded else ""
    return Point(
        x=scale.x(float(row["stage_index"])),
        y=scale.y(s),
        low=scale.y(low if banded else s),
        high=scale.y(high if banded else s),
        banded=banded,
        text=f"{state_name(str(row['stage']))}: {decimals(s)}{interval}, "
        f"chance {decimals(float(row['C']))}; images {row['n_images']}, draws {row['n_draws']}",
    )


def _band(points: Sequence[Point]) -> str:
    """Return the outline of the interval where every stage has one; else whiskers are drawn."""
    if len(points) < 2 or not all(p.banded for p in points):
        return ""
    upper = [f"{p.x},{p.high}" for p in points]
    lower = [f"{p.x},{p.low}" for p in reversed(points)]
    return " ".join(upper + lower)


@dataclass(frozen=True)
class LabelBar:
    """How alike the maps of true and true, and of true and permuted networks are."""

    method: str
    chance: float
    rows: list[tuple[str, float, float, float, str]]
    """Kind, end, low and high of the interval (places), and the numbers as text."""


@dataclass(frozen=True)
class LabelGroup:
    """The bars of one view and one similarity."""

    view: str
    similarity: str
    similarity_name: str
    zero: float
    one: float
    bars: list[LabelBar]


def label_groups(run: Run) -> list[LabelGroup]:
    """Return the bars of the data randomisation test."""
    table = run.curves
    groups = []
    for similarity in run.similarities:
        for view in reversed(run.views):
            part = table[(table["view"] == view) & (table["similarity"] == similarity)]
            methods = [m for m in (*run.methods, *run.controls) if (part["method"] == m).any()]
            bars = [_label_bar(m, part[part["method"] == m]) for m in methods]
            name = similarity_name(similarity)
            groups.append(LabelGroup(view, similarity, name, bar_x(0), bar_x(1), bars))
    return groups


KINDS: Final = {"TT": "true and true labels", "TP": "true and permuted labels"}


def _label_bar(method: str, part: pd.DataFrame) -> LabelBar:
    rows, chance = [], math.nan
    for row in part.to_dict("records"):
        s, low, high = row["S"], row["S_low"], row["S_high"]
        chance = row["C"] if row["stage"] == "TP" else chance
        known = low == low
        text = decimals(s) + (f" ({decimals(low)} to {decimals(high)})" if known else "")
        ends = (low, high) if known else (s, s)
        rows.append((str(row["stage"]), bar_x(s), bar_x(ends[0]), bar_x(ends[1]), text))
    order = {"TT": 0, "TP": 1}
    return LabelBar(method, bar_x(chance), sorted(rows, key=lambda r: order.get(r[0], 2)))

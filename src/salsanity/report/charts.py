"""Numbers turned into places on the page: bars of verdicts, curves over stages, bars by stage."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from salsanity.records import Kept, Line, Must, Verdict
from salsanity.report.folder import Part
from salsanity.report.terms import (
    decimals,
    limit,
    measured,
    method_name,
    printable,
    similarity_name,
    stage_words,
    state_name,
)
from salsanity.report.worst import beyond, worst_first

BAR_WIDTH: Final = 240.0
BAR_DOMAIN: Final = (-0.12, 1.12)
PANEL_WIDTH: Final = 260.0
PANEL_HEIGHT: Final = 132.0
MARGINS: Final = (30.0, 8.0, 8.0, 20.0)
"""Left, right, top and bottom of a panel."""


@dataclass(frozen=True)
class Lane:
    """One number on its scale, for a retained similarity from 0 = chance to 1 = nothing changed.

    `wrong`: from where to where a method fails. `limit`: the threshold in words. Both, and `line`, are None for a measurement
    without a verdict.
    """

    name: str
    words: str
    value: str
    interval: str
    limit: str | None
    x: float | None
    low: float
    high: float
    line: float | None
    wrong: tuple[float, float] | None
    below: bool
    above: bool
    """Whether the interval goes on beyond what is drawn."""

    beyond: float
    """How far the value lies on the wrong side of the line."""


def lanes(part: Part, cell: Verdict) -> list[Lane]:
    """Return the lanes of a cell: one for each line at which something was measured, the first always."""
    return [
        lane_of(part, kept)
        for k, kept in enumerate(cell.kept)
        if kept.retained == kept.retained or k == 0
    ]


def lane_of(part: Part, kept: Kept) -> Lane:
    """Return the lane of what was measured at one line."""
    lines = {line.name: line for line in part.record.lines}
    what = measured(part.record)
    name = what.name.lower() if len(lines) == 1 else printable(kept.line)
    return _lane(name, lines.get(kept.line), kept, is_judged=what.is_judged)


def _lane(name: str, line: Line | None, kept: Kept, *, is_judged: bool) -> Lane:
    value = kept.retained
    low, high = (value if bound != bound else bound for bound in kept.retained_ci)
    known = kept.retained_ci[0] == kept.retained_ci[0]
    return Lane(
        name=name,
        words=printable(line.words) if line else "",
        value=decimals(value),
        interval=f"{decimals(low)} to {decimals(high)}" if known else "no interval",
        limit=limit(kept) if is_judged else None,
        x=bar_x(value) if value == value else None,
        low=bar_x(low),
        high=bar_x(high),
        line=bar_x(kept.threshold) if is_judged else None,
        wrong=_wrong(kept.threshold, kept.must) if is_judged else None,
        below=low < BAR_DOMAIN[0],
        above=high > BAR_DOMAIN[1],
        beyond=beyond(kept),
    )


def _wrong(threshold: float, must: Must) -> tuple[float, float]:
    """Return where a method fails: above the line of what must change, below that of what must stay."""
    return (bar_x(threshold), BAR_WIDTH) if must == "change" else (0.0, bar_x(threshold))


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
    ceiling: float | None
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
    lines: list[float]
    """Where stages lie at which a line decides, but for the last stage."""

    panels: list[Panel]


def curve_groups(part: Part) -> list[CurveGroup]:
    """Return the curves of a check, by view and similarity, methods first; none where stages do not follow each other."""
    if not part.record.is_course:
        return []
    return [
        _group(part, table, view, similarity)
        for similarity, view, table in _tables(part)
        if table["S"].notna().any()
    ]


def _tables(part: Part) -> Iterator[tuple[str, str, pd.DataFrame]]:
    table = part.curves
    for similarity in part.similarities:
        for view in reversed(part.views):
            yield (
                similarity,
                view,
                table[(table["view"] == view) & (table["similarity"] == similarity)],
            )


def _group(part: Part, table: pd.DataFrame, view: str, similarity: str) -> CurveGroup:
    scale = Scale(low=_floor(table), states=len(part.stages) + 1)
    return CurveGroup(
        view=view,
        similarity=similarity,
        similarity_name=similarity_name(similarity),
        ticks=[(scale.y(v), f"{v:g}".replace("-", "−")) for v in scale.ticks()],
        stages=[(scale.x(k), name) for k, name in _stage_marks(part)],
        lines=[scale.x(k) for k in marked_stages(part)],
        panels=[
            _panel(part, m, table[table["method"] == m].sort_values("stage_index"), scale)
            for m in _present(part, table)
        ],
    )


def _present(part: Part, table: pd.DataFrame) -> list[str]:
    return [m for m in (*worst_first(part), *part.controls) if (table["method"] == m).any()]


def marked_stages(part: Part) -> list[int]:
    """Return the positions of stages at which a line decides, but for the last stage; 0 is the reference."""
    places = {
        part.stages.index(line.stage) + 1 for line in part.record.lines if line.stage in part.stages
    }
    return sorted(places - {len(part.stages)})


def has_few(part: Part) -> bool:
    """Say whether some stages were measured for one draw alone, others for several."""
    draws = part.curves["n_draws"]
    return part.record.is_course and len(draws) > 0 and bool(draws.min() <= 1 < draws.max())


def _floor(table: pd.DataFrame) -> float:
    """Return the lower end of the scale: below every similarity, its interval and chance."""
    lowest = table[["S", "C", "S_low"]].min().min()
    return min(0.0, max(-1.0, math.floor(float(lowest) * 5) / 5))


def _stage_marks(part: Part) -> list[tuple[int, str]]:
    """Number the stages; with many, only some of them."""
    last = len(part.stages)
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


def _panel(part: Part, method: str, table: pd.DataFrame, scale: Scale) -> Panel:
    known = table[table["S"].notna()]
    points = [_point(row, scale) for row in known.to_dict("records")]
    ceiling = float(table["A"].mean())
    start = [f"{scale.x(0)},{scale.y(ceiling)}"] if ceiling == ceiling else []
    last = known.iloc[-1] if len(known) else None
    ends = "no score is defined" if last is None else _ending(last)
    return Panel(
        method=method,
        points=points,
        line=" ".join([*start, *(f"{p.x},{p.y}" for p in points)]),
        chance=" ".join(
            f"{scale.x(k)},{scale.y(c)}"
            for k, c in zip(known["stage_index"], known["C"], strict=True)
            if c == c
        ),
        band=_band(points),
        ceiling=scale.y(ceiling) if ceiling == ceiling else None,
        ceiling_text=decimals(ceiling),
        summary=f"{part.names.get(method) or method_name(method)}: {ends}",
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
class StageBar:
    """How alike maps are at one stage: the ends of its bar and of its interval (places), and the numbers as text."""

    colour: int
    end: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class MethodBars:
    """The bars of one method, and chance at the stage that the first line speaks of."""

    method: str
    chance: float | None
    bars: list[StageBar]


@dataclass(frozen=True)
class BarGroup:
    """The bars of one view and one similarity."""

    view: str
    similarity: str
    similarity_name: str
    zero: float
    one: float
    methods: list[MethodBars]


COLOURS: Final = 4
"""Colours of bars; more stages share them in turn."""


def bar_groups(part: Part) -> list[BarGroup]:
    """Return the bars of a check whose stages do not follow each other; none of another."""
    if part.record.is_course:
        return []
    return [
        BarGroup(
            view=view,
            similarity=similarity,
            similarity_name=similarity_name(similarity),
            zero=bar_x(0),
            one=bar_x(1),
            methods=[
                _method_bars(part, m, table[table["method"] == m]) for m in _present(part, table)
            ],
        )
        for similarity, view, table in _tables(part)
        if len(table)
    ]


def bar_legend(part: Part) -> list[tuple[int, str]]:
    """Return the colour and the words of each stage that has bars."""
    measured = set(part.curves["stage"])
    return [
        (k % COLOURS, stage_words(part.record, name))
        for k, name in enumerate(part.stages)
        if name in measured
    ]


def _method_bars(part: Part, method: str, table: pd.DataFrame) -> MethodBars:
    decisive = part.record.lines[0].stage if part.record.lines else part.stages[-1]
    chance = table.loc[table["stage"] == decisive, "C"].mean()
    rows = table.sort_values("stage_index").to_dict("records")
    return MethodBars(
        method=method,
        chance=bar_x(chance) if chance == chance else None,
        bars=[_stage_bar(part, row) for row in rows if row["stage"] in part.stages],
    )


def _stage_bar(part: Part, row: Mapping[Hashable, Any]) -> StageBar:
    s, low, high = (float(row[name]) for name in ("S", "S_low", "S_high"))
    known = low == low
    text = decimals(s) + (f" ({decimals(low)} to {decimals(high)})" if known else "")
    ends = (low, high) if known else (s, s)
    colour = part.stages.index(str(row["stage"])) % COLOURS
    return StageBar(colour, bar_x(s), bar_x(ends[0]), bar_x(ends[1]), text)

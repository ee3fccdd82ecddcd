"""From rows of scores to (image, draw) tables, whatever the order of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from salsanity.errors import StoreError
from salsanity.records import REFERENCE_STAGE, VIEWS
from salsanity.rows import UNSAID as UNSAID
from salsanity.rows import RowArray, Rows

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CodeArray = NDArray[np.int32]
Place = tuple[str, str, str]
"""A cell: method, view, similarity."""

COLUMNS: Final = (
    "draw",
    "stage",
    "stage_index",
    "image",
    "method",
    "view",
    "similarity",
    "value",
    "chance",
    "reason",
)
SIMILARITIES: Final = ("spearman", "ssim", "hog", "pearson", "cosine")
ROUNDING: Final = 1e-5
KINDS: Final = {"value": "similarity", "chance": "chance", "ceiling": "ceiling"}
NEEDS: Final = tuple(KINDS)
"""The scores that a retained similarity is made of."""
ABSENT: Final = -2
"""Code of a row that is not there."""


@final
@dataclass(frozen=True)
class StageTable:
    """The scores of one cell at one stage: N images by D draws, NaN where a score is undefined."""

    value: FloatArray
    """(N, D) similarity of the reference map and the map at the stage."""
    chance: FloatArray
    """(N, D) similarity of the reference map and other images' maps at the stage."""
    ceiling: FloatArray
    """(N,) similarity of the reference map and the trained network's map explained once more."""
    undefined: Mapping[str, int]
    """Reasons for undefined scores, and how often each occurs."""
    between: FloatArray
    """(N,) similarity of the reference map and the reference maps of other images; NaN where it was not measured."""
    draws: IntArray
    """(D,) numbers of the draws."""

    @property
    def shape(self) -> tuple[int, int]:
        """N images and D draws."""
        return self.value.shape[0], self.value.shape[1]


@final
@dataclass(frozen=True)
class _Cell:
    """The rows of a method in one view and similarity as they came, and their order by stage."""

    rows: RowArray
    order: CodeArray
    ends: IntArray
    """Where the rows of each stage, by its place, end in `order`."""

    @classmethod
    def of(cls, rows: RowArray) -> _Cell:
        """Order rows: to sort them would hold them twice."""
        stage = rows["stage"]
        order = np.argsort(stage, kind="stable").astype(np.int32)  # fast: they are small numbers
        return cls(rows, order, np.cumsum(np.bincount(stage)))

    def at(self, stage: int) -> CodeArray:
        """Return where the rows of a stage are."""
        if not 0 <= stage < len(self.ends):
            return self.order[:0]
        return self.order[self.ends[stage - 1] if stage else 0 : self.ends[stage]]


@final
@dataclass(frozen=True)
class _Survey:
    """The cells of a method; which images it has at each stage, in whatever cell, and which draws."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    images: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    draws: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def note(self, stage: str, images: CodeArray, draws: CodeArray) -> None:
        """Take in the images and draws of a cell at a stage."""
        for seen, codes in ((self.images, images), (self.draws, draws)):
            seen[stage] = _either(seen.get(stage, NONE), _occur(codes))


@final
@dataclass(frozen=True)
class Scores:
    """Rows of scores of a check, of which no more than a cell's are held at a time; made by `read_scores`."""

    rows: Rows
    check: str
    stages: Mapping[str, int]
    """Stages other than `self` and their index, in the order of the index."""
    _last: dict[Any, StageTable] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """The table that was made last: the figures ask twice."""
    _cells: dict[Place, _Cell] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The cell that was read last."""
    _surveys: dict[str, _Survey] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What the method has that was asked for last."""

    @property
    def methods(self) -> list[str]:
        """The methods that have rows, sorted."""
        return self.rows.methods(self.check)

    def cells(self, method: str) -> list[tuple[str, str]]:
        """Return the (view, similarity) pairs that have rows for `method`, signed ones first."""
        found = self._survey(method).pairs
        return sorted(found, key=lambda p: (*_place(p[0], VIEWS), *_place(p[1], SIMILARITIES)))

    def table(
        self,
        place: Place,
        stage: str,
        *,
        beside: tuple[str, ...] = (),
        needs: Collection[str] = NEEDS,
    ) -> StageTable:
        """Return the table of one cell at one stage.

        Its images and draws are all that the method has at that stage in any cell, so a score
        that is missing counts as undefined. Images of the stages `beside` count too, so that the
        rows of their tables are the same images. `needs`: the scores whose absence is counted as undefined.
        """
        asked = (place, stage, beside, tuple(needs))
        if asked not in self._last:
            self._last.clear()
            self._last[asked] = self._table(place, stage, beside, needs)
        return self._last[asked]

    def _table(
        self, place: Place, stage: str, beside: tuple[str, ...], needs: Collection[str]
    ) -> StageTable:
        method = place[0]
        images = self._images(method, (stage, *beside))
        draws = _Places.of(self._survey(method).draws.get(stage, NONE))
        ceiling, between, ceiling_said = self._ceiling(place, images)
        column = self._columns(place, stage)
        at = (images.of_codes[column("image")], draws.of_codes[column("draw")])
        shape, where = (len(images.codes), len(draws.codes)), f"{method} at stage {stage}"
        value = _filled(shape, at, column("value"), where)
        chance = _filled(shape, at, column("chance"), where)
        said = np.full(shape, ABSENT, dtype=np.int32)
        said[at] = column("reason")
        ceiling_codes = np.broadcast_to(ceiling_said[:, None], shape)
        scores = {
            "value": (value, said),
            "chance": (chance, said),
            "ceiling": (np.broadcast_to(ceiling[:, None], shape), ceiling_codes),
        }
        undefined = self._undefined({name: scores[name] for name in NEEDS if name in needs})
        return StageTable(value, chance, ceiling, undefined, between, draws.codes)

    def _images(self, method: str, stages: tuple[str, ...]) -> _Places:
        """Return the images that a method has at some stages in any cell, in the order of their ids."""
        seen = self._survey(method).images
        found = reduce(_either, [seen.get(stage, NONE) for stage in stages])
        ranks = self.rows.ranks("image")
        return _Places.of(_either(found, np.zeros(len(ranks), dtype=bool)), ranks)

    def _survey(self, method: str) -> _Survey:
        if method not in self._surveys:
            self._surveys.clear()
            self._surveys[method] = found = _Survey()
            for pair in self.rows.cells(self.check, method):
                self._look_through((method, *pair), found)
        return self._surveys[method]

    def _look_through(self, place: Place, survey: _Survey) -> None:
        cell = self._cell(place)
        orders = {stage: cell.at(self._code(stage)) for stage in (REFERENCE_STAGE, *self.stages)}
        for stage, order in orders.items():
            survey.note(stage, cell.rows["image"][order], cell.rows["draw"][order])
        if any(map(len, orders.values())):
            survey.pairs.append(place[1:])

    def _cell(self, place: Place) -> _Cell:
        if place not in self._cells:
            self._cells.clear()  # before another is read
            self._cells[place] = _Cell.of(self.rows.read_cell(self.check, *place))
        return self._cells[place]

    def _columns(self, place: Place, stage: str) -> Callable[[str], NDArray[Any]]:
        """Return what gives the columns of a cell's rows at a stage, one by one: whole rows would be held twice."""
        cell = self._cell(place)
        order = cell.at(self._code(stage))
        return lambda name: cell.rows[name][order]

    def _code(self, stage: str) -> int:
        return self.rows.names["stage"].get(stage, UNSAID)

    def _ceiling(self, place: Place, images: _Places) -> tuple[FloatArray, FloatArray, CodeArray]:
        """Return each image's ceiling and likeness to other images, means over the networks that have one, and what was said."""
        column = self._columns(place, REFERENCE_STAGE)
        at, draw = images.of_codes[column("image")], column("draw")
        known = at >= 0
        networks = _Places.of(_occur(draw))
        where = (at[known], networks.of_codes[draw[known]])
        shape = (len(images.codes), len(networks.codes))
        ceiling, between = (
            row_means(_filled(shape, where, column(name)[known], f"{place[0]}'s ceiling"))
            for name in ("value", "chance")
        )
        said = np.full(len(images.codes), ABSENT, dtype=np.int32)
        said[where[0]] = column("reason")[known]
        return ceiling, between, said

    def _undefined(self, scores: Mapping[str, tuple[FloatArray, CodeArray]]) -> dict[str, int]:
        """Count why cells are undefined, each by the first of its `scores` (values and what was said) that is."""
        count: Counter[str] = Counter()
        whole: NDArray[np.bool_] | None = None
        for name, (table, said) in scores.items():
            defined = np.isfinite(table)
            missing = ~defined if whole is None else ~defined & whole
            self._count(count, said[missing], f"undefined {KINDS[name]}")
            whole = defined if whole is None else defined & whole
        return dict(sorted(count.items()))

    def _count(self, count: Counter[str], codes: CodeArray, default: str) -> None:
        words, reasons = {UNSAID: default, ABSENT: "missing score"}, self.rows.texts("reason")
        for code, times in zip(*np.unique(codes, return_counts=True), strict=True):
            count[words.get(int(code)) or reasons[int(code)]] += int(times)


@final
@dataclass(frozen=True)
class _Places:
    """Codes that occur, in order, and the place of each code among them (-1: it does not occur)."""

    codes: IntArray
    of_codes: CodeArray

    @classmethod
    def of(cls, occurs: NDArray[np.bool_], ranks: CodeArray | None = None) -> _Places:
        """Number the codes that occur, in their order or that of their `ranks`."""
        if ranks is not None:
            by_code, occurs = occurs, np.empty_like(occurs)
            occurs[ranks] = by_code
        places = np.where(occurs, np.cumsum(occurs) - 1, -1).astype(np.int32)
        return cls(np.flatnonzero(occurs), places if ranks is None else places[ranks])


NONE: Final = np.zeros(0, dtype=bool)


def _occur(codes: CodeArray) -> NDArray[np.bool_]:
    """Say of each code up to the largest whether it occurs."""
    occurs = np.zeros(1 + int(codes.max(initial=-1)), dtype=bool)
    occurs[codes] = True
    return occurs


def _either(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say of each code whether it occurs in one or the other."""
    short, long = sorted((a, b), key=len)
    found = long.copy()
    found[: len(short)] |= short
    return found


def as_rows(scores: pd.DataFrame | Rows) -> Rows:
    """Return rows as they are, or those of a table.

    Raises:
        StoreError: columns of a run folder's scores are absent.
    """
    if isinstance(scores, Rows):
        return scores
    absent = [c for c in COLUMNS if c not in scores.columns]
    if absent:
        raise StoreError(
            f"expected scores with the columns {', '.join(COLUMNS)}; got none of "
            f"{', '.join(absent)}; read them from the scores/ of a run folder"
        )
    return Rows.of(scores)


def read_scores(
    scores: pd.DataFrame | Rows,
    *,
    check: str,
    stages: Collection[str] | None = None,
) -> Scores:
    """Return what reads the rows of `check`, at all `stages` (None) or some.

    Raises:
        StoreError: columns of a run folder's scores are absent.
    """
    rows = as_rows(scores)
    if "check" not in getattr(scores, "columns", ("check",)):  # a table of one check
        check = ""
    first = {
        stage: index
        for (name, stage), index in rows.stage_index.items()
        if name == check and stage != REFERENCE_STAGE and (stages is None or stage in stages)
    }
    return Scores(rows, check, dict(sorted(first.items(), key=lambda item: (item[1], item[0]))))


def _filled(
    shape: tuple[int, ...], place: tuple[CodeArray, ...], scores: FloatArray, where: str
) -> FloatArray:
    """Put `scores` into a table of NaN; two different scores for one place are an error.

    A state that was computed twice may differ by rounding, where a batch was smaller.
    """
    table = np.full(shape, np.nan)
    table[place] = scores
    kept = table[place]
    if np.array_equal(kept, scores, equal_nan=True):  # far faster, and nearly always so
        return table
    if not np.allclose(kept, scores, rtol=0, atol=ROUNDING, equal_nan=True):
        raise StoreError(
            f"expected one score for each image, draw and stage; got two different ones for "
            f"{where}; the scores of two runs are mixed in this folder: use one folder per run"
        )
    return table


def row_means(table: FloatArray) -> FloatArray:
    """Return the mean of each row's finite values; NaN where there is none."""
    finite = np.isfinite(table)
    total, count = np.where(finite, table, 0.0).sum(axis=1), finite.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _place(name: str, known: tuple[str, ...]) -> tuple[int, str]:
    return (known.index(name) if name in known else len(known), name)

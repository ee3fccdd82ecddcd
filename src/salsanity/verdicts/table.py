"""From rows of scores to (image, draw) tables, whatever the order of the rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from salsanity.errors import StoreError
from salsanity.records import REFERENCE_STAGE, VIEWS
from salsanity.rows import UNSAID as UNSAID
from salsanity.rows import RowArray, Rows, joined

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
LOT: Final = 250_000
"""Rows from which on no further method is indexed together with others."""
KEYS: Final = ("method", "stage", "view", "similarity")
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
class Scores:
    """Rows of scores in the order of method, stage, view and similarity; made by `read_scores`."""

    names: Mapping[str, Mapping[str, int]]
    """The values of each key column and their codes, in sorted order."""
    reasons: tuple[str, ...]
    stages: Mapping[str, int]
    """Stages other than `self` and their index, in the order of the index."""
    key: NDArray[Any]
    rows: RowArray
    """As they came: sorting large ones would hold them twice."""
    order: CodeArray
    """The place of each row in `rows`, in the order of `key`."""
    ranks: CodeArray
    """Ranks of images by their codes."""
    _last: dict[Any, StageTable] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """The table that was made last: the figures ask twice."""
    _known: dict[Any, _Places] = field(default_factory=dict, init=False, repr=False, compare=False)

    def cells(self, method: str) -> list[tuple[str, str]]:
        """Return the (view, similarity) pairs that have rows for `method`, signed ones first."""
        pairs = [(v, s) for v in self.names["view"] for s in self.names["similarity"]]
        found = {p for p in pairs for stage in self.names["stage"] if self._has(method, stage, *p)}
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
        method, view, similarity = place
        images = self._places("image", method, (stage, *beside))
        draws = self._places("draw", method, (stage,))
        rows = self._rows(method, stage, view, similarity)
        at = (images.of_codes[self.ranks[rows["image"]]], draws.of_codes[rows["draw"]])
        shape, where = (len(images.codes), len(draws.codes)), f"{method} at stage {stage}"
        value = _filled(shape, at, rows["value"], where)
        chance = _filled(shape, at, rows["chance"], where)
        said = np.full(shape, ABSENT, dtype=np.int32)
        said[at] = rows["reason"]
        ceiling, between, ceiling_said = self._ceiling(place, images)
        ceiling_codes = np.broadcast_to(ceiling_said[:, None], shape)
        scores = {
            "value": (value, said),
            "chance": (chance, said),
            "ceiling": (np.broadcast_to(ceiling[:, None], shape), ceiling_codes),
        }
        undefined = self._undefined({name: scores[name] for name in NEEDS if name in needs})
        return StageTable(value, chance, ceiling, undefined, between, draws.codes)

    def _places(self, column: str, method: str, stages: tuple[str, ...]) -> _Places:
        """Return the images or draws that a method has at some stages in any cell."""
        asked = (column, method, stages)
        if asked not in self._known:
            orders = [self.order[self._span(method, stage)] for stage in stages]
            found = [self.rows[column][order] for order in orders]
            if column == "image":
                found = [self.ranks[codes] for codes in found]
            self._known[asked] = _Places.of(*found)
        return self._known[asked]

    def _ceiling(self, place: Place, images: _Places) -> tuple[FloatArray, FloatArray, CodeArray]:
        """Return each image's ceiling and likeness to other images, means over the networks that have one, and what was said."""
        method, view, similarity = place
        rows = self._rows(method, REFERENCE_STAGE, view, similarity)
        at = images.find(self.ranks[rows["image"]])
        known = at >= 0
        networks = _Places.of(rows["draw"])
        where = (at[known], networks.of_codes[rows["draw"][known]])
        shape = (len(images.codes), len(networks.codes))
        ceiling, between = (
            row_means(_filled(shape, where, rows[column][known], f"{method}'s ceiling"))
            for column in ("value", "chance")
        )
        said = np.full(len(images.codes), ABSENT, dtype=np.int32)
        said[where[0]] = rows["reason"][known]
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
        words = {UNSAID: default, ABSENT: "missing score"}
        for code, times in zip(*np.unique(codes, return_counts=True), strict=True):
            count[words.get(int(code)) or self.reasons[int(code)]] += int(times)

    def _has(self, *names: str) -> bool:
        span = self._span(*names)
        return bool(span.stop > span.start)

    def _rows(self, *names: str) -> RowArray:
        return self.rows.take(self.order[self._span(*names)])

    def _span(self, *names: str) -> slice:
        """Return the span of rows whose first keys are `names`; empty where a name is unknown."""
        low, width = 0, 1
        for column, name in zip(KEYS, names, strict=False):
            if name not in self.names[column]:
                return slice(0, 0)
            low = low * len(self.names[column]) + self.names[column][name]
        for column in KEYS[len(names) :]:
            low, width = low * len(self.names[column]), width * len(self.names[column])
        ends = np.array((low, low + width), dtype=self.key.dtype)  # else all keys are converted
        start, stop = np.searchsorted(self.key, ends)
        return slice(int(start), int(stop))


@final
@dataclass(frozen=True)
class _Places:
    """Codes that occur, in order, and the place of each code among them (-1: it does not occur)."""

    codes: IntArray
    of_codes: CodeArray

    @classmethod
    def of(cls, *codes: CodeArray) -> _Places:
        occurs = np.zeros(1 + max((int(c.max(initial=-1)) for c in codes), default=-1), dtype=bool)
        for some in codes:
            occurs[some] = True
        places = np.where(occurs, np.cumsum(occurs) - 1, -1).astype(np.int32)
        return cls(np.flatnonzero(occurs), places)

    def find(self, codes: CodeArray) -> CodeArray:
        """Return the places of codes that need not occur."""
        known = codes < len(self.of_codes)
        found = np.full(len(codes), -1, dtype=np.int32)
        found[known] = self.of_codes[codes[known]]
        return found


def in_lots(
    scores: pd.DataFrame | Rows, *, check: str, methods: Sequence[str], stages: Collection[str]
) -> Iterator[tuple[list[str], Scores]]:
    """Index the rows of `check` some methods at a time, so that a large run is never indexed as a whole."""
    rows = as_rows(scores)
    lot: list[str] = []
    for number, method in enumerate(methods, 1):
        lot.append(method)
        if number == len(methods) or sum(rows.count(check, name) for name in lot) > LOT:
            yield lot, read_scores(rows, check=check, methods=lot, stages=stages)
            lot = []


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
    methods: Collection[str] | None = None,
    stages: Collection[str] | None = None,
) -> Scores:
    """Index the rows of `check`; `methods` and `stages` (None: all) limit what is read.

    Raises:
        StoreError: columns of a run folder's scores are absent.
    """
    rows = as_rows(scores)
    if "check" not in getattr(scores, "columns", ("check",)):  # a table of one check
        check = ""
    asked = (
        rows.methods(check) if methods is None else [m for m in rows.methods(check) if m in methods]
    )
    return _indexed(rows, check, {method: rows.read(check, method) for method in asked}, stages)


def _indexed(
    rows: Rows, check: str, parts: Mapping[str, RowArray], stages: Collection[str] | None
) -> Scores:
    """Order the rows of some stages by their key, with codes of texts in sorted order; images count in the order of their ids."""
    sizes = [len(found) for found in parts.values()]
    part = next(iter(parts.values())) if len(parts) == 1 else joined([*parts.values()])
    kept = np.arange(len(part), dtype=np.int32)
    if stages is not None:
        places = rows.places("stage", [REFERENCE_STAGE, *stages])
        kept = kept[np.isin(part["stage"], places)]
    key: NDArray[Any] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[kept]
    names = {"method": {m: i for i, m in enumerate(parts)}}
    for column in KEYS[1:]:
        codes, texts = _recoded(rows.texts(column), part[column][kept])
        names[column] = {text: code for code, text in enumerate(texts)}
        key = key * len(texts) + codes
    key = key.astype(np.min_scalar_type(math.prod(len(names[column]) for column in KEYS)))
    order = np.argsort(key, kind="stable")  # fast where keys are few
    first = {s: rows.stage_index[check, s] for s in names["stage"] if s != REFERENCE_STAGE}
    return Scores(
        names=names,
        reasons=tuple(rows.texts("reason")),
        stages=dict(sorted(first.items(), key=lambda item: (item[1], item[0]))),
        key=key[order],
        rows=part,
        order=kept[order],
        ranks=rows.ranks("image"),
    )


def _recoded(texts: Sequence[str], codes: NDArray[np.integer]) -> tuple[CodeArray, list[str]]:
    """Return codes of the texts that occur, in sorted order, and these texts."""
    occur = np.zeros(len(texts), dtype=bool)
    occur[codes] = True
    known = sorted((text, place) for place, text in enumerate(texts) if occur[place])
    places = np.zeros(len(texts), dtype=np.int32)
    places[[place for _, place in known]] = np.arange(len(known))
    return places[codes], [text for text, _ in known]


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

"""From rows of scores to (image, draw) tables, whatever the order of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from salsanity.errors import StoreError
from salsanity.records import REFERENCE_STAGE, VIEWS
from salsanity.rows import ROW, RowArray, Rows
from salsanity.rows import UNSAID as UNSAID

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
LOT: Final = 1_000_000
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
    """Rows of scores sorted by method, stage, view and similarity; made by `read_scores`."""

    names: Mapping[str, Mapping[str, int]]
    """The values of each key column and their codes, in sorted order."""
    reasons: tuple[str, ...]
    stages: Mapping[str, int]
    """Stages other than `self` and their index, in the order of the index."""
    key: CodeArray
    image: CodeArray
    draw: CodeArray
    value: FloatArray
    chance: FloatArray
    reason: CodeArray
    _last: dict[Any, StageTable] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """The table that was made last: the figures ask twice."""

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
        images = _Places.of(*(self.image[self._span(method, name)] for name in (stage, *beside)))
        draws = _Places.of(self.draw[self._span(method, stage)])
        rows = self._span(method, stage, view, similarity)
        at = (images.of_codes[self.image[rows]], draws.of_codes[self.draw[rows]])
        shape, where = (len(images.codes), len(draws.codes)), f"{method} at stage {stage}"
        value = _filled(shape, at, self.value[rows], where)
        chance = _filled(shape, at, self.chance[rows], where)
        said = np.full(shape, ABSENT, dtype=np.int32)
        said[at] = self.reason[rows]
        ceiling, between, ceiling_said = self._ceiling(place, images)
        ceiling_codes = np.broadcast_to(ceiling_said[:, None], shape)
        scores = {
            "value": (value, said),
            "chance": (chance, said),
            "ceiling": (np.broadcast_to(ceiling[:, None], shape), ceiling_codes),
        }
        undefined = self._undefined({name: scores[name] for name in NEEDS if name in needs})
        return StageTable(value, chance, ceiling, undefined, between, draws.codes)

    def _ceiling(self, place: Place, images: _Places) -> tuple[FloatArray, FloatArray, CodeArray]:
        """Return each image's ceiling and likeness to other images, means over the networks that have one, and what was said."""
        method, view, similarity = place
        rows = self._span(method, REFERENCE_STAGE, view, similarity)
        at = images.find(self.image[rows])
        known = at >= 0
        networks = _Places.of(self.draw[rows])
        where = (at[known], networks.of_codes[self.draw[rows][known]])
        shape = (len(images.codes), len(networks.codes))
        ceiling, between = (
            row_means(_filled(shape, where, column[rows][known], f"{method}'s ceiling"))
            for column in (self.value, self.chance)
        )
        said = np.full(len(images.codes), ABSENT, dtype=np.int32)
        said[where[0]] = self.reason[rows][known]
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
        rows = self._span(*names)
        return bool(rows.stop > rows.start)

    def _span(self, *names: str) -> slice:
        """Return the rows whose first keys are `names`; empty where a name is unknown."""
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
    read = {method: _at_stages(rows, rows.read(check, method), stages) for method in asked}
    parts = {method: part for method, part in read.items() if len(part)}
    return _indexed(rows, check, parts)


def _at_stages(rows: Rows, part: RowArray, stages: Collection[str] | None) -> RowArray:
    if stages is None:
        return part
    return part[np.isin(part["stage"], rows.places("stage", [REFERENCE_STAGE, *stages]))]


def _indexed(rows: Rows, check: str, parts: Mapping[str, RowArray]) -> Scores:
    """Sort rows by their key, with codes of texts in sorted order; images count in the order of their ids."""
    part = np.concatenate([*parts.values(), np.empty(0, dtype=ROW)])
    sizes = [len(found) for found in parts.values()]
    codes: dict[str, CodeArray] = {
        "method": np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    }
    names: dict[str, dict[str, int]] = {"method": {m: i for i, m in enumerate(parts)}}
    for column in (*KEYS[1:], "image"):
        codes[column], texts = _recoded(rows.texts(column), part[column])
        names[column] = {text: code for code, text in enumerate(texts)}
    key = np.zeros(len(part), dtype=np.int32)
    for column in KEYS:
        key = key * len(names[column]) + codes[column]
    order = np.argsort(key, kind="stable")
    first = {s: rows.stage_index[check, s] for s in names["stage"] if s != REFERENCE_STAGE}
    return Scores(
        names={column: names[column] for column in KEYS},
        reasons=tuple(rows.texts("reason")),
        stages=dict(sorted(first.items(), key=lambda item: (item[1], item[0]))),
        key=key[order],
        image=codes["image"][order],
        draw=part["draw"][order],
        value=part["value"][order],
        chance=part["chance"][order],
        reason=part["reason"][order],
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

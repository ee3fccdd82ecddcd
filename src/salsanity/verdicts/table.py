"""From rows of scores to complete (image, draw) tables, whatever the order of the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from salsanity.errors import StoreError
from salsanity.records import REFERENCE_STAGE, VIEWS

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

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
KEYS: Final = ("method", "stage", "view", "similarity")


@final
@dataclass(frozen=True)
class StageTable:
    """The scores of one cell at one stage: N images by D draws, NaN where a score is undefined."""

    value: FloatArray
    """(N, D) similarity of the reference map and the map at the stage."""
    chance: FloatArray
    """(N, D) similarity of the reference map and another image's map at the stage."""
    ceiling: FloatArray
    """(N,) similarity of the reference map and the trained network's map explained once more."""
    undefined: Mapping[str, int]
    """Reasons for undefined scores, and how often each occurs."""

    @property
    def shape(self) -> tuple[int, int]:
        """N images and D draws."""
        return self.value.shape[0], self.value.shape[1]

    @property
    def defined(self) -> NDArray[np.bool_]:
        """(N, D): value, chance and ceiling are all finite."""
        scores = np.isfinite(self.value) & np.isfinite(self.chance)
        return np.asarray(scores & np.isfinite(self.ceiling)[:, None], dtype=bool)


@final
@dataclass(frozen=True)
class Scores:
    """Rows of scores sorted by method, stage, view and similarity; made by `read_scores`."""

    names: Mapping[str, Mapping[str, int]]
    """The values of each key column and their codes, in sorted order."""
    reasons: tuple[str, ...]
    stages: Mapping[str, int]
    """Stages other than `self` and their index, in the order of the index."""
    key: IntArray
    image: IntArray
    draw: IntArray
    value: FloatArray
    chance: FloatArray
    reason: IntArray

    def cells(self, method: str) -> list[tuple[str, str]]:
        """Return the (view, similarity) pairs that have rows for `method`, signed ones first."""
        pairs = [(v, s) for v in self.names["view"] for s in self.names["similarity"]]
        found = {p for p in pairs for stage in self.names["stage"] if self._has(method, stage, *p)}
        return sorted(found, key=lambda p: (*_place(p[0], VIEWS), *_place(p[1], SIMILARITIES)))

    def at(
        self, method: str, stage: str, view: str, similarity: str, *, beside: tuple[str, ...] = ()
    ) -> StageTable:
        """Return the table of one cell at one stage.

        Its images and draws are all that the method has at that stage in any cell, so a score
        that is missing counts as undefined. Images of the stages `beside` count too, so that the
        rows of their tables are the same images.
        """
        everything = self._span(method, stage)
        shared = [self.image[self._span(method, name)] for name in (stage, *beside)]
        images, draws = np.unique(np.concatenate(shared)), np.unique(self.draw[everything])
        rows = self._span(method, stage, view, similarity)
        place = (
            np.searchsorted(images, self.image[rows]),
            np.searchsorted(draws, self.draw[rows]),
        )
        shape, where = (len(images), len(draws)), f"{method} at stage {stage}"
        value = _filled(shape, place, self.value[rows], where)
        chance = _filled(shape, place, self.chance[rows], where)
        said = np.full(shape, -2, dtype=np.int64)
        said[place] = self.reason[rows]
        ceiling, ceiling_said = self._ceiling(method, view, similarity, images)
        undefined = self._undefined(value, chance, ceiling, said, ceiling_said)
        return StageTable(value, chance, ceiling, undefined)

    def _ceiling(
        self, method: str, view: str, similarity: str, images: IntArray
    ) -> tuple[FloatArray, IntArray]:
        """Return the ceiling of each image, the mean over the networks that have one."""
        rows = self._span(method, REFERENCE_STAGE, view, similarity)
        known = np.isin(self.image[rows], images)
        networks = np.unique(self.draw[rows])
        place = (
            np.searchsorted(images, self.image[rows][known]),
            np.searchsorted(networks, self.draw[rows][known]),
        )
        shape = (len(images), len(networks))
        ceilings = _filled(shape, place, self.value[rows][known], f"{method}'s ceiling")
        present = np.zeros(shape, dtype=bool)
        present[place] = True
        said = np.full(len(images), -2, dtype=np.int64)
        said[place[0]] = self.reason[rows][known]
        total = np.where(present, ceilings, 0.0).sum(axis=1)
        count = present.sum(axis=1)
        mean = np.divide(total, count, out=np.full(len(images), np.nan), where=count > 0)
        return mean, said

    def _undefined(
        self,
        value: FloatArray,
        chance: FloatArray,
        ceiling: FloatArray,
        said: IntArray,
        ceiling_said: IntArray,
    ) -> dict[str, int]:
        no_value, no_chance = ~np.isfinite(value), ~np.isfinite(chance)
        no_ceiling = np.broadcast_to(~np.isfinite(ceiling)[:, None], value.shape)
        count: Counter[str] = Counter()
        count.update(self._why(said[no_value], "undefined similarity"))
        only_chance = no_chance & ~no_value
        count.update(self._why(said[only_chance], "undefined chance"))
        only_ceiling = no_ceiling & ~no_value & ~no_chance
        codes = np.broadcast_to(ceiling_said[:, None], value.shape)[only_ceiling]
        count.update(self._why(codes, "undefined ceiling"))
        return dict(sorted(count.items()))

    def _why(self, codes: IntArray, default: str) -> list[str]:
        words = {-1: default, -2: "missing score"}
        return [words.get(int(c)) or self.reasons[int(c)] for c in codes]

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
        start, stop = np.searchsorted(self.key, (low, low + width))
        return slice(int(start), int(stop))


def read_scores(
    frame: pd.DataFrame,
    *,
    check: str,
    methods: Collection[str] | None = None,
    stages: Collection[str] | None = None,
) -> Scores:
    """Index the rows of `check`; `methods` and `stages` (None: all) limit what is read.

    Raises:
        StoreError: columns of a run folder's scores are absent.
    """
    frame = _chosen(frame, check, methods, stages)
    codes, names = {}, {}
    for column in KEYS:
        codes[column], values = _coded(frame[column])
        names[column] = {value: code for code, value in enumerate(values)}
    key = np.zeros(len(frame), dtype=np.int64)
    for column in KEYS:
        key = key * len(names[column]) + codes[column]
    order = np.argsort(key, kind="stable")
    reason, reasons = _coded(frame["reason"])
    return Scores(
        names=names,
        reasons=reasons,
        stages=_stage_order(names["stage"], codes["stage"], frame["stage_index"].to_numpy()),
        key=key[order],
        image=_coded(frame["image"])[0][order],
        draw=frame["draw"].to_numpy(dtype=np.int64)[order],
        value=frame["value"].to_numpy(dtype=np.float64)[order],
        chance=frame["chance"].to_numpy(dtype=np.float64)[order],
        reason=reason[order],
    )


def _chosen(
    frame: pd.DataFrame,
    check: str,
    methods: Collection[str] | None,
    stages: Collection[str] | None,
) -> pd.DataFrame:
    absent = [c for c in COLUMNS if c not in frame.columns]
    if absent:
        raise StoreError(
            f"expected scores with the columns {', '.join(COLUMNS)}; got none of "
            f"{', '.join(absent)}; read them from the scores/ of a run folder"
        )
    keep = np.ones(len(frame), dtype=bool)
    if "check" in frame.columns:
        keep &= (frame["check"] == check).to_numpy(dtype=bool)
    if methods is not None:
        keep &= frame["method"].isin(list(methods)).to_numpy(dtype=bool)
    if stages is not None:
        keep &= frame["stage"].isin([REFERENCE_STAGE, *stages]).to_numpy(dtype=bool)
    return frame if keep.all() else frame.loc[keep]


def _coded(column: pd.Series) -> tuple[IntArray, tuple[str, ...]]:
    codes, names = pd.factorize(column, sort=True)
    return codes.astype(np.int64), tuple(str(n) for n in names)


def _stage_order(names: Mapping[str, int], codes: IntArray, index: IntArray) -> dict[str, int]:
    first = {name: int(index[codes == code].min()) for name, code in names.items()}
    first.pop(REFERENCE_STAGE, None)
    return dict(sorted(first.items(), key=lambda item: (item[1], item[0])))


def _filled(
    shape: tuple[int, ...], place: tuple[IntArray, ...], scores: FloatArray, where: str
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


def _place(name: str, known: tuple[str, ...]) -> tuple[int, str]:
    return (known.index(name) if name in known else len(known), name)

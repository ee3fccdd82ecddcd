"""Rows of scores as judging and reports read them: compact, by check and method, in memory or beside it.

A row takes 32 bytes here and some 700 in a table of texts. From `IN_MEMORY` rows on they lie in temporary files, one for each
check and method, so that memory does not grow with a run.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from salsanity.errors import StoreError

ROW: Final = np.dtype(
    [
        *(("value", "<f8"), ("chance", "<f8"), ("image", "<i4"), ("draw", "<i4")),
        *(("reason", "<i4"), ("stage", "<i2"), ("view", "i1"), ("similarity", "i1")),
    ]
)
CODED: Final = ("image", "reason", "stage", "view", "similarity")
"""Columns that hold the places of texts in `Rows.names`."""
PLAIN: Final = ("value", "chance", "draw")
UNSAID: Final = -1
"""The place of no text: a row without a reason."""
UNPLACED: Final = 2**31
IN_MEMORY: Final = 50_000
"""Rows beyond which those that came so far are written to temporary files."""

RowArray = NDArray[Any]
Codes = NDArray[np.int32]
Cell = tuple[int, int]
"""The places of a view and a similarity in `Rows.names`."""
Column = tuple[Sequence[str | None], Codes]
"""Texts, and for each row the place of its own among them, or -1."""


@final
@dataclass
class _Bucket:
    """The rows of a check and method, in memory or in a file; those that came together lie cell by cell."""

    parts: list[RowArray] = field(default_factory=list)
    count: int = 0
    file: IO[bytes] | None = None
    spans: dict[Cell, array[int]] = field(default_factory=dict)
    """Where rows of a cell begin and end, again and again."""

    def add(self, cell: Cell, part: RowArray) -> None:
        """Take in rows of a cell."""
        self.parts.append(part)
        self.spans.setdefault(cell, array("q")).extend((self.count, self.count + len(part)))
        self.count += len(part)

    def read(self) -> RowArray:
        """Return all rows."""
        if self.file is None:
            return joined(self.parts)
        self.file.seek(0)
        return np.fromfile(self.file, dtype=ROW)

    def read_cell(self, cell: Cell) -> RowArray:
        """Return the rows of a cell in the order in which they came."""
        spans = self.spans.get(cell, ())
        starts, ends = spans[::2], spans[1::2]
        if self.file is None:
            self.parts = [joined(self.parts)]
            return joined([self.parts[0][i:j] for i, j in zip(starts, ends, strict=True)])
        found = np.empty(sum(ends) - sum(starts), dtype=ROW)
        at = found.view(np.uint8)
        for start, end in zip(starts, ends, strict=True):
            self.file.seek(start * ROW.itemsize)
            at = at[self.file.readinto(at[: (end - start) * ROW.itemsize]) :]  # type: ignore[attr-defined]
        if at.size:
            raise StoreError("expected the scores that were put aside, but their file was cut")
        return found

    def spill(self, folder: Path | None) -> None:
        """Write what is in memory to the file."""
        if not self.parts:
            return
        if self.file is None:
            self.file = _temporary(folder)
            weakref.finalize(self, self.file.close)
        self.file.seek(0, 2)
        joined(self.parts).tofile(self.file)
        self.parts = []


def _temporary(folder: Path | None) -> IO[bytes]:
    """Open a file without a name, in the folder if it can be written to: it goes with the process."""
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()


@final
class Rows:
    """Rows of scores, growing: they wait until they are many, or asked for, and are then put to their checks and methods.

    `fill`: adds the rows when something is first asked of them.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        most: int = IN_MEMORY,
        fill: Callable[[Rows], None] | None = None,
    ) -> None:
        self.folder, self.most, self._filling = folder, most, fill
        self._clear()

    def _clear(self) -> None:
        self._names: dict[str, dict[str, int]] = {name: {} for name in ("check", "method", *CODED)}
        self.waiting: list[tuple[Codes, Codes, NDArray[Any], RowArray]] = []
        """Codes of check and method, indices of stages, and rows."""
        self.held = 0
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._stages: dict[tuple[str, str], int] = {}
        self._ranks: dict[str, Codes] = {}

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Rows:
        """Return the rows of a table of scores."""
        found = cls()
        check = frame["check"] if "check" in frame.columns else pd.Series([""] * len(frame))
        texts = {"check": check, **{name: frame[name] for name in ("method", *CODED)}}
        numbers = {name: frame[name].to_numpy() for name in (*PLAIN, "stage_index")}
        found.add({name: _coded(column) for name, column in texts.items()}, numbers)
        return found

    @property
    def names(self) -> Mapping[str, dict[str, int]]:
        """The texts of each column, and the place of each text."""
        self.fill()
        return self._names

    @property
    def buckets(self) -> Mapping[tuple[str, str], _Bucket]:
        """The rows by check and method."""
        self._settle()
        return self._buckets

    @property
    def stage_index(self) -> Mapping[tuple[str, str], int]:
        """The least index of every stage of a check, by check and stage."""
        self._settle()
        return self._stages

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(bucket.count for bucket in self.buckets.values())

    def fill(self) -> None:
        """Add the rows that are to come when something is asked of them, if they are not there yet."""
        filling, self._filling = self._filling, None
        if filling is None:
            return
        try:
            filling(self)
        except BaseException:  # so that whoever asks again is told again
            self._clear()
            self._filling = filling
            raise

    def add(self, texts: Mapping[str, Column], numbers: Mapping[str, NDArray[Any]]) -> None:
        """Take in rows: texts of check, method and the columns `CODED`; numbers of value, chance, draw and stage_index."""
        count = len(numbers["value"])
        if not count:
            return
        rows = np.empty(count, dtype=ROW)
        for name in PLAIN:
            rows[name] = numbers[name]
        for name in CODED:
            rows[name] = self._codes(name, *texts[name])
        check, method = (self._codes(name, *texts[name]) for name in ("check", "method"))
        self.waiting.append((check, method, numbers["stage_index"], rows))
        self.held += count
        if self.held > self.most:
            self._settle()
            for bucket in self._buckets.values():
                bucket.spill(self.folder)
            self.held = 0

    def methods(self, check: str) -> list[str]:
        """Name the methods that have rows of a check, sorted."""
        return sorted(method for name, method in self.buckets if name == check)

    def count(self, check: str, method: str) -> int:
        """How many rows a check and method have."""
        return self.buckets[check, method].count if (check, method) in self.buckets else 0

    def read(self, check: str, method: str) -> RowArray:
        """Return the rows of a check and method; those that came together are ordered by view and similarity."""
        bucket = self.buckets.get((check, method))
        return np.empty(0, dtype=ROW) if bucket is None else bucket.read()

    def cells(self, check: str, method: str) -> list[tuple[str, str]]:
        """Name the views and similarities in which a check and method have rows."""
        views, similarities = self.texts("view"), self.texts("similarity")
        bucket = self.buckets.get((check, method))
        return [(views[v], similarities[s]) for v, s in (bucket.spans if bucket else ())]

    def read_cell(self, check: str, method: str, view: str, similarity: str) -> RowArray:
        """Return the rows of a check and method in a view and similarity, in the order in which they came."""
        bucket = self.buckets.get((check, method), _Bucket())
        names = self.names["view"], self.names["similarity"]
        return bucket.read_cell((names[0].get(view, UNSAID), names[1].get(similarity, UNSAID)))

    def texts(self, column: str) -> list[str]:
        """Return the texts of a column by their places."""
        return list(self.names[column])

    def ranks(self, column: str) -> Codes:
        """Return the rank of each text of a column among all, by its place."""
        texts, known = self.texts(column), self._ranks.get(column)
        if known is None or len(known) != len(texts):
            known = np.empty(len(texts), dtype=np.int32)
            known[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
            self._ranks[column] = known
        return known

    def places(self, column: str, texts: Collection[str]) -> Codes:
        """Return the places of those of `texts` that occur."""
        known = self.names[column]
        return np.array([known[text] for text in texts if text in known], dtype=np.int32)

    def views(self, check: str) -> set[str]:
        """Name the views in which a check has rows."""
        return {view for method in self.methods(check) for view, _ in self.cells(check, method)}

    def frame(self, check: str) -> pd.DataFrame:
        """Return the rows of a check as a table whose texts are categories."""
        parts = {method: self.read(check, method) for method in self.methods(check)}
        whole = np.concatenate([*parts.values(), np.empty(0, dtype=ROW)])
        sizes = [len(part) for part in parts.values()]
        method = _categorical(np.repeat(np.arange(len(sizes)), sizes), [*parts])
        coded = {name: _categorical(whole[name], self.texts(name)) for name in CODED}
        index = np.array([self.stage_index.get((check, s), 0) for s in self.texts("stage")] or [0])
        numbers = {name: whole[name] for name in PLAIN}
        table = {"check": check, **coded, **numbers, "method": method}
        return pd.DataFrame({**table, "stage_index": index[whole["stage"]]})

    def _codes(self, column: str, texts: Sequence[str | None], codes: Codes) -> Codes:
        known = self.names[column]
        for text in texts:
            if text is not None and text not in known:
                known[text] = len(known)
        places = [UNSAID if text is None else known[text] for text in texts]
        return np.array([*places, UNSAID], dtype=np.int32)[codes]

    def _note_stages(self, check: Codes, stage: Codes, index: NDArray[Any]) -> None:
        """Keep the least index of every stage of a check."""
        checks, stages = self.texts("check"), self.texts("stage")
        least = np.full((len(checks), len(stages)), UNPLACED)
        new = [np.diff(codes, prepend=UNSAID) != 0 for codes in (check, stage, index)]
        first = np.flatnonzero(np.any(new, axis=0))  # rows come in runs
        np.minimum.at(least, (check[first], stage[first]), index[first])
        for i, j in np.argwhere(least < UNPLACED).tolist():
            key = checks[i], stages[j]
            self._stages[key] = min(int(least[i, j]), self._stages.get(key, UNPLACED))

    def _settle(self) -> None:
        """Put the rows that wait to their checks and methods, in the order in which they came."""
        self.fill()
        if not self.waiting:
            return
        check, method, index = (np.concatenate([one[k] for one in self.waiting]) for k in range(3))
        whole = joined([one[3] for one in self.waiting])
        self.waiting = []
        self._note_stages(check, whole["stage"], index)
        sizes = [len(self.names[name]) for name in ("check", "method", "view", "similarity")]
        group = np.ravel_multi_index((check, method, whole["view"], whole["similarity"]), sizes)
        group = group.astype(np.min_scalar_type(math.prod(sizes)))  # few, and fast to sort
        order = np.argsort(group, kind="stable")
        group, whole = group[order], whole.take(order)
        starts = np.flatnonzero(np.diff(group, prepend=group[0] + 1))
        checks, methods = self.texts("check"), self.texts("method")
        places = zip(*(p.tolist() for p in np.unravel_index(group[starts], sizes)), strict=True)
        for (c, m, *cell), part in zip(places, np.split(whole, starts[1:]), strict=True):
            bucket = self._buckets.setdefault((checks[c], methods[m]), _Bucket())
            bucket.add((cell[0], cell[1]), part)
        for bucket in self._buckets.values():
            if bucket.file is not None:
                bucket.spill(self.folder)


def joined(parts: Sequence[RowArray]) -> RowArray:
    """Join rows; numpy's own `concatenate` looks at every field of every part."""
    whole = np.empty(sum(map(len, parts)), dtype=ROW)
    start = 0
    for part in parts:
        whole[start : start + len(part)] = part
        start += len(part)
    return whole


def _categorical(codes: NDArray[Any], texts: list[str]) -> pd.Categorical[Any]:
    made: Any = pd.Categorical.from_codes(codes.astype(np.int32), pd.Index(texts, dtype=object))
    return made.reorder_categories(sorted(texts))  # type: ignore[no-any-return]


def _coded(column: pd.Series) -> Column:
    codes, texts = pd.factorize(column)
    return [str(text) for text in texts], codes.astype(np.int32)

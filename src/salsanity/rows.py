"""Rows of scores as judging and reports read them: compact, by check and method, in memory or beside it.

A row takes 32 bytes here and some 700 in a table of texts. From `IN_MEMORY` rows on they lie in temporary files, one for each
check and method, so that memory does not grow with a run.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
IN_MEMORY: Final = 4_000_000
"""Rows beyond which those that came so far are written to temporary files."""

RowArray = NDArray[Any]
Codes = NDArray[np.int32]
Column = tuple[Sequence[str | None], Codes]
"""Texts, and for each row the place of its own among them, or -1."""


@final
@dataclass
class _Bucket:
    """The rows of a check and method: those in memory, and a file of those before."""

    parts: list[RowArray] = field(default_factory=list)
    count: int = 0
    file: IO[bytes] | None = None

    def read(self) -> RowArray:
        """Return all rows in the order in which they came."""
        parts = self.parts
        if self.file is not None:
            self.file.seek(0)
            parts = [np.fromfile(self.file, dtype=ROW), *parts]
        return np.concatenate(parts) if parts else np.empty(0, dtype=ROW)

    def spill(self, folder: Path | None) -> None:
        """Write what is in memory to the file."""
        if self.file is None:
            self.file = _temporary(folder)
            weakref.finalize(self, self.file.close)
        self.file.seek(0, 2)
        for part in self.parts:
            part.tofile(self.file)
        self.parts = []


def _temporary(folder: Path | None) -> IO[bytes]:
    """Open a file without a name, in the folder if it can be written to: it goes with the process."""
    try:
        return tempfile.TemporaryFile(dir=folder)
    except OSError:
        return tempfile.TemporaryFile()


@final
class Rows:
    """Rows of scores, growing."""

    def __init__(self, *, folder: Path | None = None, most: int = IN_MEMORY) -> None:
        self.folder, self.most = folder, most
        self.names: dict[str, dict[str, int]] = {name: {} for name in CODED}
        self.stage_index: dict[tuple[str, str], int] = {}
        self.buckets: dict[tuple[str, str], _Bucket] = {}
        self.held = 0

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Rows:
        """Return the rows of a table of scores."""
        found = cls()
        check = frame["check"] if "check" in frame.columns else pd.Series([""] * len(frame))
        texts = {"check": check, **{name: frame[name] for name in ("method", *CODED)}}
        numbers = {name: frame[name].to_numpy() for name in (*PLAIN, "stage_index")}
        found.add({name: _coded(column) for name, column in texts.items()}, numbers)
        return found

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(bucket.count for bucket in self.buckets.values())

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
        (checks, of_check), (methods, of_method) = texts["check"], texts["method"]
        self._note_stages(texts, numbers["stage_index"])
        group = (of_check * len(methods) + of_method).astype(np.int16)  # few, and fast to sort
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        for start, stop in zip(starts, [*starts[1:], count], strict=True):
            first = order[start]
            key = str(checks[of_check[first]]), str(methods[of_method[first]])
            bucket = self.buckets.setdefault(key, _Bucket())
            bucket.parts.append(rows[order[start:stop]])
            bucket.count += int(stop - start)
        self.held += count
        if self.held > self.most:
            self._spill()

    def methods(self, check: str) -> list[str]:
        """Name the methods that have rows of a check, sorted."""
        return sorted(method for name, method in self.buckets if name == check)

    def count(self, check: str, method: str) -> int:
        """How many rows a check and method have."""
        return self.buckets[check, method].count if (check, method) in self.buckets else 0

    def read(self, check: str, method: str) -> RowArray:
        """Return the rows of a check and method, in the order in which they came."""
        bucket = self.buckets.get((check, method))
        return np.empty(0, dtype=ROW) if bucket is None else bucket.read()

    def texts(self, column: str) -> list[str]:
        """Return the texts of a column by their places."""
        return list(self.names[column])

    def places(self, column: str, texts: Collection[str]) -> Codes:
        """Return the places of those of `texts` that occur."""
        known = self.names[column]
        return np.array([known[text] for text in texts if text in known], dtype=np.int32)

    def views(self, check: str) -> set[str]:
        """Name the views in which a check has rows."""
        texts, found = self.texts("view"), set()
        for method in self.methods(check):
            found |= {texts[code] for code in np.unique(self.read(check, method)["view"])}
        return found

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
        places = [UNSAID if t is None else known.setdefault(t, len(known)) for t in texts]
        return np.array([*places, UNSAID], dtype=np.int32)[codes]

    def _note_stages(self, texts: Mapping[str, Column], index: NDArray[Any]) -> None:
        """Keep the least index of every stage of a check."""
        (checks, of_check), (stages, of_stage) = texts["check"], texts["stage"]
        pairs = of_check.astype(np.int64) * len(stages) + of_stage
        order = np.lexsort((index, pairs))
        firsts = order[np.flatnonzero(np.diff(pairs[order], prepend=-1))]
        for first in firsts.tolist():
            key = str(checks[of_check[first]]), str(stages[of_stage[first]])
            self.stage_index[key] = min(int(index[first]), self.stage_index.get(key, 2**31))

    def _spill(self) -> None:
        for bucket in self.buckets.values():
            bucket.spill(self.folder)
        self.held = 0


def _categorical(codes: NDArray[Any], texts: list[str]) -> pd.Categorical[Any]:
    made: Any = pd.Categorical.from_codes(codes.astype(np.int32), pd.Index(texts, dtype=object))
    return made.reorder_categories(sorted(texts))  # type: ignore[no-any-return]


def _coded(column: pd.Series) -> Column:
    codes, texts = pd.factorize(column)
    return [str(text) for text in texts], codes.astype(np.int32)

"""A run folder: one parquet file per finished unit, small JSON files around them.

Every file is written under a unique temporary name in the same folder, flushed to disk and then renamed, so that a
reader sees a whole file or none. A file that is damaged all the same (a power cut, a full disk) is
recognised by its checksum and counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from salsanity.errors import StoreError
from salsanity.records import UnitKey, UnitResult, digest
from salsanity.rows import CODED, PLAIN, Column, Rows
from salsanity.store.folder import flush_folder, inside, unwritable
from salsanity.store.pieces import pieces
from salsanity.store.pieces import plain as plain
from salsanity.store.upgrade import (
    FORMAT_VERSION as FORMAT_VERSION,
)
from salsanity.store.upgrade import (
    NAMES,
    renamed,
    upgraded,
    upgraded_gates,
    upgraded_verdicts,
)

SCHEMA: Final = pa.schema(
    [
        ("check", pa.string()),
        ("draw", pa.int32()),
        ("stage", pa.string()),
        ("stage_index", pa.int32()),
        ("image", pa.string()),
        ("method", pa.string()),
        ("view", pa.string()),
        ("similarity", pa.string()),
        ("value", pa.float64()),
        ("chance", pa.float64()),
        ("reason", pa.string()),
    ]
)

DOCUMENTS: Final = ("gates.json", "verdicts.json", "coverage.json")
JUDGED: Final = ("health", "enlarged", "unheard", "seconds")
"""Notes of units that judging reads, where there is something in them."""
_META: Final = b"salsanity"
TEXTS: Final = [f.name for f in SCHEMA if pa.types.is_string(f.type)]
REPEATED: Final = [f.name for f in SCHEMA if not pa.types.is_floating(f.type)]
"""Columns whose values come again; a dictionary of scores would hold nearly every one, and cost space and time."""


@dataclass(frozen=True)
class UnitRecord:
    """A finished unit as it was read: its key, its scores, and notes (health of signals, times, batch size)."""

    key: UnitKey
    scores: pd.DataFrame
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> frozenset[str]:
        """The methods that have scores."""
        return frozenset(self.scores["method"])


@final
@dataclass(frozen=True, slots=True)
class Brief:
    """What a unit's key says without its images, of which a large run has many: `place` stands for them."""

    check: str
    draw: int
    place: str
    methods: tuple[str, ...]
    similarities: tuple[str, ...]

    @classmethod
    def of(cls, key: UnitKey) -> Brief:
        """Leave the images out; names are texts that other units hold too."""
        names = (tuple(map(sys.intern, texts)) for texts in (key.methods, key.similarities))
        return cls(sys.intern(key.check), key.draw, key.place, *names)


@dataclass(frozen=True)
class UnitNotes:
    """What a finished unit says beside its scores: key, notes that judging reads, and the methods that have scores."""

    key: Brief
    notes: Mapping[str, Any]
    methods: frozenset[str]


@final
@dataclass(frozen=True, slots=True)
class Finished:
    """What is kept in mind of a unit's file that was found whole: its key, and how the file looked."""

    key: Brief
    looked: tuple[int, int, int]


@final
@dataclass(frozen=True)
class DirectoryStore:
    """The store on disk at `folder`; creating the value creates nothing.

    Files that were found whole, or were written here, are not checked again as long as size and times of change are the same.
    """

    folder: Path
    _known: dict[str, Finished] = field(default_factory=dict, init=False, repr=False, compare=False)

    def unit_path(self, key: UnitKey) -> Path:
        """Where the unit's file lies or would lie."""
        return self.folder / "scores" / f"{key.digest}.parquet"

    def put(self, result: UnitResult) -> None:
        """Write one finished unit, whole or not at all."""
        table = arrow_of(result.columns)
        content = {"unit": result.key.to_json(), "notes": plain(result.notes)}
        meta = json.dumps({**content, "checksum": _checksum(content, table)})
        path = self.unit_path(result.key)
        with replacing(path) as temporary:
            kept = table.replace_schema_metadata({_META: meta.encode()})
            pq.write_table(
                kept,
                temporary,
                compression="zstd",
                use_dictionary=REPEATED,
                write_page_checksum=True,
            )
        self._known[path.name] = Finished(Brief.of(result.key), _looks(path))

    def get(self, path: Path) -> UnitRecord | None:
        """Read one unit's file; None where it is cut or damaged, so that its unit is computed again."""
        found = self._read(path)
        if found is None:
            return None
        _, content, table = found
        key = UnitKey.from_json(content["unit"])
        return UnitRecord(key, renamed(table.cast(SCHEMA).to_pandas()), content["notes"])

    def _read(self, path: Path) -> tuple[Brief, dict[str, Any], pa.Table] | None:
        """Read one unit's file, what it says and its scores, with texts by dictionary; None where it is cut or damaged."""
        try:
            looked = _looks(path)
            table = read_texts_coded(path)
            scores = table.select(SCHEMA.names)
            content = json.loads(table.schema.metadata[_META], object_pairs_hook=_named)
            known = self._known.get(path.name)
            if known is not None and known.looked == looked:
                return known.key, content, scores
            key = UnitKey.from_json(content["unit"])
            is_whole = content.pop("checksum") == _checksum(content, scores)
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None
        if not is_whole or key.digest != path.stem:
            return None
        self._known[path.name] = found = Finished(Brief.of(key), looked)
        return found.key, content, scores

    def records(self) -> Iterator[UnitRecord]:
        """Read every whole unit, in the order of their names."""
        for path in unit_files(self.folder):
            record = self.get(path)
            if record is not None:
                yield record

    def collect(self, spec: Mapping[str, Any], rows: Rows) -> Iterator[UnitNotes]:
        """Read the whole units that belong to the run of `spec` into `rows`; yield what each says beside."""
        asked = asked_units(spec)
        known: dict[frozenset[str], frozenset[str]] = {}  # most units have the same methods
        for path in unit_files(self.folder):
            found = self._read(path)
            if found is not None and is_asked(found[0], asked):
                key, content, table = found
                methods = add_rows(rows, table, key, asked)
                notes = {name: told for name in JUDGED if (told := content["notes"].get(name))}
                yield UnitNotes(key, notes, known.setdefault(methods, methods))

    def discard_damaged(self) -> int:
        """Delete the files of units that are cut or damaged, and return how many: they are computed again."""
        damaged = [path for path in unit_files(self.folder) if self._read(path) is None]
        for path in damaged:
            path.unlink()
        return len(damaged)

    def finished(self, *, lost: Collection[str] = ()) -> list[Brief]:
        """List every whole unit; only files that changed since are read.

        `lost`: images whose pictures are damaged; units that draw them are left out.
        """
        found = []
        for path in unit_files(self.folder):
            known = self._known.get(path.name)
            if known is not None and known.looked == _looks(path):
                key = known.key
            elif (read := self._read(path)) is not None:
                key = read[0]
            else:
                continue
            if not lost or key.draw > 0 or _images_in(path).isdisjoint(lost):
                found.append(key)
        return found

    def records_of(self, spec: Mapping[str, Any]) -> list[UnitRecord]:
        """Read the whole units that belong to the run of `spec`, cut to its methods and similarities."""
        asked = asked_units(spec)
        parts = ((r, asked_part(r.key, r.scores, asked)) for r in self.records())
        return [UnitRecord(r.key, part, r.notes) for r, part in parts if part is not None]

    def read_json(self, name: str) -> Any:
        """Read `name` from the folder; None where it does not exist; `StoreError` where it is damaged."""
        path = inside(self.folder, self.folder / name)
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(
                f"expected JSON in {path}, but it cannot be read ({error}); move the run folder away or delete it"
            ) from error

    def read_spec(self) -> dict[str, Any] | None:
        """Read spec.json in today's format, whichever version wrote it; None where there is none."""
        spec = self.read_json("spec.json")
        return None if spec is None else upgraded(spec)

    def read_gates(self) -> dict[str, Any]:
        """Read gates.json in today's format; empty where there is none yet."""
        spec, gates = self.read_spec(), self.read_json("gates.json")
        return upgraded_gates(gates, spec) if spec and gates else {}

    def read_verdicts(self) -> list[dict[str, Any]]:
        """Read the rows of verdicts.json in today's format; empty where there are none yet."""
        spec, rows = self.read_spec(), self.read_json("verdicts.json")
        return upgraded_verdicts(rows, spec) if spec and rows else []

    def read_documents(self) -> dict[str, Any]:
        """Read the JSON files of a run by name, in today's format; those that are not there yet are left out."""
        spec, gates, rows, coverage = self.read_spec(), *map(self.read_json, DOCUMENTS)
        found = {
            "spec.json": spec,
            "gates.json": upgraded_gates(gates, spec) if spec and gates else {},
            "verdicts.json": upgraded_verdicts(rows, spec) if spec and rows else [],
            "coverage.json": coverage,
        }
        return {name: value for name, value in found.items() if value}

    def read_object(self, name: str) -> dict[str, Any] | None:
        """Read a JSON object that a run can make again; a damaged one is kept as `name`.damaged, and None returned."""
        try:
            value = self.read_json(name)
        except StoreError:
            value = ()
        if value is None or isinstance(value, dict):
            return value
        path = self.folder / name
        path.replace(path.with_name(f"{name}.damaged"))
        return None

    def write_json(self, name: str, value: Any) -> None:
        """Write `name` in the folder, whole or not at all; NaN becomes null."""
        with (
            replacing(self.folder / name) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            file.writelines(pieces(value))
            file.write("\n")


@dataclass
class replacing:  # noqa: N801 - a context manager reads as a verb
    """Give a private temporary path beside `target`; on success flush it and rename it to `target`.

    Whatever fails, the former `target` stays whole; an error of the disk is a `StoreError`.
    """

    target: Path
    _temporary: Path = field(init=False)

    def __enter__(self) -> Path:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".part-", dir=self.target.parent)
        except OSError as error:
            raise unwritable(self.target, error) from error
        os.close(handle)
        self._temporary = Path(name)
        return self._temporary

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as fault:
            error = fault
        if error is not None:
            with suppress(OSError):
                self._temporary.unlink()
        if isinstance(error, OSError):
            raise unwritable(self.target, error) from error

    def _finish(self) -> None:
        with self._temporary.open("rb+") as file:
            os.fsync(file.fileno())
        self._temporary.chmod(0o644 & ~_umask())
        self._temporary.replace(self.target)
        flush_folder(self.target.parent)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def unit_files(folder: Path) -> list[Path]:
    """List the files of finished units in the order of their names; `StoreError` where one is a link that leads elsewhere."""
    scores = inside(folder, folder / "scores")
    paths = sorted(scores.glob("*.parquet"), key=lambda path: path.name)
    return [inside(folder, path) if path.is_symlink() else path for path in paths]


def read_texts_coded(path: Path) -> pa.Table:
    """Read a unit's file, checking its pages, with texts as dictionaries."""
    checked = {"read_dictionary": TEXTS, "page_checksum_verification": True}
    with pq.ParquetFile(path, pre_buffer=False, **checked) as file:
        return file.read(
            use_threads=False
        )  # small files: threads and buffers cost more than they save


def _named(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON whose names are those that other objects have too."""
    return {sys.intern(name): value for name, value in pairs}


def _images_in(path: Path) -> frozenset[str]:
    """Read the ids of a whole unit's images."""
    return frozenset(json.loads(pq.read_schema(path).metadata[_META])["unit"]["images"])


def _looks(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _checksum(content: Mapping[str, Any], scores: pa.Table) -> str:
    """Digest everything that a reader takes from a unit's file."""
    columns = {
        name: hashlib.sha256(_bytes_of(scores.column(name))).hexdigest() for name in SCHEMA.names
    }
    return digest([dict(content), columns])


def _bytes_of(column: pa.ChunkedArray) -> bytes:
    """Return numbers in 64 bits, and texts as a JSON list, each text written out once only."""
    kind = column.type
    if pa.types.is_floating(kind):
        return bytes(column.to_numpy().astype("<f8", copy=False).tobytes())
    if pa.types.is_integer(kind):
        return bytes(column.to_numpy().astype("<i8").tobytes())
    texts, codes = coded(column)
    words = [*(json.dumps(None if text is None else str(text)) for text in texts), "null"]
    return f"[{', '.join(map(words.__getitem__, codes.tolist()))}]".encode()


def coded(column: pa.ChunkedArray) -> Column:
    """Return the texts of a column, and for each row the place of its own among them, or -1."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(whole, pa.ChunkedArray):  # of no rows
        return [], np.empty(0, dtype=np.int32)
    indices = whole.indices.fill_null(-1) if whole.null_count else whole.indices
    indices = indices.to_numpy(zero_copy_only=False)
    return whole.dictionary.to_pylist(), indices.astype(np.int32)


def arrow_of(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Build a table of scores from columns; columns that are missing are empty, NaN among reasons is none."""
    found = {}
    for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True):
        given = columns.get(name, [])
        if pa.types.is_string(kind):
            given = [text if isinstance(text, str) else None for text in given]
        found[name] = pa.array(given, type=kind, from_pandas=True)
    return pa.table(found, schema=SCHEMA)


def table_of(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Build a scores table from columns; columns that are missing are empty."""
    return pd.DataFrame({name: columns.get(name, []) for name in SCHEMA.names})


def add_rows(
    rows: Rows,
    table: pa.Table,
    key: UnitKey | Brief | None,
    asked: Mapping[str, frozenset[str]] | None,
) -> frozenset[str]:
    """Add what a run asks for (None: all) of a unit's scores to `rows`; return the methods of which there is something."""
    texts = {name: coded(table.column(name)) for name in ("check", "method", *CODED)}
    texts["check"] = ([NAMES.get(str(c), str(c)) for c in texts["check"][0]], texts["check"][1])
    numbers = {name: table.column(name).to_numpy() for name in (*PLAIN, "stage_index")}
    if asked is not None and key is not None:
        methods, similarities = asked_names(key, asked)
        kept = _is_among(texts["method"], methods) & _is_among(texts["similarity"], similarities)
        if not kept.all():
            texts = {name: (names, codes[kept]) for name, (names, codes) in texts.items()}
            numbers = {name: column[kept] for name, column in numbers.items()}
    rows.add(texts, numbers)
    names, codes = texts["method"]
    return frozenset(str(names[code]) for code in np.flatnonzero(np.bincount(codes)).tolist())


def _is_among(column: Column, names: Collection[str]) -> Any:
    texts, codes = column
    return np.array([text in names for text in texts], dtype=bool)[codes]


def asked_units(spec: Mapping[str, Any]) -> Mapping[str, frozenset[str]] | None:
    """Return what spec.json says of the units of its run; None where it says nothing: all belong to it."""
    listed = (spec.get("settings") or {}).get("units")
    if not isinstance(listed, Mapping):
        return None
    named = {name: listed.get(name) for name in ("places", "methods", "similarities")}
    if not all(isinstance(v, list) and all(isinstance(x, str) for x in v) for v in named.values()):
        raise StoreError(
            "expected lists of texts under settings.units of spec.json; restore that file, or run again with another --out"
        )
    return {name: frozenset(texts or ()) for name, texts in named.items()}


def units_asked(wanted: Sequence[UnitKey]) -> dict[str, list[str]]:
    """Return what `asked_units` reads: the places, methods and similarities of the wanted units."""
    return {
        "places": [key.place for key in wanted],
        "methods": sorted({method for key in wanted for method in key.methods}),
        "similarities": sorted({name for key in wanted for name in key.similarities}),
    }


def asked_part(
    key: UnitKey, scores: pd.DataFrame, asked: Mapping[str, frozenset[str]] | None
) -> pd.DataFrame | None:
    """Cut a unit's scores to what a run asks for; None where the unit is not of that run.

    A folder may also hold units of a larger run, of an earlier division of the images, or of another device.
    """
    if asked is None:
        return scores
    if not is_asked(key, asked):
        return None
    methods, similarities = asked_names(key, asked)
    return scores[scores["method"].isin(methods) & scores["similarity"].isin(similarities)]


def is_asked(key: UnitKey | Brief, asked: Mapping[str, frozenset[str]] | None) -> bool:
    """Whether a unit belongs to a run."""
    return asked is None or key.place in asked["places"]


def asked_names(
    key: UnitKey | Brief, asked: Mapping[str, frozenset[str]]
) -> tuple[set[str], set[str]]:
    """Name the methods and similarities that a run asks for of a unit."""
    methods = {name.partition("#")[0] for name in asked["methods"] & set(key.methods)}
    measured = asked["similarities"] & set(key.similarities)
    return methods, {name.partition("#")[0] for name in measured}


def all_scores(records: Sequence[UnitRecord]) -> pd.DataFrame:
    """Concatenate the scores of units in a fixed order of rows, whatever the order of the units."""
    if not records:
        return table_of({})
    tables = [record.scores.astype({"reason": object}) for record in records]
    joined = pd.concat(tables, ignore_index=True)
    order = ["check", "method", "view", "similarity", "stage_index", "draw", "image"]
    for name in ("check", "stage", "image", "method", "view", "similarity"):
        joined[name] = joined[name].astype(str)
    return joined.sort_values(order, kind="stable", ignore_index=True)

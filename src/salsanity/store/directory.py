"""A run folder: one parquet file per finished unit, small JSON files around them.

Every file is written under a unique temporary name in the same folder, flushed to disk and then renamed, so that a
reader sees a whole file or none. A file that is damaged all the same (a power cut, a full disk) is
recognised by its checksum and counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from salsanity.errors import StoreError
from salsanity.records import UnitKey, UnitResult, digest
from salsanity.store.folder import flush_folder, inside, unwritable
from salsanity.store.upgrade import (
    FORMAT_VERSION as FORMAT_VERSION,
)
from salsanity.store.upgrade import (
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

_META: Final = b"salsanity"


@dataclass(frozen=True)
class UnitRecord:
    """A finished unit as it was read: its key, its scores, and notes (health of signals, times, batch size)."""

    key: UnitKey
    scores: pd.DataFrame
    notes: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class DirectoryStore:
    """The store on disk at `folder`; creating the value creates nothing."""

    folder: Path

    def unit_path(self, key: UnitKey) -> Path:
        """Where the unit's file lies or would lie."""
        return self.folder / "scores" / f"{key.digest}.parquet"

    def put(self, result: UnitResult) -> None:
        """Write one finished unit, whole or not at all."""
        record = UnitRecord(result.key, table_of(result.columns), result.notes)
        content = {"unit": record.key.to_json(), "notes": plain(record.notes)}
        meta = json.dumps({**content, "checksum": _checksum(content, record.scores)})
        table = pa.Table.from_pandas(record.scores, schema=SCHEMA, preserve_index=False)
        table = table.replace_schema_metadata({_META: meta.encode()})
        with replacing(self.unit_path(record.key)) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)

    def get(self, path: Path) -> UnitRecord | None:
        """Read one unit's file; None where it is cut or damaged, so that its unit is computed again."""
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            content = json.loads(table.schema.metadata[_META])
            scores = table.select(SCHEMA.names).to_pandas()
            key = UnitKey.from_json(content["unit"])
            is_whole = content.pop("checksum") == _checksum(content, scores)
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None
        return (
            UnitRecord(key, renamed(scores), content["notes"])
            if is_whole and key.digest == path.stem
            else None
        )

    def records(self) -> Iterator[UnitRecord]:
        """Read every whole unit, in the order of their names."""
        for path in sorted((self.folder / "scores").glob("*.parquet")):
            record = self.get(inside(self.folder, path))
            if record is not None:
                yield record

    def discard_damaged(self) -> int:
        """Delete the files of units that are cut or damaged, and return how many: they are computed again."""
        paths = list((self.folder / "scores").glob("*.parquet"))
        damaged = [path for path in paths if self.get(inside(self.folder, path)) is None]
        for path in damaged:
            path.unlink()
        return len(damaged)

    def keys(self) -> list[UnitKey]:
        """List the keys of every whole unit."""
        return [record.key for record in self.records()]

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
        found = {
            "spec.json": self.read_spec(),
            "gates.json": self.read_gates(),
            "verdicts.json": self.read_verdicts(),
            "coverage.json": self.read_json("coverage.json"),
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
        text = json.dumps(plain(value), indent=1, allow_nan=False) + "\n"
        with replacing(self.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


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


def plain(value: Any) -> Any:
    """Turn mappings, sequences and numbers into JSON values; NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        return plain(value.item())
    return str(value)


def _checksum(content: Mapping[str, Any], scores: pd.DataFrame) -> str:
    """Digest everything that a reader takes from a unit's file."""
    columns = {
        name: hashlib.sha256(
            scores[name].to_numpy("<f8" if pa.types.is_floating(kind) else "<i8").tobytes()
            if pa.types.is_floating(kind) or pa.types.is_integer(kind)
            else json.dumps([None if pd.isna(v) else str(v) for v in scores[name]]).encode()
        ).hexdigest()
        for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True)
    }
    return digest([dict(content), columns])


def table_of(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Build a scores table from columns; columns that are missing are empty."""
    return pd.DataFrame({name: columns.get(name, []) for name in SCHEMA.names})


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
    if key.place not in asked["places"]:
        return None
    methods = {name.partition("#")[0] for name in asked["methods"] & set(key.methods)}
    similarities = {
        name.partition("#")[0] for name in asked["similarities"] & set(key.similarities)
    }
    return scores[scores["method"].isin(methods) & scores["similarity"].isin(similarities)]


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

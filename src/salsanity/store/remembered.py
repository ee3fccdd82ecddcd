"""Images of a run that are found while it goes: one line each, so that a continued run need not read them again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, final

from salsanity.errors import StoreError
from salsanity.store.directory import plain
from salsanity.store.folder import unwritable

NAME: Final = "images.jsonl"


@final
class Remembered:
    """What was found out of images by name: id, label, class, and how their files looked (size, time of change).

    The first line holds what else the ids depend on (`key`); where that differs, everything is forgotten. A line that a
    killed process left half-written, and all after it, count as absent.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path, self.key = folder / NAME, key
        self.at: dict[str, int] = {}
        """Where in the file the last line of an image begins, by name: what it says stays on disk."""
        self.whole = 0
        with suppress(OSError, ValueError, KeyError, TypeError):
            self._read()

    def get(self, name: str, looks: Sequence[int] | None) -> Mapping[str, Any] | None:
        """Return what is known of an image whose file looks the same; None where it must be read."""
        found = self.told(name) if name in self.at else None
        same = found is not None and found["looks"] == (None if looks is None else [*looks])
        return found if same else None

    def told(self, name: str) -> dict[str, Any]:
        """Read what was found out of an image; `StoreError` where it cannot be read any more."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.at[name])
                found: dict[str, Any] = json.loads(file.readline())
        except (OSError, ValueError) as error:
            raise StoreError(
                f"expected {self.path} as this run wrote it, but it cannot be read ({error}); give the same command again"
            ) from error
        return found

    def add(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Remember images, on disk too."""
        new = [e for e in found if e["name"] not in self.at or self.told(e["name"]) != e]
        if not new:
            return
        try:
            if self.path.is_symlink():
                raise OSError(0, "a link", str(self.path))
            with self.path.open("r+b" if self.whole else "wb") as file:
                file.seek(self.whole)
                if not self.whole:
                    file.write(_line({"key": self.key}))
                for entry in new:
                    self.at[entry["name"]] = file.tell()
                    file.write(_line(entry))
                file.truncate()
                self.whole = file.tell()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _read(self) -> None:
        if self.path.is_symlink():
            return
        with self.path.open("rb") as file:
            first = file.readline()
            if not first.endswith(b"\n") or json.loads(first)["key"] != self.key:
                return
            self.whole = file.tell()
            for line in file:
                entry = json.loads(line)
                if not line.endswith(b"\n") or not {"name", "id", "looks"} <= entry.keys():
                    return
                self.at[entry["name"]] = self.whole
                self.whole += len(line)


def _line(entry: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(plain(entry))}\n".encode()

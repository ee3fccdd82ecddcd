"""Images of a run that are found while it goes: one line each, so that a continued run need not read them again."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, final

from salsanity.errors import StoreError
from salsanity.store.folder import unwritable
from salsanity.store.pieces import plain

NAME: Final = "images.jsonl"
UNKNOWN: Final = -1


@final
class Remembered:
    """What was found out of images: id, label, class, and how their files looked (size, time of change).

    `names`: of all images of the source; an image is asked for by its place among them. The first line holds what else the ids
    depend on (`key`); where that differs, everything is forgotten. A line that a killed process left half-written, and all
    after it, count as absent.
    """

    def __init__(self, folder: Path, key: str, names: Sequence[str]) -> None:
        self.path, self.key = folder / NAME, key
        self.at = array("q", [UNKNOWN]) * len(names)
        """Where in the file the last line of each image begins: what it says stays on disk."""
        self.whole = 0
        with suppress(OSError, ValueError, KeyError, TypeError):
            self._read({name: place for place, name in enumerate(names)})

    def get(self, place: int, looks: Sequence[int] | None) -> Mapping[str, Any] | None:
        """Return what is known of an image whose file looks the same; None where it must be read."""
        found = self.told(place) if self.at[place] != UNKNOWN else None
        same = found is not None and found["looks"] == (None if looks is None else [*looks])
        return found if same else None

    def told(self, place: int) -> dict[str, Any]:
        """Read what was found out of an image; `StoreError` where it cannot be read any more."""
        return next(_lines_at(self.path, [self.at[place]]))

    def add(self, found: Mapping[int, Mapping[str, Any]]) -> None:
        """Remember images, by place, on disk too."""
        new = {p: e for p, e in found.items() if self.at[p] == UNKNOWN or self.told(p) != e}
        if not new:
            return
        try:
            if self.path.is_symlink():
                raise OSError(0, "a link", str(self.path))
            with self.path.open("r+b" if self.whole else "wb") as file:
                file.seek(self.whole)
                if not self.whole:
                    file.write(_line({"key": self.key}))
                for place, entry in new.items():
                    self.at[place] = file.tell()
                    file.write(_line(entry))
                file.truncate()
                self.whole = file.tell()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _read(self, places: Mapping[str, int]) -> None:
        """Read where lines begin."""
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
                if entry["name"] in places:  # else its file is gone
                    self.at[places[entry["name"]]] = self.whole
                self.whole += len(line)


@final
class Listed(Collection[dict[str, Any]]):
    """Images as spec.json lists them: `first`, then those whose lines in the file `path` begin at `places`, read one by one."""

    def __init__(self, first: Sequence[dict[str, Any]], path: Path, places: array[int]) -> None:
        self.first, self.path, self.places = first, path, places

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.first) + len(self.places)

    def __contains__(self, image: object) -> bool:
        """Whether an image is among them."""
        return any(image == one for one in self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield them in order."""
        yield from self.first
        for told in _lines_at(self.path, self.places):
            yield {name: told.get(name) for name in ("id", "name", "label", "target")}


def _lines_at(path: Path, places: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Read the lines that begin at some places; `StoreError` where one cannot be read any more."""
    try:
        with path.open("rb") as file:
            for place in places:
                file.seek(place)
                yield json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"expected {path} as this run wrote it, but it cannot be read ({error}); give the same command again"
        ) from error


def _line(entry: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(plain(entry))}\n".encode()

"""WebDataset shards: tar files in which the files of one item share a name and differ in what follows its first dot.

Tar files that are not compressed can be read at any place, so items are found once by their headers and then read where they
lie, in any order, by whoever needs them: locally or by any URL of fsspec.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import fsspec

from salsanity.data.decode import DEFAULT_LIMITS, SUFFIXES, Limits, decode_stream
from salsanity.data.examples import Example
from salsanity.data.images import printable
from salsanity.data.preprocessing import Preprocessing
from salsanity.errors import DataError

TAR: Final = ".tar"
LABELS: Final = ("cls", "cls.txt", "label", "label.txt")
MOST_TEXT: Final = 64_000


@final
@dataclass(frozen=True)
class Item:
    """An item of a shard: where its picture lies, and its label where there is one."""

    shard: int
    key: str
    start: int
    size: int
    label: int | None = None


@final
@dataclass(frozen=True, eq=False)
class ShardSource:
    """The pictures in shards, in their order; nothing is unpacked before it is asked for."""

    shards: tuple[str, ...]
    items: tuple[Item, ...]
    name: str = "shards"
    preprocessing: Preprocessing = Preprocessing()
    class_names: tuple[str, ...] | None = None
    limits: Limits = DEFAULT_LIMITS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the items, without loading them."""
        return tuple(self._name(item) for item in self.items)

    @property
    def labels(self) -> dict[str, int]:
        """Class indices by name."""
        return {self._name(i): i.label for i in self.items if i.label is not None}

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.items)

    def __getitem__(self, index: int) -> Example:
        """Read and decode picture `index`; every failure is a `DataError` with its name."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        item = self.items[index]
        try:
            content = self._content(item)
            display = decode_stream(io.BytesIO(content), self.preprocessing, limits=self.limits)
        except DataError as error:
            raise DataError(f"image {self._name(item)!r}: {error}") from error
        return Example(self.preprocessing.normalise(display), item.label, self._name(item), display)

    def _name(self, item: Item) -> str:
        shard = self.shards[item.shard].rstrip("/").rpartition("/")[2]
        return printable(f"{shard}/{item.key}")

    def _content(self, item: Item) -> bytes:
        if item.size > self.limits.max_bytes:
            raise DataError(
                f"expected at most {self.limits.max_bytes} bytes, it has {item.size}; raise --max-bytes if it is meant"
            )
        try:
            with fsspec.open(self.shards[item.shard], "rb") as file:
                file.seek(item.start)
                content: bytes = file.read(item.size)
        except Exception as error:  # each file system has errors of its own
            raise DataError(f"it cannot be read: {_line(error)}") from error
        if len(content) < item.size:
            raise DataError("its shard is shorter than it was")
        return content


def open_shards(
    shards: Sequence[str | Path],
    *,
    name: str = "shards",
    preprocessing: Preprocessing | None = None,
) -> ShardSource:
    """Find the items of tar shards by their headers; `a-{000..012}.tar` names thirteen.

    Raises `DataError` where a shard is compressed, damaged or missing, and where none holds a picture.
    """
    named = tuple(one for shard in shards for one in expanded(str(shard)))
    items = [item for number, shard in enumerate(named) for item in _items(number, shard)]
    if not items:
        raise DataError(f"expected pictures in the shards of {name}, found none")
    return ShardSource(named, tuple(items), printable(name), preprocessing or Preprocessing())


def expanded(name: str) -> tuple[str, ...]:
    """Return the names that `{000..012}` stands for, first brace first."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if found is None:
        return (name,)
    first, last = found[1], found[2]
    numbers = (str(n).zfill(len(first)) for n in range(int(first), int(last) + 1))
    parts = (name[: found.start()] + n + name[found.end() :] for n in numbers)
    return tuple(one for part in parts for one in expanded(part))


def _items(number: int, shard: str) -> list[Item]:
    """Read the headers of a shard; the files of an item follow each other."""
    try:
        with fsspec.open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            items: list[Item] = []
            key = ""
            parts: dict[str, tarfile.TarInfo] = {}
            for member in tar:
                if not member.isfile():
                    continue
                folder, slash, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                if f"{folder}{slash}{stem}" != key:
                    items += _item(number, key, parts, tar)
                    key, parts = f"{folder}{slash}{stem}", {}
                parts[extension.lower()] = member
            return items + _item(number, key, parts, tar)
    except tarfile.ReadError as error:
        raise DataError(
            f"expected a tar file that is not compressed at {shard}, but: {error}; unpack it (gunzip), so that items can be read "
            "where they lie"
        ) from error
    except DataError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise DataError(
            f"expected a shard at {shard}, but it cannot be read: {_line(error)}"
        ) from error


def _item(
    number: int, key: str, parts: dict[str, tarfile.TarInfo], tar: tarfile.TarFile
) -> list[Item]:
    picture = next((m for e, m in parts.items() if f".{e.rpartition('.')[2]}" in SUFFIXES), None)
    if picture is None:
        return []
    label = _label({e: m for e, m in parts.items() if e in (*LABELS, "json")}, tar)
    return [Item(number, key, picture.offset_data, picture.size, label)]


def _label(parts: dict[str, tarfile.TarInfo], tar: tarfile.TarFile) -> int | None:
    """Return the class index of an item: of its .cls, or of `label` or `cls` in its .json; None where neither is one."""
    for extension, member in parts.items():
        file = tar.extractfile(member)
        if file is None or member.size > MOST_TEXT:
            continue
        text = file.read().decode("utf-8", "replace").strip()
        found: Any = text
        if extension == "json":
            try:
                told = json.loads(text)
            except ValueError:
                continue
            found = told.get("label", told.get("cls")) if isinstance(told, dict) else None
        if str(found).isdigit():
            return int(found)
    return None


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]

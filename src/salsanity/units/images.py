"""Which images a run explains, in which order; and reading a chunk of them again."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from salsanity.data.examples import Example, ImageSource, image_id, seeded_order
from salsanity.errors import DataError


@dataclass(frozen=True)
class ImageEntry:
    """One image of a run. `index` is its place in the source; `target` the class explained (-1: each network's own)."""

    id: str
    name: str
    label: int | None
    index: int
    target: int = -1

    def to_json(self) -> dict[str, Any]:
        """Return what spec.json keeps."""
        return {"id": self.id, "name": self.name, "label": self.label, "target": self.target}


Places = tuple[tuple[int, int], ...]
"""The place of each image in the source, and the class explained."""

Found = tuple[ImageEntry, Tensor | None]
"""An image of a run, and its pixels where they were read."""

Known = Callable[[int], ImageEntry | None]
"""What is remembered of the image at a place; None where it must be read."""


@dataclass
class ImageIndex:
    """The images that a run uses, and what was said of those that it cannot use."""

    entries: list[ImageEntry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    duplicates: int = 0


def index_images(
    source: ImageSource,
    *,
    seed: int,
    limit: int,
    recorded: Sequence[Mapping[str, Any]] = (),
    names: Sequence[str] | None = None,
) -> ImageIndex:
    """Choose up to `limit` readable, distinct images of one shape in seeded order, after those already recorded.

    `names` are the items' names where the source knows them without loading. Raises `DataError` where none is readable, or where
    a recorded image is gone or has other pixels.
    """
    return begun(Finder(source, seed=seed, names=names), limit=limit, recorded=recorded)


def begun(finder: Finder, *, limit: int, recorded: Sequence[Mapping[str, Any]] = ()) -> ImageIndex:
    """Find the first images up to `limit`, after those that are recorded; raises as `index_images` does."""
    found = finder.found
    found.entries += finder.take(recorded)
    found.entries += [entry for entry, _ in finder.entries(limit)]
    if not found.entries:
        raise DataError(_no_images(finder.source, found.problems))
    return found


@final
class Finder:
    """Finds the images of a run one after another, in the order of their names and the seed.

    It keeps no image that it gave, so that it may find many: `found` holds those that the run begins with.
    """

    def __init__(
        self, source: ImageSource, *, seed: int, names: Sequence[str] | None = None
    ) -> None:
        self.source = source
        self.names = names if names is not None else [str(i) for i in range(len(source))]
        self.order = iter(array("q", seeded_order(self.names, seed)))
        self.found = ImageIndex()
        self.count = 0
        self.seen: set[str] = set()
        self.taken: set[int] = set()
        self.shape: tuple[int, ...] | None = None

    def take(self, recorded: Sequence[Mapping[str, Any]]) -> list[ImageEntry]:
        """Begin with images that a run has recorded, and return them."""
        places = {name: i for i, name in enumerate(self.names)} if recorded else {}
        taken = [_again(self.source, old, places) for old in recorded]
        self.taken = {entry.index for entry in taken}
        for entry in taken:
            self._note(entry)
        return taken

    def entries(self, limit: int, known: Known | None = None) -> Iterator[Found]:
        """Yield further images until there are `limit`; of what is `known` of one, its pixels are not read."""
        while self.count < limit:
            index = next(self.order, None)
            if index is None:
                return
            told = None if known is None else known(index)
            entry, x = (told, None) if told is not None else self._read(index)
            if entry is None or self._is_again(entry):
                continue
            self._note(entry)
            yield entry, x

    def forget(self) -> None:
        """Let go of what finding needs: no image is found any more."""
        self.order = iter(())
        self.seen.clear()

    def _read(self, index: int) -> tuple[ImageEntry | None, Tensor | None]:
        example = _readable(self.source, index, self.found)
        if example is None:
            return None, None
        self.shape = self.shape or tuple(example.x.shape)
        if tuple(example.x.shape) != self.shape:
            self.found.problems.append(
                f"{example.name}: expected shape {self.shape} like the others, got {tuple(example.x.shape)}; give --size"
            )
            return None, None
        return ImageEntry(image_id(example.x), example.name, example.label, index), example.x

    def _is_again(self, entry: ImageEntry) -> bool:
        """Whether its pixels are those of another, which is counted, or it was recorded itself."""
        if entry.id not in self.seen:
            return False
        self.found.duplicates += entry.index not in self.taken
        return True

    def _note(self, entry: ImageEntry) -> None:
        self.count += 1
        self.seen.add(entry.id)


def _readable(source: ImageSource, index: int, found: ImageIndex) -> Example | None:
    try:
        return source[index]
    except DataError as error:
        found.problems.append(str(error))
        return None


def _again(source: ImageSource, old: Mapping[str, Any], places: Mapping[str, int]) -> ImageEntry:
    name = old["name"]
    index = places.get(name, -1)
    if index < 0 or image_id(source[index].x) != old["id"]:
        raise DataError(
            f"expected image {name!r} of the run in this folder, but it is gone or its pixels changed; "
            "bring it back, repeat size, mean, std and channels as they were, or start a new run with another --out"
        )
    return ImageEntry(old["id"], name, old["label"], index, old.get("target", -1))


def _no_images(source: ImageSource, problems: Sequence[str]) -> str:
    if not problems:
        return f"expected at least one image, but {source.name} holds none"
    return (
        f"expected at least one readable image in {source.name}, but all {len(problems)} failed; "
        f"the first: {problems[0]}"
    )


@dataclass(frozen=True)
class ChunkReader:
    """Reads images of a run again by id, so that memory holds one chunk only."""

    source: ImageSource
    entries: Mapping[str, ImageEntry]
    device: torch.device

    def read(self, ids: Sequence[str], at: Places = ()) -> Tensor:
        """Return the preprocessed images (B, ...) on the device; `at`: their places, where they are not among `entries`.

        Raises `DataError` where one has other pixels than its id says.
        """
        indices = [index for index, _ in at or self.places(ids)]
        found = [self._checked(image, i) for image, i in zip(ids, indices, strict=True)]
        return torch.stack(found).to(self.device)

    def places(self, ids: Sequence[str]) -> Places:
        """Return the place of each image in the source, and the class explained."""
        return tuple((self.entries[image].index, self.entries[image].target) for image in ids)

    def _checked(self, image: str, index: int) -> Tensor:
        example = self.source[index]
        if image_id(example.x) != image:
            raise DataError(
                f"expected image {example.name!r} as it was when the run first read it, but its pixels changed; bring it "
                "back, or start a new run with another --out"
            )
        return example.x

    def display(self, image: str) -> Tensor:
        """Return one image as a person sees it, (C, H, W) in [0, 1]."""
        return self.source[self.entries[image].index].display

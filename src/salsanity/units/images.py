"""Which images a run explains, in which order; and reading a chunk of them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    names = names if names is not None else [str(i) for i in range(len(source))]
    found = ImageIndex()
    seen: set[str] = set()
    places = {name: i for i, name in enumerate(names)}
    for old in recorded:
        found.entries.append(_again(source, old, places))
        seen.add(old["id"])
    shape: tuple[int, ...] | None = None
    for index in seeded_order(names, seed):
        if len(found.entries) >= limit:
            break
        example = _readable(source, index, found)
        if example is None:
            continue
        shape = shape or tuple(example.x.shape)
        if tuple(example.x.shape) != shape:
            found.problems.append(
                f"{example.name}: expected shape {shape} like the others, got {tuple(example.x.shape)}; give --size"
            )
            continue
        image = image_id(example.x)
        if image in seen:
            found.duplicates += all(entry.index != index for entry in found.entries)
            continue
        seen.add(image)
        found.entries.append(ImageEntry(image, example.name, example.label, index))
    if not found.entries:
        raise DataError(_no_images(source, found.problems))
    return found


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

    def read(self, ids: Sequence[str]) -> Tensor:
        """Return the preprocessed images (B, ...) on the device."""
        found = [self.source[self.entries[image].index].x for image in ids]
        return torch.stack(found).to(self.device)

    def display(self, image: str) -> Tensor:
        """Return one image as a person sees it, (C, H, W) in [0, 1]."""
        return self.source[self.entries[image].index].display

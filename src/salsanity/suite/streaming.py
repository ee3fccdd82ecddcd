"""Images of a large run beyond the first, found while it goes: read once, told apart by their pixels, aimed, remembered."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, final

import torch
from torch import Tensor

from salsanity.data.examples import ImageSource
from salsanity.data.images import FolderSource
from salsanity.records import digest
from salsanity.store.remembered import Listed, Remembered
from salsanity.units.images import Finder, Found, ImageEntry, ImageIndex
from salsanity.units.spec import RunSpec

STREAM_FROM: Final = 1024
"""Images from which on a run begins before it has read all of them."""

FIRST: Final = 256
"""Images that such a run reads before it begins."""

BLOCK: Final = 32
"""Images that are aimed together."""

Aim = Callable[[Sequence[ImageEntry], Tensor], Sequence[int]]
"""Says which class the network predicts for images."""


def is_streamed(source: ImageSource, spec: RunSpec) -> bool:
    """Whether a run of these images begins before all are read: it is large, and needs not know all of them."""
    count = min(len(source), spec.max_images)
    is_aimed = spec.target != "label" or _knows_labels(source)
    return count > STREAM_FROM and not spec.until_decided and is_aimed


def _knows_labels(source: ImageSource) -> bool:
    """Whether the labels of all images are known before one is read."""
    return isinstance(source, FolderSource) and all(file in source.labels for file in source.files)


@final
class MoreImages:
    """The images after the first, in order; what is known of them grows as they are asked for, on disk.

    `target`: chooses the class to explain from an image and the class predicted.
    """

    def __init__(
        self,
        finder: Finder,
        limit: int,
        *,
        remembered: Remembered,
        aim: Aim,
        target: Callable[[ImageEntry, int], int],
    ) -> None:
        self.finder, self.limit, self.remembered = finder, limit, remembered
        self.aim, self.target = aim, target
        self.lines = array("q")
        """Where what is remembered of those that were found begins, in order."""
        self.right = self.known = 0

    @property
    def index(self) -> ImageIndex:
        """What was found, and what could not be used, so far."""
        return self.finder.found

    @property
    def most(self) -> int:
        """How many images the run has at most."""
        return min(self.limit, len(self.finder.names))

    def listed(self, first: Sequence[dict[str, Any]]) -> Listed:
        """Return what spec.json keeps of the images `first` and of those that were found after them, in order."""
        return Listed(first, self.remembered.path, self.lines)

    def forget(self) -> None:
        """Let go of what only finding images needs."""
        self.finder.forget()

    def __iter__(self) -> Iterator[ImageEntry]:
        """Yield the images, each aimed; those recorded before come first."""
        block: list[Found] = []
        for one in self.finder.entries(self.limit, self._known):
            block.append(one)
            if len(block) == BLOCK:
                yield from self._aimed(block)
                block = []
        yield from self._aimed(block)

    def _known(self, index: int) -> ImageEntry | None:
        name = self.finder.names[index]
        told = self.remembered.get(index, looks_of(self.finder.source, index))
        if told is None or not {"target", "predicted"} <= told.keys():
            return None
        return ImageEntry(told["id"], name, told.get("label"), index, told["target"])

    def _aimed(self, block: Sequence[Found]) -> list[ImageEntry]:
        """Choose classes, count how often predictions are right, and remember."""
        guesses = self._guessed([(entry, x) for entry, x in block if x is not None])
        aimed, lines = [], {}
        for entry, x in block:
            is_read = x is not None
            guess = guesses[entry.id] if is_read else self.remembered.told(entry.index)["predicted"]
            aimed.append(replace(entry, target=self.target(entry, guess)) if is_read else entry)
            self.known += entry.label is not None
            self.right += entry.label == guess
            looks = looks_of(self.finder.source, entry.index)
            more = {"predicted": guess, "looks": None if looks is None else [*looks]}
            lines[entry.index] = {**aimed[-1].to_json(), **more}
        self.remembered.add(lines)
        self.lines.extend(self.remembered.at[entry.index] for entry in aimed)
        return aimed

    def _guessed(self, read: Sequence[tuple[ImageEntry, Tensor]]) -> dict[str, int]:
        if not read:
            return {}
        predicted = self.aim([entry for entry, _ in read], torch.stack([x for _, x in read]))
        return {entry.id: guess for (entry, _), guess in zip(read, predicted, strict=True)}


def looks_of(source: ImageSource, index: int) -> tuple[int, int] | None:
    """Return size and time of change of an image's file; None where the source has no files, or it is gone."""
    looks = getattr(source, "looks", None)
    found: tuple[int, int] | None = None if looks is None else looks(index)
    return found


def remembered_key(source: ImageSource, fingerprint: str, spec: RunSpec) -> str:
    """Digest what ids and classes of images depend on beside their files."""
    preprocessing = repr(getattr(source, "preprocessing", None))
    return digest([source.name, preprocessing, fingerprint, spec.target])

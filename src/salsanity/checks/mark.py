"""A mark that is planted in images: what it looks like, and where it may stand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from salsanity.checks.frame import Chunk
from salsanity.data.decode import decode
from salsanity.data.preprocessing import Preprocessing
from salsanity.errors import DataError, UsageError
from salsanity.similarity.mass import BoxMass

CELLS: Final = 5
"""Cells along a side of the checker."""
USUAL_SIDE: Final = 28
"""Pixels along the shorter side of an image in which a cell of the checker is one pixel."""

Corner = tuple[int, int]
"""Top and left of a place, in pixels."""


@final
@dataclass(frozen=True, eq=False)
class Mark:
    """A small picture, and a place for each class along the border; no two places overlap.

    `pattern`: (C, h, w) in the network's input units.
    """

    pattern: Tensor
    corners: tuple[Corner, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pattern.shape[1], self.pattern.shape[2]

    def on(self, images: Tensor, places: Tensor) -> Tensor:
        """Return images (B, C, H, W) that bear the mark at the places of classes (B,)."""
        if bool((places >= len(self.corners)).any()):
            raise DataError(
                f"expected classes from 0 to {len(self.corners) - 1}, as the mark has places for, got {int(places.max())}"
            )
        (height, width), marked = self.size, images.clone()
        pattern = self.pattern.to(images)
        for place, (top, left) in enumerate(self.corners):
            marked[places == place, :, top : top + height, left : left + width] = pattern
        return marked

    def mass(self, places: Tensor) -> BoxMass:
        """Return the statistic that measures how much of a map lies on the mark at the places of classes (B,)."""
        return BoxMass(tuple((*self.corners[place], *self.size) for place in places.tolist()))


@final
@dataclass(frozen=True, eq=False)
class MarkMass:
    """How much of a map lies on the mark that tells the image's class."""

    mark: Mark

    name: ClassVar[str] = BoxMass.name

    def placed(self, chunk: Chunk) -> BoxMass:
        """Return the statistic for the images of a chunk, whose targets are their classes."""
        return self.mark.mass(chunk.targets)


def planted(images: Tensor, classes: int, *, file: Path | None = None) -> Mark:
    """Return the mark for images (N, C, H, W) of so many classes: a checker of 5 x 5 cells, or what a file shows.

    Black and white are each channel's least and greatest value in the images. A cell of the checker is one pixel of 28, smaller
    where the border has no room for a place for each class; what a file shows keeps its size. Raises `UsageError` where there is
    no room.
    """
    if images.dim() != 4:
        raise UsageError(
            f"expected images (N, C, H, W) to plant a mark in, got shape {tuple(images.shape)}; the check is defined for images"
        )
    height, width = images.shape[2:]
    if file is not None:
        grey = picture(file, images.shape[1])
        return Mark(_in_units(grey, images), _chosen(grey, (height, width), classes))
    largest = max(1, round(min(height, width) / USUAL_SIDE))
    sizes = (checker(cell) for cell in range(largest, 0, -1))
    fitting = (c for c in sizes if len(places(c.shape[1:], (height, width))) >= classes)
    grey = next(fitting, checker(1))
    return Mark(_in_units(grey, images), _chosen(grey, (height, width), classes))


def checker(cell: int) -> Tensor:
    """Return alternating ones and zeros, (1, 5 cell, 5 cell), with a one in every corner."""
    index = torch.arange(CELLS).repeat_interleave(cell)
    return ((index[:, None] + index[None, :] + 1) % 2).float()[None]


def picture(file: Path, channels: int) -> Tensor:
    """Read a mark as (C, h, w) in [0, 1]; `DataError` where the file cannot be read."""
    try:
        return decode(file, Preprocessing(channels=3 if channels == 3 else 1))
    except DataError as error:
        raise DataError(f"the mark {str(file)!r} cannot be used: {error}") from error


def places(size: tuple[int, ...], image: tuple[int, int]) -> tuple[Corner, ...]:
    """Return where marks of a size fit along the border without overlap, clockwise from the upper left corner."""
    (height, width), (rows, columns) = size, image
    across = _spread(columns, width, ends=True)
    down = [height + top for top in _spread(rows - 2 * height, height, ends=False)]
    if not across or rows < 2 * height:
        return ()
    bottom, right = rows - height, columns - width
    return (
        *((0, left) for left in across),
        *((top, right) for top in down if right >= width),
        *((bottom, left) for left in reversed(across)),
        *((top, 0) for top in reversed(down) if right >= width),
    )


def _spread(room: int, size: int, *, ends: bool) -> list[int]:
    """Return the beginnings of as many pieces as have room, spread evenly; `ends`: the first and the last at an end."""
    count = max(0, room) // size
    gaps = count - 1 if ends else count + 1
    free = room - count * size
    return [i * size + round((i + (not ends)) * free / max(1, gaps)) for i in range(count)]


def _chosen(grey: Tensor, image: tuple[int, int], classes: int) -> tuple[Corner, ...]:
    """Choose a place for each class, spread evenly among those that there are."""
    size = (grey.shape[1], grey.shape[2])
    found = places(size, image)
    if len(found) < classes:
        raise UsageError(
            f"expected room for a mark of {size[0]} x {size[1]} pixels for each of {classes} classes along the border of images "
            f"of {image[0]} x {image[1]}, got room for {len(found)}; take larger images, fewer classes or a smaller mark"
        )
    return tuple(found[k * len(found) // classes] for k in range(classes))


def _in_units(grey: Tensor, images: Tensor) -> Tensor:
    """Bring values in [0, 1] to the range of each channel of images, (C, h, w)."""
    channels = images.transpose(0, 1).flatten(1)
    low, high = (extreme[:, None, None] for extreme in (channels.amin(1), channels.amax(1)))
    if bool((low == high).all()):
        raise DataError(
            "expected images of more than one value, got none other; a mark would not be seen on them"
        )
    return low + grey.to(images) * (high - low)

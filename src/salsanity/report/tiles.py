"""The maps of the gallery as pictures for the page, small enough to travel in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from salsanity.report.folder import GalleryImage, Run
from salsanity.report.pictures import data_uri, fitted, is_flat, map_png, photo_file, small_view
from salsanity.report.terms import method_name, printable, state_name

BUDGET: Final = 11_000_000
"""Bytes of the page that maps may take, as base64."""

SIDES: Final = (128, 112, 96, 80, 72, 64, 56, 48, 40, 32)
SAMPLES: Final = 24
FLAT: Final = "flat"
AROUND: Final = 150
"""Bytes of markup around a map."""

Readings: TypeAlias = dict[str, dict[str, dict[str, dict[str, list[list[float | None] | None]]]]]


@dataclass(frozen=True)
class Picture:
    """One gallery image as it is shown, and its maps by view, method and state."""

    number: int
    image: str
    name: str
    target: str
    label: str | None
    photo: str
    tiles: dict[str, list[tuple[str, list[str | None]]]]
    """View to rows of (method, tiles by state): a data URI, `FLAT`, or None where there is no map."""


@dataclass(frozen=True)
class Album:
    """All pictures of a run, and how they were made small."""

    pictures: list[Picture]
    methods: list[str]
    states: list[str]
    size: tuple[int, int]
    """Width and height of a map on the page, in pixels."""

    original: tuple[int, int]
    left_out: int

    @property
    def reduced(self) -> bool:
        """Whether maps are smaller than the images that the network saw."""
        return self.size != self.original

    @property
    def cell(self) -> str:
        """The class of the width of a cell: few states leave room for large maps."""
        count = len(self.states)
        return "large" if count <= 6 else "medium" if count <= 10 else "small"

    @property
    def tall_names(self) -> bool:
        """Whether names of states are too long to stand over a map."""
        room = {"large": 15, "medium": 11, "small": 8}[self.cell]
        return any(len(state_name(state)) > room for state in self.states)


def album(run: Run, *, budget: int = BUDGET) -> Album | None:
    """Return the gallery's pictures, as large as the budget allows; None without a gallery."""
    shown = [image for image in run.gallery if len(image.keys) > 1]
    if not shown:
        return None
    methods = [m for m in (*run.methods, *run.controls) if _kept(shown, m, run.states)]
    states = [s for s in run.states if any(_kept([i], m, [s]) for i in shown for m in methods)]
    side, count = _affordable(run, shown, methods, states, budget)
    height, width = fitted(shown[0].size, side)
    return Album(
        pictures=[
            _picture(run, k, image, methods, states, side) for k, image in enumerate(shown[:count])
        ],
        methods=methods,
        states=states,
        size=(width, height),
        original=shown[0].size[::-1],
        left_out=len(shown) - count,
    )


def _kept(images: Sequence[GalleryImage], method: str, states: Sequence[str]) -> bool:
    return any(image.has(method, state) for image in images for state in states)


def _affordable(
    run: Run, shown: list[GalleryImage], methods: list[str], states: list[str], budget: int
) -> tuple[int, int]:
    """Return the largest side that fits the budget, and how many images then fit."""
    cells = [(i, m, s) for i in shown for m in methods for s in states if i.has(m, s)]
    sample = cells[:: max(1, len(cells) // SAMPLES)]
    native = min(max(shown[0].size), max(max(i.map(m, s).shape[1:]) for i, m, s in sample))
    sides = sorted({min(side, native) for side in SIDES}, reverse=True)
    count, cost = len(cells) * len(run.views), 0.0
    for side in sides:
        drawn = [_tiles(i, m, s, run.views, side) for i, m, s in sample]
        sizes = [len(tile) for tiles in drawn for tile in tiles.values()]
        cost = (float(np.mean(sizes)) * 4 / 3 + AROUND) * count
        if cost <= budget:
            return side, len(shown)
    return sides[-1], max(1, int(len(shown) * budget / cost))


def _tiles(
    image: GalleryImage, method: str, state: str, views: Sequence[str], side: int
) -> dict[str, bytes]:
    """Return one map as a file for each view."""
    values = image.map(method, state)
    return {
        v: b""
        if is_flat(values, v)
        else map_png(small_view(values, v, like=image.size, side=side), v)
        for v in views
    }


def _shown(tile: bytes | None) -> str | None:
    """Return a tile as a data URI; `FLAT` for a constant map, which would look like no map."""
    return None if tile is None else data_uri(tile) if tile else FLAT


def _picture(
    run: Run,
    number: int,
    image: GalleryImage,
    methods: list[str],
    states: list[str],
    side: int,
) -> Picture:
    views = list(reversed(run.views))
    tiles: dict[str, list[tuple[str, list[str | None]]]] = {view: [] for view in views}
    for method in methods:
        kept = [
            _tiles(image, method, s, views, side) if image.has(method, s) else {} for s in states
        ]
        for view in views:
            row = [_shown(tile.get(view)) for tile in kept]
            tiles[view].append((method, row))
    return Picture(
        number=number,
        image=image.image,
        name=printable(image.name),
        target=printable(image.target),
        label=None if image.label is None else printable(image.label),
        photo=data_uri(photo_file(image.photo())),
        tiles=tiles,
    )


def readings(run: Run, shown: Album) -> Readings:
    """Return the scores of the pictured images at every state of the first draw.

    picture number, method, view, similarity: [[value, chance] per state]; null where undefined.
    """
    scores = run.scores
    numbers = {p.image: p.number for p in shown.pictures}
    places = {("self" if s == "trained" else s): k for k, s in enumerate(shown.states)}
    part = scores[
        (scores["draw"] == 0) & scores["image"].isin(list(numbers)) & scores["stage"].isin(places)
    ]
    found: Readings = {}
    columns = ["image", "method", "view", "similarity", "stage", "value", "chance"]
    for image, method, view, similarity, stage, value, chance in part[columns].itertuples(
        index=False
    ):
        by_view = found.setdefault(str(numbers[image]), {}).setdefault(method, {})
        line = by_view.setdefault(view, {}).setdefault(similarity, [None] * len(shown.states))
        line[places[stage]] = [_json_number(value), _json_number(chance)]
    return found


def _json_number(value: float) -> float | None:
    return round(float(value), 3) if value == value else None


def alt(method: str, state: str, view: str, picture: Picture) -> str:
    """Return what a map shows, for those who do not see it."""
    return f"{method_name(method)}, {state_name(state)}, {view} map of image {picture.number + 1}"

"""The maps of the gallery as pictures for the page, small enough to travel in one file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from salsanity.records import REFERENCE_STAGE, Outcome
from salsanity.report.folder import GalleryImage, Part
from salsanity.report.pictures import data_uri, fitted, is_flat, map_png, photo_file, small_view
from salsanity.report.terms import method_name, printable, state_name
from salsanity.report.worst import deciding, worst_first

BUDGET: Final = 3_900_000
"""Bytes of the page that maps may take, as base64."""

LARGEST: Final = 160
"""Pixels of a map's longer side at most."""

SEEN: Final = 112
"""Pixels at which maps of a small network are shown."""

THUMB: Final = 96
"""Pixels of a photograph's longer side where images are chosen, and in the head."""

FEWEST: Final = 3
"""Images that are shown before maps are made smaller for more."""

SIDES: Final = (LARGEST, 144, 128, 112, 96, 80, 72, 64, 56, 48, 40, 32)
SAMPLES: Final = 36
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
    thumb: str
    tiles: dict[str, list[tuple[str, list[str | None]]]]
    """View to rows of (method, tiles by state): a data URI, `FLAT`, or None where there is no map."""


@dataclass(frozen=True)
class Album:
    """All pictures of a check, and how they were made small."""

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
    def shown(self) -> tuple[int, int]:
        """Width and height at which a map is shown where there is room: its own, small ones by whole factors larger."""
        factor = max(1, round(SEEN / max(self.size)))
        return self.size[0] * factor, self.size[1] * factor

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


def album(part: Part, *, budget: int = BUDGET) -> Album | None:
    """Return the gallery's pictures, as large as the budget allows; None without a gallery."""
    every = (*worst_first(part), *part.controls)
    shown = [i for i in part.gallery if any(_kept([i], m, part.states) for m in every)]
    if not shown:
        return None
    methods = [m for m in every if _kept(shown, m, part.states)]
    states = [s for s in part.states if any(_kept([i], m, [s]) for i in shown for m in methods)]
    side, count = _affordable(part, shown, methods, states, budget)
    height, width = fitted(shown[0].size, side)
    return Album(
        pictures=[
            _picture(part, k, image, methods, states, side) for k, image in enumerate(shown[:count])
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
    part: Part, shown: list[GalleryImage], methods: list[str], states: list[str], budget: int
) -> tuple[int, int]:
    """Return the largest side at which a few images fit the budget, and how many images then do."""
    cells = [(i, m, s) for i in shown for m in methods for s in states if i.has(m, s)]
    sample = cells[:: max(1, len(cells) // SAMPLES)]
    native = min(max(shown[0].size), max(max(i.map(m, s).shape[1:]) for i, m, s in sample))
    sides = sorted({min(side, native) for side in SIDES}, reverse=True)
    each = len(cells) * len(part.views) / len(shown)
    fitting = 0
    for side in sides:
        drawn = [_tiles(i, m, s, part.views, side) for i, m, s in sample]
        sizes = [len(tile) for tiles in drawn for tile in tiles.values()]
        fitting = int(budget / ((float(np.mean(sizes)) * 4 / 3 + AROUND) * each))
        if fitting >= min(FEWEST, len(shown)):
            return side, min(fitting, len(shown))
    return sides[-1], min(len(shown), max(1, fitting))


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
    part: Part,
    number: int,
    image: GalleryImage,
    methods: list[str],
    states: list[str],
    side: int,
) -> Picture:
    views = list(reversed(part.views))
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
        thumb=data_uri(photo_file(image.photo(), THUMB)),
        tiles=tiles,
    )


def readings(part: Part, shown: Album) -> Readings:
    """Return the scores of the pictured images at every state of the first draw; none where stages are no states.

    picture number, method, view, similarity: [[value, chance] per state]; null where undefined.
    """
    numbers = {p.image: p.number for p in shown.pictures}
    reference = part.states[0]
    places = {(REFERENCE_STAGE if s == reference else s): k for k, s in enumerate(shown.states)}
    if not set(part.stages) & set(shown.states):
        return {}
    found: Readings = {}
    for image, method, view, similarity, stage, value, chance in _seen(part, numbers, places):
        by_view = found.setdefault(str(numbers[image]), {}).setdefault(method, {})
        line = by_view.setdefault(view, {}).setdefault(similarity, [None] * len(shown.states))
        line[places[stage]] = [_json_number(value), _json_number(chance)]
    return found


def _seen(
    part: Part, images: Collection[str], stages: Collection[str]
) -> Iterator[tuple[str, str, str, str, str, float, float]]:
    """Yield image, method, view, similarity, stage, value and chance of some images at some stages of the first draw."""
    rows = part.rows
    texts = {name: rows.texts(name) for name in ("image", "stage")}
    check = part.record.name
    every = ((m, *cell) for m in rows.methods(check) for cell in rows.cells(check, m))
    for method, view, similarity in every:
        found = rows.read_cell(check, method, view, similarity)
        found = found[found["draw"] == 0]
        found = found[np.isin(found["image"], rows.places("image", images))]
        for row in found[np.isin(found["stage"], rows.places("stage", stages))]:
            image, stage = (texts[n][row[n]] for n in texts)
            yield image, method, view, similarity, stage, row["value"], row["chance"]


def _json_number(value: float) -> float | None:
    return round(float(value), 3) if value == value else None


def alt(method: str, state: str, view: str, picture: Picture) -> str:
    """Return what a map shows, for those who do not see it."""
    return f"{method_name(method)}, {state_name(state)}, {view} map of image {picture.number + 1}"


@dataclass(frozen=True)
class ExampleRow:
    """A method's map before and after the change: two data URIs, or `FLAT`."""

    method: str
    name: str
    outcome: Outcome
    before: str
    after: str


@dataclass(frozen=True)
class Example:
    """What the page shows first: one image, and two methods' maps of it."""

    photo: str
    image: str
    view: str
    states: tuple[str, str]
    rows: list[ExampleRow]


def example(part: Part) -> Example | None:
    """Return the maps of the first image for the worst method that was caught and the best that was not.

    None where the gallery shows neither.
    """
    image = next(iter(part.gallery), None)
    states = part.states[0], _changed(part)
    order = [m for m in worst_first(part) if m in part.headlines]
    if image is None or states[0] == states[1]:
        return None
    shown = [m for m in order if all(image.has(m, s) for s in states)]
    caught = [m for m in shown if part.headlines[m].outcome is Outcome.FAIL]
    uncaught = [m for m in shown if part.headlines[m].outcome is Outcome.PASS]
    chosen = [*caught[:1], *uncaught[-1:]]
    if not chosen:
        return None
    view = deciding(part, part.headlines[chosen[0]]).view or part.views[-1]
    return Example(
        photo=data_uri(photo_file(image.photo(), THUMB)),
        image=printable(image.name),
        view=view,
        states=(state_name(states[0]), "changed"),
        rows=[_example_row(part, image, m, states, view) for m in chosen],
    )


def _changed(part: Part) -> str:
    """Return the state in which everything is changed: that of the first line, else the last."""
    decisive = part.record.lines[0].stage if part.record.lines else ""
    return decisive if decisive in part.states else part.states[-1]


def _example_row(
    part: Part, image: GalleryImage, method: str, states: tuple[str, str], view: str
) -> ExampleRow:
    before, after = (
        _shown(_tiles(image, method, state, [view], LARGEST)[view]) or FLAT for state in states
    )
    return ExampleRow(method, part.names[method], part.headlines[method].outcome, before, after)

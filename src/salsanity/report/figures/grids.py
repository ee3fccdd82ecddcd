"""Grids of maps: methods beside the edge detector, and methods by stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salsanity.errors import UsageError
from salsanity.report.figures.style import MUTED, USUAL, Look, blank_axes, root, styled
from salsanity.report.folder import GalleryImage, Part
from salsanity.report.pictures import COLOUR_MAPS, UNDEFINED, fitted, rgb, small_view
from salsanity.report.terms import printable, state_name

SIDE: Final = 96
"""Pixels of a map's longer side in a figure."""

CELL: Final = 0.66
"""Inches of a map's longer side in a figure."""

GAP: Final = 0.05
LABELS: Final = 1.25
FOOT: Final = 0.34


@dataclass(frozen=True)
class Grid:
    """Maps in rows and columns: (image, method, state) or None where there is none."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[tuple[GalleryImage, str, str] | None, ...], ...]


def methods_figure(
    part: Part,
    *,
    view: str = "absolute",
    images: Sequence[int] | None = None,
    look: Look = USUAL,
) -> Figure:
    """Draw the reference maps of all methods beside the edge detector (P, figure 1)."""
    shown = [pictured(part, k) for k in images or range(min(4, len(part.gallery)))]
    chosen = look.chosen(part.methods, [c for c in part.controls if c == "edge"])
    state = part.states[0]
    kept = [m for m in chosen if any(image.has(m, state) for image in shown)]
    cells = tuple(
        tuple((image, m, state) if image.has(m, state) else None for m in kept) for image in shown
    )
    columns = tuple(wrapped(look.name(m, part.names)) for m in kept)
    grid = Grid(tuple("" for _ in shown), columns, cells)
    with styled():
        return _drawn(grid, view, photos=shown, look=look)


def states_figure(
    part: Part, *, view: str = "absolute", image: int = 0, look: Look = USUAL
) -> Figure:
    """Draw methods by stages, or by networks, for one image."""
    shown = pictured(part, image)
    chosen = look.chosen(part.methods, part.controls)
    kept = [m for m in chosen if any(shown.has(m, s) for s in part.states)]
    states = [s for s in part.states if any(shown.has(m, s) for m in kept)]
    cells = tuple(tuple((shown, m, s) if shown.has(m, s) else None for s in states) for m in kept)
    names = tuple(look.name(m, part.names) for m in kept)
    grid = Grid(names, tuple(map(state_name, states)), cells)
    with styled():
        return _drawn(grid, view, photos=[shown], look=look)


def pictured(part: Part, position: int) -> GalleryImage:
    """Return a gallery image.

    Raises:
        UsageError: the gallery has no such image.
    """
    if not 0 <= position < len(part.gallery):
        raise UsageError(
            f"expected an image among the {len(part.gallery)} of the gallery, got {position}; "
            "run with a larger --gallery to keep more maps"
        )
    return part.gallery[position]


def wrapped(name: str) -> str:
    """Break a long name before its last word."""
    head, space, tail = name.rpartition(" ")
    return f"{head}\n{tail}" if space and len(name) > 9 else name.replace("-", "-\n", 1)


def _scaling(view: str, look: Look) -> str:
    if look.cmap is not None:
        return f"{view} maps; each map scaled by its own 99th percentile."
    what = "blue negative, white 0, red positive" if view == "signed" else "white 0, black large"
    return f"{view} maps: {what}; each map scaled by its own 99th percentile."


def _drawn(grid: Grid, view: str, *, photos: Sequence[GalleryImage], look: Look) -> Figure:
    """Lay the maps out as one mosaic of scaled values, so that one colour map serves them all."""
    size = fitted(photos[0].size, SIDE)
    if look.ax is not None:
        look.ax.set(xticks=[], yticks=[])
        return root(_filled(look.ax, grid, view, size, look))
    rows, columns = len(grid.rows), len(grid.columns)
    beside = len(photos) == len(grid.rows)
    right = _overhang(grid.columns)
    ch, cw = _cell(size, columns, look, labels=(0.1 if beside else LABELS) + right - 0.1)
    left = (0.1 if beside else LABELS) + cw + 3 * GAP
    top = 0.15 + _heading_height(grid.columns) + look.head
    w = left + columns * (cw + GAP) + right
    h = top + rows * (ch + GAP) + FOOT
    figure = Figure(figsize=(max(w, 3.2), h))
    axes = blank_axes(figure, left, FOOT, columns * (cw + GAP), rows * (ch + GAP))
    _filled(axes, grid, view, size, look)
    room = 16 if look.width is None else max(5, int(cw / 0.055))
    for k, photo in enumerate(photos):
        bottom = FOOT + (rows - 1 - k) * (ch + GAP) + GAP / 2
        _photo(figure, photo, (0.1, bottom, cw, ch), room=0 if beside else room)
    fitting = 5.5 if look.width is not None and w < 4.2 else 6.5
    figure.text(0.1 / w, 0.1 / h, _scaling(view, look), color=MUTED, fontsize=fitting)
    return figure


def _cell(size: tuple[int, int], columns: int, look: Look, *, labels: float) -> tuple[float, float]:
    """Return the inches of a map, high and wide: as usual, or so that the photograph and all maps fill the width asked for."""
    unit = CELL / max(size)
    if look.width is not None:
        across = look.inches(0) - labels - 0.1 - (columns + 3) * GAP
        unit = max(0.12, across / (columns + 1)) / size[1]
    return size[0] * unit, size[1] * unit


def _filled(axes: Axes, grid: Grid, view: str, size: tuple[int, int], look: Look) -> Axes:
    _mosaic(axes, grid, view, size, look)
    _headings(axes, grid, slanted=_heading_height(grid.columns) > 0.3)
    return axes


def _heading_height(columns: Sequence[str]) -> float:
    longest = max((len(line) for name in columns for line in name.split("\n")), default=0)
    return 0.28 if longest <= 11 else min(1.1, 0.2 + 0.055 * longest)


def _overhang(columns: Sequence[str]) -> float:
    """The inches right of the maps: a slanted heading of the last column leans out of it."""
    slanted = _heading_height(columns) > 0.3
    return 0.1 + (0.04 * len(columns[-1]) if slanted and columns else 0.0)


def _mosaic(axes: Axes, grid: Grid, view: str, size: tuple[int, int], look: Look) -> None:
    height, width = size
    gap_y, gap_x = (round(GAP / CELL * max(size)),) * 2
    step_y, step_x = height + gap_y, width + gap_x
    canvas = np.full((len(grid.rows) * step_y, len(grid.columns) * step_x), np.nan, np.float32)
    holes = np.ones(canvas.shape, dtype=bool)
    for r, row in enumerate(grid.cells):
        for c, cell in enumerate(row):
            y, x = r * step_y + gap_y // 2, c * step_x + gap_x // 2
            centre = x + width / 2, y + height / 2
            if cell is None:
                _note(axes, centre, "none")
                continue
            values = _values(cell, view)
            canvas[y : y + height, x : x + width] = values
            holes[y : y + height, x : x + width] = False
            if np.isfinite(values).all() and np.ptp(values) == 0:
                _note(axes, centre, "flat")
    _show(axes, canvas, holes, view, look)
    axes.set_frame_on(False)


def _note(axes: Axes, at: tuple[float, float], text: str) -> None:
    """Say why a cell is empty: no map, or a map with one value everywhere."""
    axes.text(*at, text, ha="center", va="center", color=MUTED, fontsize=6.5)


def _values(cell: tuple[GalleryImage, str, str], view: str) -> np.ndarray:
    image, method, state = cell
    return small_view(image.map(method, state), view, like=image.size, side=SIDE)


def _show(axes: Axes, canvas: np.ndarray, holes: np.ndarray, view: str, look: Look) -> None:
    """Draw the values; gaps are clear, undefined pixels have their own colour."""
    asked = look.cmap or COLOUR_MAPS[view]
    colours = (colormaps[asked] if isinstance(asked, str) else asked).with_extremes(
        bad="#{:02x}{:02x}{:02x}".format(*UNDEFINED)
    )
    low = -1.0 if view == "signed" else 0.0
    shown = axes.imshow(
        canvas,
        cmap=colours,
        vmin=low,
        vmax=1.0,
        aspect="auto" if look.ax is None else "equal",
        interpolation="nearest",
    )
    shown.set_alpha(np.where(holes, 0.0, 1.0))
    shown.set_gid("maps")


def _headings(axes: Axes, grid: Grid, *, slanted: bool) -> None:
    rows, columns = len(grid.rows), len(grid.columns)
    ys = (np.arange(rows) + 0.5) / rows
    xs = (np.arange(columns) + 0.5) / columns
    for name, y in zip(grid.rows, ys, strict=True):
        axes.text(-0.06 / columns, 1 - y, name, transform=axes.transAxes, ha="right", va="center")
    turn = (
        {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if slanted else {"ha": "center"}
    )
    for name, x in zip(grid.columns, xs, strict=True):
        axes.text(x, 1.01, name, transform=axes.transAxes, va="bottom", fontsize=6.5, **turn)


def _photo(
    figure: Figure, image: GalleryImage, box: tuple[float, float, float, float], *, room: int
) -> None:
    """Draw the photograph with the class that is explained, in at most `room` letters."""
    axes = blank_axes(figure, *box)
    axes.imshow(rgb(image.photo()), aspect="auto", interpolation="nearest")
    for spine in axes.spines.values():
        spine.set_visible(False)
    if room:
        name = printable(image.target)
        short = name if len(name) <= room else name[: room - 1] + "…"
        axes.text(0.5, -0.06, short, transform=axes.transAxes, ha="center", va="top", fontsize=6.5)

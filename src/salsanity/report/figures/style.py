"""How the figures look: fonts, colours, and saving with text as text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK: Final = "#1c2024"
MUTED: Final = "#5b6269"
BLUE: Final = "#0060a8"
GREY: Final = "#8b9299"
ORANGE: Final = "#c4500b"
"""Of the Okabe-Ito family: told apart by colour-blind people and in grey print."""

SETTINGS: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.titley": 1.03,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.fonttype": "none",
    "svg.hashsalt": "salsanity",
    "pdf.fonttype": 42,
    "text.parse_math": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """Use the project's settings inside, and the caller's again afterwards."""
    with mpl.rc_context(SETTINGS):
        yield


def blank_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes without ticks, at a place given in inches from the lower left."""
    w, h = figure.get_size_inches()
    axes = figure.add_axes((left / w, bottom / h, width / w, height / h))
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def save(figure: Figure, path: Path) -> Path:
    """Write a figure under a temporary name first; the file's ending says the format."""
    form = path.suffix.removeprefix(".")
    part = path.with_name(f".{path.name}.part")
    undated = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    part.unlink(missing_ok=True)  # it might be a link that leads elsewhere
    try:
        with styled():
            figure.savefig(part, format=form, dpi=200, metadata=undated[form])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path

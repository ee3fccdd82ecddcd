"""How the figures look: fonts, colours, and saving with text as text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salsanity.errors import UsageError

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


JOURNAL: Final = {"single": 3.5, "double": 7.2}
"""Inches of a column of a journal, and of two (89 and 183 mm)."""


@final
@dataclass(frozen=True)
class Look:
    """How a figure is drawn, whatever it shows.

    `methods`: which, in which order; None: all of the run. `controls`: whether they are drawn too. `names`: what methods are
    called, by method. `cmap`: of maps. `colors`: of curves `similarity`, `chance` and `ceiling`, or one for each stage of bars;
    in axes of the caller's, one for each method. `width`: inches, or `single` or `double` (columns of a journal); None: as wide
    as it needs to be. `ax`: axes of the caller's to draw in.
    """

    methods: Sequence[str] | None = None
    controls: bool = True
    names: Mapping[str, str] = field(default_factory=dict)
    cmap: Any = None
    colors: Mapping[str, Any] | Sequence[Any] = ()
    title: str | None = None
    width: float | str | None = None
    ax: Axes | None = None

    @property
    def head(self) -> float:
        """Inches that the title of a figure takes; none of axes, which have their own."""
        return 0.25 if self.title is not None and self.ax is None else 0.0

    def chosen(self, methods: Sequence[str], controls: Sequence[str]) -> list[str]:
        """Return the methods to draw, of those of the run and its controls; `UsageError` for one that it does not have."""
        every = [*methods, *controls]
        wanted = every if self.methods is None else list(self.methods)
        strange = [name for name in wanted if name not in every]
        if strange:
            raise UsageError(
                f"expected methods of this run ({', '.join(every)}), got {strange[0]!r}"
            )
        named = self.methods is not None
        return [m for m in wanted if named or self.controls or m not in controls]

    def name(self, method: str, names: Mapping[str, str]) -> str:
        """Return what a method is called."""
        return self.names.get(method) or names.get(method, method)

    def color(self, key: str, position: int, usual: str) -> Any:
        """Return the colour of a thing by its name, or by its position in a list."""
        if isinstance(self.colors, Mapping):
            return self.colors.get(key, usual)
        return self.colors[position % len(self.colors)] if self.colors else usual

    def inches(self, usual: float) -> float:
        """Return the width of the figure."""
        if self.width is None:
            return usual
        found = JOURNAL.get(self.width) if isinstance(self.width, str) else self.width
        if found is None or not 1 <= found <= 40:
            raise UsageError(
                f"expected a width from 1 to 40 inches, single or double, got {self.width!r}"
            )
        return float(found)


USUAL: Final = Look()


@contextmanager
def styled() -> Iterator[None]:
    """Use the project's settings inside, and the caller's again afterwards."""
    with mpl.rc_context(SETTINGS):
        yield


def root(axes: Axes) -> Figure:
    """Return the figure that axes of a caller's belong to."""
    figure: Any = axes.figure
    return figure.figure if not isinstance(figure, Figure) else figure  # of a subfigure


def blank_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes without ticks, at a place given in inches from the lower left."""
    w, h = figure.get_size_inches()
    axes = figure.add_axes((left / w, bottom / h, width / w, height / h))
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def png_of(figure: Figure) -> bytes:
    """Return a figure as a notebook shows it."""
    out = io.BytesIO()
    with styled():
        figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


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

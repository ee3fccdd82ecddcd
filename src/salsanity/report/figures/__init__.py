"""The figures of the paper, as matplotlib figures and as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salsanity.errors import UsageError
from salsanity.report.figures.bars import bars_figure
from salsanity.report.figures.grids import methods_figure, states_figure
from salsanity.report.figures.lines import curves_figure
from salsanity.report.figures.style import Look, png_of, save
from salsanity.report.folder import Part, Run, read_run
from salsanity.report.terms import printable
from salsanity.store.folder import inside

__all__ = ["KINDS", "FigureOptions", "Look", "figure", "write_figures"]

KINDS: Final[dict[str, Callable[..., Figure]]] = {
    "methods": methods_figure,
    "states": states_figure,
    "curves": curves_figure,
    "bars": bars_figure,
}


class FigureOptions(TypedDict, total=False):
    """What `figure` takes; see `Look` for what all kinds share."""

    check: str
    view: str
    similarity: str
    image: int
    images: Sequence[int]
    columns: int
    methods: Sequence[str] | None
    controls: bool
    names: Mapping[str, str]
    cmap: Any
    colors: Mapping[str, Any] | Sequence[Any]
    title: str | None
    width: float | str | None
    ax: Axes | None
    path: str | Path | None


def figure(run: Run | Part, kind: str | None = None, **options: Unpack[FigureOptions]) -> Figure:
    """Return one of the paper's figures, to be restyled or saved; without a kind, the grid of maps by state.

    `methods` P fig. 1, `states` figs. 2, 3 and 5, `curves` fig. 4, `bars` fig. 6. The name of a check of the run is a kind as
    well: its grid of maps by state. `check`: which one is drawn, of a run of several (default: the first). `view`,
    `similarity`, `image` (`states`), `images` (`methods`) and `columns` (`curves`) as the kind has them; what all have is in
    `Look`. `path`: where it is written too, with fonts embedded; its ending says the format. A notebook shows the figure.

    Raises `UsageError` for what the run, or this kind, does not have.
    """
    given: dict[str, Any] = dict(options)
    path = given.pop("path", None)
    parts = run.parts if isinstance(run, Run) else (run,)
    part, drawn = _asked(parts, kind or "states", given.pop("check", None))
    look = Look(**{k: given.pop(k) for k in tuple(given) if k in Look.__dataclass_fields__})
    strange = sorted(set(given) - set(signature(drawn).parameters))
    if strange:
        raise UsageError(f"{strange[0]!r} is no option of the figure {kind}; leave it out")
    made = drawn(part, **given, look=look)
    if look.title is not None and look.ax is not None:
        look.ax.set_title(look.title)
    elif look.title is not None:
        top = 1 - 0.04 / made.get_figheight()
        made.suptitle(look.title, fontsize=9, y=top, va="top", x=0.01, ha="left")
    made.__dict__["_repr_png_"] = partial(png_of, made)
    if path is not None:
        save(made, _ending(Path(path)))
    return made


def _ending(path: Path) -> Path:
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"expected a file that ends with .png, .pdf or .svg, got {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _asked(
    parts: Sequence[Part], kind: str, check: str | None
) -> tuple[Part, Callable[..., Figure]]:
    """Return the part that is drawn, and what draws it."""
    by_name = {part.record.name: part for part in parts}
    if check is not None and check not in by_name:
        raise UsageError(f"expected a check of this run ({_listed(by_name)}), got {check!r}")
    if kind in KINDS:
        return by_name[check] if check else parts[0], KINDS[kind]
    called = {**{str(v): p for p in parts for v in p.record.settings.values()}, **by_name}
    if kind in called:  # by the check's name, or by what it was asked with
        return called[kind], states_figure
    raise UsageError(
        f"expected a kind of figure among {', '.join(KINDS)}, or a check of this run ({_listed(by_name)}), got {kind!r}"
    )


def _listed(names: dict[str, Part]) -> str:
    return ", ".join(printable(name) for name in names)


def write_figures(
    folder: Run | Path | str,
    *,
    formats: Sequence[str] = ("png", "pdf"),
    width: float | str | None = None,
) -> list[Path]:
    """Write every figure that a run has into its `figures/` folder; return the files.

    `folder`: a run folder, or a run that has been read. PNG at 200 dpi; PDF, and SVG where asked for, keep their text
    as text. `width`: as in `Look`.
    """
    run = folder if isinstance(folder, Run) else read_run(folder)
    target = run.folder / "figures"
    inside(run.folder, target)
    target.mkdir(exist_ok=True)
    written = []
    for name, drawn in _figures(run, Look(width=width)):
        written += [save(drawn, target / f"{name}.{form}") for form in formats]
    return written


def _figures(run: Run, look: Look) -> Iterator[tuple[str, Figure]]:
    """Yield names made of our own words only, never of names from outside."""
    first = run.parts[0]
    if first.gallery:
        for view in first.views:
            yield f"methods-{view}", methods_figure(first, view=view, look=look)
    for k, part in enumerate(run.parts):
        name = _safe(part.record.name, f"check{k + 1}")
        for kind, drawn in _of_check(part, look):
            yield f"{name}-{kind}" if len(run.parts) > 1 or kind in part.views else kind, drawn


def _of_check(part: Part, look: Look) -> Iterator[tuple[str, Figure]]:
    if any(
        image.has(m, s) for image in part.gallery[:1] for m in part.methods for s in part.states
    ):
        for view in part.views:
            yield view, states_figure(part, view=view, look=look)
    if not part.rows.methods(part.record.name):
        return
    for k, similarity in enumerate(part.similarities):
        name = _safe(similarity, f"similarity{k + 1}")
        asked: Any = {"similarity": similarity, "look": look}
        if not part.record.is_course:
            yield f"bars-{name}", bars_figure(part, **asked)
            continue
        for view in part.views:
            yield f"curves-{view}-{name}", curves_figure(part, view=view, **asked)


def _safe(name: str, otherwise: str) -> str:
    return name if name.isascii() and name.isidentifier() else otherwise

"""The figures of the paper, as matplotlib figures and as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from salsanity.errors import UsageError
from salsanity.report.figures.bars import bars_figure
from salsanity.report.figures.grids import methods_figure, states_figure
from salsanity.report.figures.lines import curves_figure
from salsanity.report.figures.style import save
from salsanity.report.folder import Part, Run, read_run
from salsanity.report.terms import printable
from salsanity.store.folder import inside

__all__ = ["KINDS", "figure", "write_figures"]

KINDS: Final[dict[str, Callable[..., Figure]]] = {
    "methods": methods_figure,
    "states": states_figure,
    "curves": curves_figure,
    "bars": bars_figure,
}


def figure(run: Run | Part, kind: str | None = None, **options: Any) -> Figure:
    """Return one of the paper's figures, to be restyled or saved; without a kind, the grid of maps by state.

    `methods` P fig. 1, `states` figs. 2, 3 and 5, `curves` fig. 4, `bars` fig. 6. The name of a check of the run is a kind as
    well: its grid of maps by state. Options: view, similarity, image, images, methods, as the kind has them; of a run of several
    checks, `check` says which one is drawn (default: the first).
    """
    parts = run.parts if isinstance(run, Run) else (run,)
    part, drawn = _asked(parts, kind or "states", options.pop("check", None))
    return drawn(part, **options)


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
    folder: Run | Path | str, *, formats: Sequence[str] = ("png", "pdf")
) -> list[Path]:
    """Write every figure that a run has into its `figures/` folder; return the files.

    `folder`: a run folder, or a run that has been read. PNG at 200 dpi; PDF, and SVG where asked for, keep their text
    as text.
    """
    run = folder if isinstance(folder, Run) else read_run(folder)
    target = run.folder / "figures"
    inside(run.folder, target)
    target.mkdir(exist_ok=True)
    written = []
    for name, drawn in _figures(run):
        written += [save(drawn, target / f"{name}.{form}") for form in formats]
    return written


def _figures(run: Run) -> Iterator[tuple[str, Figure]]:
    """Yield names made of our own words only, never of names from outside."""
    first = run.parts[0]
    if first.gallery:
        for view in first.views:
            yield f"methods-{view}", methods_figure(first, view=view)
    for k, part in enumerate(run.parts):
        name = _safe(part.record.name, f"check{k + 1}")
        for kind, drawn in _of_check(part):
            yield f"{name}-{kind}" if len(run.parts) > 1 or kind in part.views else kind, drawn


def _of_check(part: Part) -> Iterator[tuple[str, Figure]]:
    if any(
        image.has(m, s) for image in part.gallery[:1] for m in part.methods for s in part.states
    ):
        for view in part.views:
            yield view, states_figure(part, view=view)
    if not part.rows.methods(part.record.name):
        return
    for k, similarity in enumerate(part.similarities):
        name = _safe(similarity, f"similarity{k + 1}")
        if not part.record.is_course:
            yield f"bars-{name}", bars_figure(part, similarity=similarity)
            continue
        for view in part.views:
            yield f"curves-{view}-{name}", curves_figure(part, view=view, similarity=similarity)


def _safe(name: str, otherwise: str) -> str:
    return name if name.isascii() and name.isidentifier() else otherwise

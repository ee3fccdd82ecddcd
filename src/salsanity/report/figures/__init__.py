"""The figures of the paper, as matplotlib figures and as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from salsanity.errors import UsageError
from salsanity.report.figures.grids import methods_figure, states_figure
from salsanity.report.figures.labels import bars_figure, labels_figure
from salsanity.report.figures.lines import curves_figure
from salsanity.report.figures.style import save
from salsanity.report.folder import Run, read_run
from salsanity.store.folder import inside

__all__ = ["KINDS", "figure", "write_figures"]


def cascade_figure(run: Run, **options: Any) -> Figure:
    """Draw methods by stages for one image: the cascade (P, figure 2)."""
    kind = _grid_kind(run)
    if kind != "cascade":
        raise UsageError(f"expected a run of the cascade, got another one; ask for {kind}")
    return states_figure(run, **options)


def independent_figure(run: Run, **options: Any) -> Figure:
    """Draw methods by blocks, each randomised alone (P, figure 3)."""
    if run.spec.get("order") != "independent":
        raise UsageError(
            f"expected a run with --order independent, got {run.spec.get('order')}; "
            "ask for cascade, or run the check with that order"
        )
    return states_figure(run, **options)


KINDS: Final[dict[str, Callable[..., Figure]]] = {
    "methods": methods_figure,
    "cascade": cascade_figure,
    "independent": independent_figure,
    "curves": curves_figure,
    "labels": labels_figure,
    "bars": bars_figure,
}


def figure(run: Run, kind: str | None = None, **options: Any) -> Figure:
    """Return one of the paper's figures, to be restyled or saved; without a kind, its grid of maps.

    `methods` P fig. 1, `cascade` fig. 2, `independent` fig. 3, `curves` fig. 4, `labels` and
    `bars` figs. 5 and 6. Options: view, similarity, image, images, methods, as the kind has them.
    """
    kind = kind or _grid_kind(run)
    if kind not in KINDS:
        raise UsageError(f"expected a kind of figure among {', '.join(KINDS)}, got {kind!r}")
    return KINDS[kind](run, **options)


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
    if run.gallery:
        for view in run.views:
            yield f"methods-{view}", figure(run, "methods", view=view)
            kind = _grid_kind(run)
            yield f"{kind}-{view}", figure(run, kind, view=view)
    if not len(run.scores):
        return
    for k, similarity in enumerate(run.similarities):
        if run.is_labels:
            yield f"bars-{_safe(similarity, k)}", figure(run, "bars", similarity=similarity)
            continue
        for view in run.views:
            drawn = figure(run, "curves", view=view, similarity=similarity)
            yield f"curves-{view}-{_safe(similarity, k)}", drawn


def _grid_kind(run: Run) -> str:
    if run.is_labels:
        return "labels"
    return "independent" if run.spec.get("order") == "independent" else "cascade"


def _safe(name: str, position: int) -> str:
    return name if name.isascii() and name.isidentifier() else f"similarity{position + 1}"

"""`salsanity report` and `salsanity card`: what run folders say, drawn again from these alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from salsanity.errors import UsageError


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    other: Annotated[Path | None, typer.Argument(help="A second one, to put beside it.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page (default: report.html or comparison.html in the folder)."),
    ] = None,
) -> int:
    """Rebuild figures and report.html from a run folder alone; needs no network and no torch."""
    from salsanity.report import read_run, write_figures, write_report

    for given in (folder, other):
        if given is not None:
            _check_run(given)
    run = read_run(folder)
    if other is None:
        write_figures(run, formats=("png", "pdf", "svg"))
    page = out or (folder / "comparison.html" if other is not None else None)
    typer.echo(str(write_report(run, page, other=other)))
    return 0


def card(
    folders: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Where it goes: .html, .png, .pdf, .svg, .csv, .md or .tex; repeat it (default: card.html in the first folder)."
        ),
    ] = None,
) -> int:
    """Put methods by checks on one card, from one or several run folders; needs no network and no torch."""
    from salsanity.report import check_card_form, read_run, write_card

    for folder in folders:
        _check_run(folder)
    paths = [check_card_form(path) for path in out or [folders[0] / "card.html"]]
    runs = [read_run(folder) for folder in folders]
    for path in paths:
        typer.echo(str(write_card(runs, path)))
    return 0


def _check_run(folder: Path) -> None:
    if not (folder / "spec.json").is_file():
        raise UsageError(f"expected a run folder, got {folder}, which has no spec.json")

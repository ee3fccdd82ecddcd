"""`salsanity report`: draw a run's figures and page again, or put two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    other: Annotated[Path | None, typer.Argument(help="A second one, to put beside it.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page (default: report.html or comparison.html in the folder)."),
    ] = None,
) -> int:
    """Rebuild figures and report.html from a run folder alone; needs no network and no torch."""
    from salsanity.errors import UsageError
    from salsanity.report import read_run, write_figures, write_report

    for given in (folder, other):
        if given is not None and not (given / "spec.json").is_file():
            raise UsageError(f"expected a run folder, got {given}, which has no spec.json")
    run = read_run(folder)
    if other is None:
        write_figures(run, formats=("png", "pdf", "svg"))
    page = out or (folder / "comparison.html" if other is not None else None)
    typer.echo(str(write_report(run, page, other=other)))
    return 0

"""`salsanity report` and `salsanity card`: what run folders say, drawn again from these alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from salsanity.errors import UsageError

ALIASES: Final = {"tex": "latex", "markdown": "md"}


def report(
    folders: Annotated[
        list[Path], typer.Argument(help="A run folder; several are compared, with the first.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The page (default: report.html or comparison.html in the folder)."),
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What is written: html, pdf, png or svg (figures), md, csv, latex; repeat it or join by commas (default: html "
            "and figures).",
        ),
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(help="Width of figures: single, double (columns of a journal), or inches."),
    ] = None,
) -> int:
    """Rebuild figures and report.html from run folders alone; needs no network and no torch."""
    from salsanity.report import read_run, write_report, write_takeaways

    for given in folders:
        _check_run(given)
    runs = [read_run(folder) for folder in folders]
    if len(runs) > 1 and (format or width):
        raise UsageError(
            "expected one run folder with --format or --width, got several; leave the option out"
        )
    if len(runs) > 1:
        page = out or folders[0] / "comparison.html"
        typer.echo(str(write_report(runs[0], page, *runs[1:])))
        return 0
    format = format and [ALIASES.get(f, f) for joined in format for f in joined.split(",")]
    formats = format or ["png", "pdf", "svg"]
    written = write_takeaways(runs[0], [f for f in formats if f != "html"], width=_width(width))
    if format is None or "html" in formats:
        written = [*(written if format else []), write_report(runs[0], out)]
    for path in written:
        typer.echo(str(path))
    return 0


def _width(text: str | None) -> float | str | None:
    """Read a width: inches where it is a number."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


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


def merge(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    folders: Annotated[list[Path], typer.Argument(help="Run folders.")],
) -> int:
    """Make one run of several that hold other images, or with other seeds other draws, of the same question."""
    from salsanity.cli.showing import show
    from salsanity.suite.joining import merge_runs

    for folder in folders:
        _check_run(folder)
    return show(merge_runs(folders, out), as_json=False)


def _check_run(folder: Path) -> None:
    if not (folder / "spec.json").is_file():
        raise UsageError(f"expected a run folder, got {folder}, which has no spec.json")

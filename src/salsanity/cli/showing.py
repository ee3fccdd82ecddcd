"""How a run is told: the verdicts, where they lie, JUnit XML, and the exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from salsanity.errors import UsageError

if TYPE_CHECKING:
    from salsanity.suite.result import Result


def check_junit(path: Path | None) -> None:
    """Raise `UsageError`, before anything is computed, where no file can be written at `path`."""
    if path is None:
        return
    parents = [folder for folder in path.absolute().parents if folder.exists()]
    if path.is_dir() or not parents[0].is_dir() or not os.access(parents[0], os.W_OK):
        raise UsageError(
            f"expected --junit FILE where a file can be written, got {path}; name another"
        )


@contextmanager
def told_in(junit: Path | None) -> Iterator[None]:
    """Write to `junit`, too, that the block ended in an error: CI must not read there what an earlier run found."""
    check_junit(junit)
    try:
        yield
    except BaseException as error:
        if junit is not None:
            from salsanity.report import write_junit_of_error

            write_junit_of_error(error, junit)
        raise


def show(result: Result, *, as_json: bool, junit: Path | None = None) -> int:
    """Print the verdicts, write them as JUnit XML where that is asked for, and return the exit code."""
    from salsanity.report import verdict_table, write_junit
    from salsanity.suite.terminal import shown, terminal

    if junit is not None:
        write_junit(result.run, junit)
    if as_json:
        json.dump(
            json.loads((result.folder / "verdicts.json").read_text("utf-8")), sys.stdout, indent=1
        )
        sys.stdout.write("\n")
    else:
        from rich.console import Console

        Console(highlight=False).print(verdict_table(result.run))
        for note in (note for note in result.notes if note.startswith("Warning:")):
            terminal().print(shown(note), markup=False)
    places = f"Run folder: {result.folder}\nReport: {result.folder / 'report.html'}"
    terminal().print(shown(places), markup=False)
    return int(result.exit_code)

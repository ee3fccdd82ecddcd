"""`python -m salsanity.cli.reference`: writes the tables of options in docs/reference.md, and docs/spec.schema.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from salsanity.checks.named import BUILT_IN
from salsanity.cli import check, labels, shortcut, train
from salsanity.cli.parameters import Command, allowed, flag, usual
from salsanity.cli.wishes import Choice, Wishes
from salsanity.errors import UsageError
from salsanity.executors.workers import Workers
from salsanity.options import Described, described
from salsanity.schema import schema_of
from salsanity.units.spec import RunSpec

BEGIN: Final = "<!-- options: written by scripts/reference from the metadata of their fields -->"
END: Final = "<!-- end of options -->"
HEAD: Final = "| option | meaning | values | default |\n|---|---|---|---|\n"


def main(root: Path) -> int:
    """Write both files in the repository at `root`."""
    for path, text in written(root).items():
        path.write_text(text, encoding="utf-8")
    return 0


def written(root: Path) -> dict[Path, str]:
    """Return what the files should hold."""
    page = root / "docs" / "reference.md"
    schema = json.dumps(schema_of(RunSpec, BUILT_IN), indent=1, ensure_ascii=False)
    return {
        page: with_tables(page.read_text(encoding="utf-8"), tables()),
        root / "docs" / "spec.schema.json": f"{schema}\n",
    }


def with_tables(page: str, text: str) -> str:
    """Put the tables between their marks; `UsageError` where these are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"expected {BEGIN} and {END} in docs/reference.md, got a page without")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def tables() -> str:
    """Return a table for every dataclass of options, those of files and Python first."""
    shared = {
        "Every run": (RunSpec,),
        **{f"The check `{n}`: {kind.words.question}": (kind,) for n, kind in BUILT_IN.items()},
        "Checks, methods, similarities and results (command line and file)": (Choice, Wishes),
        "The workers of the executor ray": (Workers,),
    }
    alone = {
        "check": check.COMMAND,
        "labels": labels.COMMAND,
        "shortcut": shortcut.COMMAND,
        "train": train.COMMAND,
    }
    parts = [_table(title, _options(kinds)) for title, kinds in shared.items()]
    parts += [_table(f"`salsanity {n}`, command line only", _own(c)) for n, c in alone.items()]
    return "\n".join(part for part in parts if part)


def _table(title: str, options: Iterable[Described]) -> str:
    rows = [_row(known) for known in options]
    return f"**{title}**\n\n{HEAD}{''.join(rows)}" if rows else ""


def _row(known: Described) -> str:
    name = flag(known) if known.facts.on_command_line else known.name
    variable = [f"`${known.facts.variable}`"] if known.facts.variable else []
    default = ["needed"] if known.is_required else [*variable, *(f"`{t}`" for t in usual(known))]
    cells = (f"`{name}`", known.facts.help, "; ".join(allowed(known)), ", ".join(default))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _options(kinds: Iterable[type]) -> Iterator[Described]:
    for kind in kinds:
        yield from described(kind)


def _own(command: Command) -> Iterator[Described]:
    """Yield what no file may hold for this command."""
    for group in command.groups():
        if not group.in_file:
            yield from group.options


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))

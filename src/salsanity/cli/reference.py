"""`python -m salsanity.cli.reference`: writes the tables of options in docs/reference.md, docs/spec.schema.json, and the
keywords that editors complete, src/salsanity/suite/keywords.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from salsanity.checks.named import BUILT_IN
from salsanity.cli import check, labels, shortcut, train
from salsanity.cli.parameters import Command, allowed, flag, usual
from salsanity.cli.wishes import Choice, Wishes
from salsanity.errors import UsageError
from salsanity.executors.workers import Workers
from salsanity.options import Described, Kind, described
from salsanity.schema import schema_of
from salsanity.units.spec import RunSpec

BEGIN: Final = "<!-- options: written by scripts/reference from the metadata of their fields -->"
END: Final = "<!-- end of options -->"
HEAD: Final = "| option | meaning | values | default |\n|---|---|---|---|\n"


def main(root: Path) -> int:
    """Write the files in the repository at `root`."""
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
        root / "src" / "salsanity" / "suite" / "keywords.py": keywords(),
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


TYPES: Final[Mapping[Kind, str]] = {
    "bool": "bool",
    "int": "int",
    "float": "float",
    "text": "str",
    "texts": "Sequence[str]",
    "path": "str | Path",
    "none": "None",
}

KEYWORDS: Final = '''"""Keywords of `salsanity.run`, which editors complete; written by scripts/reference from the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from torch import nn


class Pixels(TypedDict, total=False):
    """How pixels become what the network was trained on; see `salsanity.data.preprocessing.Preprocessing`."""

    size: int | None
    resize: int | None
    mean: Sequence[float]
    std: Sequence[float]
    channels: int
    interpolation: Literal["bilinear", "bicubic", "nearest"]
'''

ARGUMENTS: Final = '''

class CascadeArguments(CascadeOptions, total=False):
    """What `salsanity.model_randomization_test` takes beside network, images and targets."""

    make_model: Callable[[], nn.Module] | None
    methods: Sequence[Any] | None
    similarities: str | Sequence[Any]
    out: str | Path | None
    name: str | None
    class_names: Sequence[str] | None
    progress: bool
    executor: Any
'''


def keywords() -> str:
    """Return a module of typed dictionaries: options of every run, of every check, and of some checks alone."""
    run = {known.name: (known,) for known in (*described(RunSpec), *described(Workers))}
    parts = [KEYWORDS, _typed("RunOptions", "Pixels", "Options of every run.", run)]
    own = {name: {k.name: (k,) for k in described(kind)} for name, kind in BUILT_IN.items()}
    every: dict[str, tuple[Described, ...]] = {}
    for options in own.values():
        for name, same in options.items():
            every[name] = every.get(name, ()) + same
    about: dict[str, tuple[str, Mapping[str, tuple[Described, ...]]]] = {
        "Options": ("Options of every run and of every check that salsanity brings.", every),
        **{f"{n.capitalize()}Options": (f"Options of a run of `{n}`.", own[n]) for n in ALONE},
    }
    parts += [
        _typed(title, "RunOptions", said, {k: v for k, v in options.items() if k not in run})
        for title, (said, options) in about.items()
    ]
    return "".join([*parts, ARGUMENTS])


ALONE: Final = ("cascade", "labels", "shortcut")
"""Checks that have a function of their own in Python."""


def _typed(title: str, base: str, said: str, options: Mapping[str, tuple[Described, ...]]) -> str:
    lines = [f"\n\nclass {title}({base}, total=False):", f'    """{said}"""\n']
    for name, same in options.items():
        found = sorted(
            dict.fromkeys(part for known in same for part in _spelled(known)), key="None".__eq__
        )
        lines += [f"    {name}: {' | '.join(found)}", f'    """{same[0].facts.help}"""']
    return "\n".join(lines) + "\n"


def _spelled(known: Described) -> Iterator[str]:
    """Yield the types of an option as they are written; choices are literals."""
    if known.facts.choices:
        quoted = ", ".join(f'"{choice}"' for choice in known.facts.choices)
        yield f"Literal[{quoted}]"
    if known.facts.unset:
        yield f'Literal["{known.facts.unset}"]'
    for kind, written in TYPES.items():  # None last
        if kind in known.kinds and not (kind == "text" and known.facts.choices):
            yield written


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

"""Function sizes of the sources: prints median, 90th percentile and longest, and fails where a limit is broken.

A size is the number of lines of a body without its docstring, blank lines and comments inside it included; functions within
a function count for themselves too. Arguments are counted without `self` and `cls`; fields of dataclasses are none.

Usage: python scripts/sizes.py [FOLDER...]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

FOLDERS = ("src", "benchmarks", "scripts")
MOST_LINES = 45
MOST_ARGUMENTS = 8
SURFACE = ("salsanity/suite/__init__.py",)
"""What Python users call, by name: its arguments are keywords that stand in the reference, and are not counted."""


@dataclass(frozen=True)
class Size:
    """A function, where it stands, the lines of its body, and its arguments."""

    name: str
    place: str
    lines: int
    arguments: int

    @property
    def has_many(self) -> bool:
        """Whether it has more arguments than anyone can hold in the head."""
        is_surface = any(file in self.place for file in SURFACE)
        return self.arguments > MOST_ARGUMENTS and not is_surface


def sizes_of(folder: Path) -> Iterator[Size]:
    """Measure every function in the Python files below `folder` that does something."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node):
                yield Size(node.name, f"{path}:{node.lineno}", _lines(node), _arguments(node.args))


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines from the first statement that is no docstring to the last; 0 where there is none."""
    first = 0 if ast.get_docstring(function, clean=False) is None else 1
    body = function.body[first:]
    return int(body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _arguments(arguments: ast.arguments) -> int:
    plain = [*arguments.posonlyargs, *arguments.args]
    own = 1 if plain and plain[0].arg in ("self", "cls") else 0
    rest = (arguments.vararg, arguments.kwarg)
    return len(plain) - own + len(arguments.kwonlyargs) + sum(one is not None for one in rest)


def broken(sizes: Sequence[Size]) -> Iterator[str]:
    """Say which functions break a limit."""
    for one in sizes:
        if one.lines > MOST_LINES:
            yield f"{one.place}: {one.name} has {one.lines} lines, expected {MOST_LINES} at most"
        if one.has_many:
            arguments = f"{one.arguments} arguments, expected {MOST_ARGUMENTS} at most"
            yield f"{one.place}: {one.name} has {arguments}"


def main(folders: Sequence[str]) -> int:
    """Print the sizes and what breaks a limit; return 1 where something does."""
    sizes = [size for folder in folders or FOLDERS for size in sizes_of(Path(folder))]
    if not sizes:
        print(f"expected Python files in {', '.join(folders or FOLDERS)}, got none")
        return 2
    lines = [one.lines for one in sizes]
    longest = max(sizes, key=lambda one: one.lines)
    ninetieth = quantiles(lines, n=10, method="inclusive")[-1] if len(lines) > 1 else lines[0]
    many = sum(one.has_many for one in sizes)
    public = sum(one.arguments > MOST_ARGUMENTS for one in sizes) - many
    print(
        f"{len(sizes)} functions: median {median(lines):g} lines, 90th percentile {ninetieth:g}, "
        f"longest {longest.lines} ({longest.name}, {longest.place}); "
        f"{many} with over {MOST_ARGUMENTS} arguments, besides {public} on the public surface"
    )
    wrong = list(broken(sizes))
    for sentence in wrong:
        print(sentence)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

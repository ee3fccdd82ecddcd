"""Code blocks of pages, and what it takes to run them."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.(?:py|toml))\n")
NUMBER = re.compile(r"-?(?:\d+\.\d*|\.\d+|\d+)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text."""

    place: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the block is, if it begins with a name."""
        found = FILE.match(self.text)
        return found[1] if found else None


def pages() -> list[Path]:
    """All pages that people read; DESCRIPTION.md is made of README.md."""
    top = (page for page in ROOT.glob("*.md") if page.name != "DESCRIPTION.md")
    return [*sorted(top), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    return [
        Block(f"{name}:{text.count(chr(10), 0, b.start()) + 1}", b[2], textwrap.dedent(b[3]))
        for b in BLOCK.finditer(text)
    ]


def run(found: list[Block], names: dict[str, Any]) -> Iterator[tuple[Block, str, Block | None]]:
    """Run the Python among blocks, files written first; yield each with what it printed and the block of output after it."""
    for k, block in enumerate(found):
        if block.language != "python":
            continue
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
            continue
        prints = "print(" in block.text and [b.language for b in found[k + 1 : k + 2]] == ["text"]
        after = found[k + 1] if prints else None
        with contextlib.redirect_stdout(io.StringIO()) as told:
            exec(compile(block.text, block.place, "exec"), names)
        yield block, told.getvalue(), after


def same_output(told: str, written: str, *, tolerance: float = 0.03) -> str:
    """Say where what was printed differs from what is written: words must be the same, numbers close."""
    a, b = told.split(), written.split()
    if len(a) != len(b):
        return f"{len(a)} words were printed, {len(b)} are written"
    for x, y in zip(a, b, strict=True):
        if NUMBER.sub("#", x) != NUMBER.sub("#", y):
            return f"printed {x!r}, written {y!r}"
        for one, other in zip(NUMBER.findall(x), NUMBER.findall(y), strict=True):
            whole = "." not in one and "." not in other
            if abs(float(one) - float(other)) > (0.3 * abs(float(other)) if whole else tolerance):
                return f"printed {x!r}, written {y!r}"
    return ""


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a block of shell, in words, without prompts and comments."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            if words:
                yield words


def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures beside the report, which are most of what a small run takes; their own tests draw them."""
    monkeypatch.setattr("salsanity.suite.judging.write_figures", lambda *given, **options: [])


def names_of(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"__name__": "page", **options}

"""Text for Markdown and LaTeX: nothing in it is read as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final


def piped(texts: Iterable[str]) -> str:
    """Return a row of a table in GitHub's Markdown."""
    return f"| {' | '.join(texts)} |"


def markdown(text: str) -> str:
    """Escape what Markdown or HTML would read."""
    escaped = "".join(f"\\{c}" if c in r"\`*_[]|#" else c for c in one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


LATEX: Final = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "\N{MINUS SIGN}": "$-$",
    "–": "--",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def latex(text: str) -> str:
    """Escape what LaTeX would read."""
    return "".join(LATEX.get(c, c) for c in one_line(text))


def ampersands(texts: Iterable[str]) -> str:
    """Return a row of a LaTeX tabular."""
    return rf"{' & '.join(texts)} \\"


def tabular(columns: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a tabular in the style of booktabs; cells are LaTeX already."""
    return [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        ampersands(head),
        r"\midrule",
        *map(ampersands, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def one_line(text: str) -> str:
    """Return text without breaks."""
    return " ".join(text.split())

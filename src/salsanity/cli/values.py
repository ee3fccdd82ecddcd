"""Reading option values: lists, numbers and configuration files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from salsanity.errors import SpecError, UsageError


def split_outside_brackets(text: str) -> list[str]:
    """Split at commas that lie outside brackets and quotes: `a,b(x=1, y=2)` gives `a` and `b(x=1, y=2)`."""
    parts, depth, quote, current = [], 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if character == "," and depth == 0 and not quote:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part.strip() for part in [*parts, current] if part.strip()]


def listed(values: Iterable[str] | None) -> list[str]:
    """Join repeated options and commas into one list."""
    return [part for value in values or () for part in split_outside_brackets(value)]


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Read `.485,.456,.406` as numbers; raise `UsageError` otherwise."""
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found:
        raise UsageError(
            f"expected {option} as numbers with commas, e.g. .485,.456,.406, got {text!r}"
        )
    return found


def configuration(path: Path | None) -> dict[str, Any]:
    """Read a TOML file of options: their names with underscores, lists as arrays."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(
            f"expected a configuration file, but {path} cannot be read: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"expected TOML in {path}, but it does not parse: {error}") from error

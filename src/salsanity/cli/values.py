"""Reading option values: lists, numbers and configuration files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

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


FROM_FILE: Final = ("method", "similarity", "out", "executor")
"""Options of a configuration file beside the fields of `CheckSpec`; the others are given on the command line."""


def configuration(path: Path | None) -> dict[str, Any]:
    """Read a TOML file of options: their names with underscores, lists as arrays."""
    if path is None:
        return {}
    try:
        return _checked(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except OSError as error:
        raise SpecError(
            f"expected a configuration file, but {path} cannot be read: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"expected TOML in {path}, but it does not parse: {error}") from error


def _checked(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check the types of the options that `CheckSpec` does not check."""
    for name in ("method", "similarity"):
        value = found.get(name, [])
        if not isinstance(value, str) and not (
            isinstance(value, list) and all(isinstance(part, str) for part in value)
        ):
            raise SpecError(f"expected {name} in {path} as text or a list of texts, got {value!r}")
        if name in found:
            found[name] = listed([value] if isinstance(value, str) else value)
    for name in ("out", "executor"):
        if not isinstance(found.get(name, ""), str):
            raise SpecError(f"expected {name} in {path} as text, got {found[name]!r}")
    return found

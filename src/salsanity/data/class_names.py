"""Names of classes from a file: a list, one name a line, or the index files that go around for ImageNet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from salsanity.data.images import printable
from salsanity.errors import DataError


def read_class_names(path: Path | str) -> tuple[str, ...]:
    """Read class names by index.

    A `.json` holds a list of names, or a mapping from index to a name or to a list that ends with it (ImageNet's
    `{"0": ["n01440764", "tench"], ...}`); any other file holds one name a line. Raises `DataError` for anything else.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"expected a readable text file of class names, got {printable(str(path))}: {error}"
        ) from None
    names = _from_json(text, file) if file.suffix == ".json" else text.splitlines()
    if not names:
        raise DataError(f"expected at least one class name in {printable(str(path))}, got none")
    return tuple(printable(name.strip()) for name in names)


def _from_json(text: str, file: Path) -> list[str]:
    try:
        found = json.loads(text)
        if isinstance(found, dict):
            found = [found[str(index)] for index in range(len(found))]
        return [_name(entry) for entry in found]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f"expected a JSON list of names, or a mapping from 0, 1, ... to names, in {printable(str(file))}; "
            "mend the file or leave --class-names out"
        ) from None


def _name(entry: Any) -> str:
    name = entry[-1] if isinstance(entry, list) and entry else entry
    if not isinstance(name, str):
        raise TypeError
    return name

"""Python files that a user named as `file.py:function`: which are loaded here, and loading them again elsewhere."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from salsanity.errors import UsageError
from salsanity.symbols import load_file

PREFIXES: Final = ("salsanity_user_",)
"""How modules are called that were loaded from files."""


@final
@dataclass(frozen=True)
class LoadedFile:
    """A file that is loaded as `module`; `digest`: SHA-256 of its content."""

    module: str
    path: str
    digest: str


Files = tuple[LoadedFile, ...]


def loaded_files(pickles: Iterable[bytes]) -> Files:
    """Return the files of the user's that pickled objects refer to, in the order in which this process loaded them."""
    own = [(name, m) for name, m in list(sys.modules.items()) if name.startswith(PREFIXES)]
    parts = list(pickles)
    named = [(name, m) for name, m in own if any(name.encode() in part for part in parts)]
    return tuple(_listed(name, vars(module)) for name, module in named)


def load_files(files: Files) -> None:
    """Load what this process lacks of `files`, under the same names, so that pickled objects find their code.

    Raises `UsageError` where a file is gone, has other content than when it was listed, or fails.
    """
    for file in files:
        if file.module not in sys.modules:
            _load(file)


def _listed(name: str, held: Mapping[str, Any]) -> LoadedFile:
    path = str(Path(held["__file__"]).resolve())
    return LoadedFile(name, path, _digest(Path(path)))


def _load(file: LoadedFile) -> None:
    path = Path(file.path)
    if _digest(path) != file.digest:
        raise UsageError(
            f"expected {path} as it was when the run began, but here it is gone or has other content; bring it back, or run "
            "again"
        )
    load_file(path)


def _digest(path: Path) -> str:
    """Digest a file's content; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""

"""The user's Python files behind pickled objects: which they are, and importing them again in another process."""

from __future__ import annotations

import hashlib
import importlib
import pickletools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final, final

from salsanity.errors import UsageError
from salsanity.symbols import USER, at_home, load_file, module_name, recorded_files

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


@final
@dataclass(frozen=True)
class LoadedFile:
    """A file that is imported as `module`; `contents`: paths of what was read for it, with their SHA-256."""

    module: str
    path: str
    contents: tuple[tuple[str, str], ...]


Files = tuple[LoadedFile, ...]


def loaded_files(pickles: Iterable[bytes]) -> Files:
    """Return the user's files that pickled objects refer to, in the order in which this process imported them.

    Installed modules are no files of the user's; what was named as `file.py:function` is one wherever it lies.
    """
    parts = list(pickles)
    named = {text for part in parts for text in _texts(part)}
    found = []
    for name, module in list(sys.modules.items()):
        is_named = name in named or (
            name.startswith(USER) and any(name.encode() in p for p in parts)
        )
        if is_named and _is_the_users(name, module):
            found.append(_listed(name, module))
    return tuple(found)


def load_files(files: Files) -> None:
    """Import what this process lacks of `files`, under the same names, so that pickled objects find their code.

    Raises `UsageError` where a file is gone, has other content than when it was imported first, or fails.
    """
    for file in files:
        if file.module not in sys.modules:
            _check_contents(file)
            sys.modules.setdefault(file.module, _imported(file))


def _texts(part: bytes) -> Iterator[str]:
    """Yield the short texts in a pickle; names of modules are among them."""
    for code, value, _ in pickletools.genops(part):
        if isinstance(value, str) and len(value) < 500:
            yield from value.split(" ") if code.name == "GLOBAL" else (value,)


def _is_the_users(name: str, module: ModuleType) -> bool:
    file, top = getattr(module, "__file__", None), name.partition(".")[0]
    if file is None or not str(file).endswith(".py"):
        return False
    is_ours = top in ("salsanity", "__main__", "__mp_main__") or top in sys.stdlib_module_names
    return name.startswith(USER) or not (is_ours or _INSTALLED & {*Path(file).parts})


def _listed(name: str, module: ModuleType) -> LoadedFile:
    path = Path(str(module.__file__)).resolve()
    contents = recorded_files(module) or {path: _digest(path)}
    return LoadedFile(name, str(path), tuple((str(p), d) for p, d in contents.items()))


def _check_contents(file: LoadedFile) -> None:
    for path, digest in file.contents:
        if _digest(Path(path)) != digest:
            raise UsageError(
                f"expected {path} as it was when the run began, but here it is gone or has other content; bring it back, or "
                "run again"
            )


def _imported(file: LoadedFile) -> ModuleType:
    """Import a named file; or a neighbour of one, or another module of the user's, by its own name from its folder."""
    path = Path(file.path)
    if file.module == module_name(path):
        return load_file(path)
    parts = file.module.split(".")
    if parts[0].startswith(USER):  # a neighbour that made way for another of its name
        parts[0] = parts[0].removeprefix(USER).rpartition("_")[0]
    depth = len(parts) + (path.stem == "__init__")
    with at_home(path.parents[depth - 1]):
        try:
            return importlib.import_module(".".join(parts))
        except Exception as error:
            raise UsageError(
                f"importing {path} failed: {type(error).__name__}: {error}; run it with Python by itself first"
            ) from error


def _digest(path: Path) -> str:
    """Digest a file's content; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""

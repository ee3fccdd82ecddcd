"""The user's Python files behind pickled objects: which they are, and importing them again in another process.

Where that process stands on a machine without these files, their contents go with the objects (`carried`).
"""

from __future__ import annotations

import hashlib
import importlib
import pickletools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Final, final

from salsanity.errors import UsageError
from salsanity.symbols import (
    USER,
    at_home,
    imported_below,
    load_file,
    module_name,
    recorded_files,
)

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


@final
@dataclass(frozen=True)
class LoadedFile:
    """A file that is imported as `module`; `contents`: paths of what was read for it, with their SHA-256.

    `copy`: where a copy of it lies on a machine that lacks it; empty: it lies at its own path.
    """

    module: str
    path: str
    contents: tuple[tuple[str, str], ...]
    copy: str = ""


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


def carried(files: Files) -> dict[str, bytes]:
    """Return the contents by path of `files` and of all that was imported from their folders.

    Raises `UsageError` where a file has other content than when it was imported.
    """
    found: dict[str, bytes] = {}
    for file in files:
        _check_contents(file)
        below = imported_below(_home(file.module, Path(file.path)))
        for path in (*(Path(path) for path, _ in file.contents), *below):
            if path.suffix == ".py" and path.is_file():
                found[str(path)] = path.read_bytes()
    return found


def load_carried(files: Files, contents: Mapping[str, bytes], folder: Path) -> None:
    """Import `files` where they lie on this machine unchanged, else from copies of `contents` made in `folder`."""
    if all(_is_here(file) for file in files):
        load_files(files)
        return
    for path, content in contents.items():
        copy = _copy_of(path, folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    load_files(tuple(replace(file, copy=str(_copy_of(file.path, folder))) for file in files))


def _copy_of(path: str, folder: Path) -> Path:
    return folder.resolve() / Path(path).relative_to(Path(path).anchor)


def _is_here(file: LoadedFile) -> bool:
    return all(_digest(Path(path)) == digest for path, digest in file.contents)


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
    for path, digest in () if file.copy else file.contents:
        if _digest(Path(path)) != digest:
            raise UsageError(
                f"expected {path} as it was when the run began, but here it is gone or has other content; bring it back, or "
                "run again"
            )


def _imported(file: LoadedFile) -> ModuleType:
    """Import a named file; or a neighbour of one, or another module of the user's, by its own name from its folder."""
    path = Path(file.copy or file.path)
    if file.module == module_name(Path(file.path)):
        return load_file(path, name=file.module)
    with at_home(_home(file.module, path)):
        try:
            return importlib.import_module(_own_name(file.module))
        except Exception as error:
            raise UsageError(
                f"importing {path} failed: {type(error).__name__}: {error}; run it with Python by itself first"
            ) from error


def _own_name(module: str) -> str:
    """Return the name by which a module is imported from its folder, also of one that made way for another of its name."""
    first, dot, rest = module.partition(".")
    if first.startswith(USER):
        first = first.removeprefix(USER).rpartition("_")[0]
    return f"{first}{dot}{rest}"


def _home(module: str, path: Path) -> Path:
    """Return the folder from which a module is imported that lies at `path`."""
    depth = module.count(".") + 1 + (path.stem == "__init__")
    return path.parents[depth - 1]


def _digest(path: Path) -> str:
    """Digest a file's content; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""

"""Objects that users name: `file.py:name` and `package.module:name`, imported as if they were run where they lie.

A file becomes a module under a name made of its path, the same in every process, so that what it defines can be pickled by
reference; it is imported again only where it or a neighbour of its changed. Neighbours keep their own names, as long as no
other folder has one of the same name: two repositories that each have a `utils` each get their own.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, final

from salsanity.errors import UsageError, mixed_builds

MAX_SPEC_LENGTH: Final = 2000
USER: Final = "salsanity_user_"
"""How names of modules begin that were imported from files which users named."""
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


@final
@dataclass(frozen=True)
class Call:
    """A parsed name with arguments: `library:Target(key=literal, ...)`."""

    target: str
    arguments: Mapping[str, Any]


def parse_call(text: str, *, example: str = "smoothgrad(samples=20)") -> Call:
    """Parse `target` or `target(key=literal, ...)`; raise `UsageError` for anything else."""
    text = text.strip()
    match = re.fullmatch(
        r"(?P<target>[^()\s][^()]*?)\s*(?:\((?P<arguments>.*)\))?", text, re.DOTALL
    )
    if match is None or len(text) > MAX_SPEC_LENGTH:
        bare = example.partition("(")[0]
        raise UsageError(f"expected a name such as {bare} or {example}, got {text[:80]!r}")
    return Call(match["target"], _literals(match["arguments"] or "", text, example))


def _literals(arguments: str, text: str, example: str) -> dict[str, Any]:
    try:
        tree = ast.parse(f"f({arguments}\n)", mode="eval").body
        if not isinstance(tree, ast.Call) or tree.args or not isinstance(tree.func, ast.Name):
            raise ValueError("only key=value arguments are allowed")
        if any(keyword.arg is None for keyword in tree.keywords):
            raise ValueError("** is not allowed")
        if len({keyword.arg for keyword in tree.keywords}) < len(tree.keywords):
            raise ValueError("an argument is given twice")
        return {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"expected arguments as key=literal, e.g. {example}, got {text[:120]!r} "
            f"({' '.join(str(error).split())[:120]})"
        ) from None


def load_symbol(spec: str) -> Any:
    """Import the object that `file.py:name` or `package.module:name` names; the file's code runs.

    Packages are looked for in the working directory first, as by `python -m`. Raises UsageError when the file, module or
    name is missing, or the code fails while it is imported.
    """
    where, name = _parts(spec)
    module = load_file(Path(where)) if where.endswith(".py") else _from_package(where)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{where} has no {name!r}{_hint(name, vars(module))}")
        found = getattr(found, part)
    return found


def home_of(spec: str) -> Path:
    """Return the folder from which the code that `spec` names imports its neighbours."""
    where, _ = _parts(spec)
    return Path(where).expanduser().resolve().parent if where.endswith(".py") else Path.cwd()


def load_file(path: Path, *, name: str | None = None) -> ModuleType:
    """Import a user's file as a module, or return it where it is imported and neither it nor its neighbours changed.

    `name`: what the module is called, where the file is a copy of one that lies elsewhere.
    """
    path = path.expanduser()
    if not path.is_file():
        raise UsageError(
            f"Expected a Python file at {path}, found none; check the path before the colon"
        )
    path = path.resolve()
    name = name or module_name(path)
    known = sys.modules.get(name)
    if known is not None and not _forgotten_if_changed(known):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"Expected a Python file at {path}, which Python cannot read as one")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up here
    try:
        with _importing(str(path)), at_home(path.parent) as others:
            spec.loader.exec_module(module)
            spec.loader_state = _record_of(path.parent)
            _check_late_imports(path, spec.loader_state.late & others)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def recorded_files(module: ModuleType) -> dict[Path, str]:
    """Return the files of its folder that a user's module brought in, with their digests then; empty for other modules."""
    record = getattr(getattr(module, "__spec__", None), "loader_state", None)
    return dict(record.files) if isinstance(record, _Record) else {}


def _parts(spec: str) -> tuple[str, str]:
    where, separator, name = spec.rpartition(":")
    if not separator or not where or not name:
        raise UsageError(f"Expected file.py:name or package.module:name, got {spec!r}")
    return where, name


def _hint(name: str, names: Mapping[str, object]) -> str:
    public = [n for n, value in names.items() if callable(value) and not n.startswith("_")]
    close = difflib.get_close_matches(name, public, 3) or public[:8]
    more = ", ..." if len(close) == 8 < len(public) else ""
    return (
        f"; it has {', '.join(close)}{more}" if close else "; it defines nothing that can be called"
    )


def _from_package(name: str) -> ModuleType:
    with _importing(name), at_home(Path.cwd()):
        return importlib.import_module(name)


@contextmanager
def neighbours_of(value: object) -> Iterator[None]:
    """Let a function or object of a user's file import its neighbours when it is called, as when the file was imported.

    Does nothing for what comes from elsewhere, or imports all at the top.
    """
    kind = value if hasattr(value, "__qualname__") else type(value)
    module = sys.modules.get(str(getattr(kind, "__module__", "")))
    file = Path(str(getattr(module, "__file__", "")))
    home = next((r.folder for r in _records() if r.late and file in r.files), None)
    if home is None:
        yield
    else:
        with at_home(home):
            yield


@contextmanager
def _importing(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit, UsageError):
        raise
    except Exception as error:
        is_relative = "relative import" in str(error)
        advice = (
            "Name it as package.module:name, in the folder that holds the package"
            if is_relative
            else "Run it with Python by itself first"
        )
        reason = mixed_builds(error) or f"{type(error).__name__}: {error}. {advice}"
        raise UsageError(f"Importing {what} failed: {reason}") from error


@contextmanager
def at_home(folder: Path) -> Iterator[frozenset[str]]:
    """Let code import its neighbours in `folder` and modules of the working directory, as it could when run by itself.

    Modules of the same names that came from other folders are out of the way meanwhile; yields these names. What is
    imported under them goes by another name afterwards, the same in every process.
    """
    folder = folder.resolve()
    entries = [str(folder)]
    away = _set_aside(folder)
    sys.path.insert(0, entries[0])
    if str(Path.cwd()) not in sys.path:
        entries.append(str(Path.cwd()))
        sys.path.append(entries[1])
    importlib.invalidate_caches()
    try:
        yield frozenset(away)
    finally:
        for entry in entries:
            with suppress(ValueError):  # the code took it out itself
                sys.path.remove(entry)
        _put_back(folder, away)


def _set_aside(folder: Path) -> dict[str, dict[str, ModuleType]]:
    """Take modules that hide neighbours in `folder` out of `sys.modules`, and put those in that were imported from it."""
    away, reserved = {}, _late_elsewhere(folder)
    for name, is_regular in _neighbours(folder).items():
        module = sys.modules.get(name)
        is_reserved = module is None and name in reserved
        if is_reserved or _is_elsewhere(module, folder, is_regular):
            away[name] = _family(name)
            for member in away[name]:
                del sys.modules[member]
            alias = _alias(name, folder)
            sys.modules.update({name + k[len(alias) :]: m for k, m in _family(alias).items()})
    return away


def _put_back(folder: Path, away: Mapping[str, Mapping[str, ModuleType]]) -> None:
    """Give what was imported from `folder` under the names of others its other name, and the others theirs."""
    for name, others in away.items():
        for member, module in _family(name).items():
            alias = _alias(name, folder) + member[len(name) :]
            _rename(module, member, alias)
            sys.modules[alias] = sys.modules.pop(member)
        sys.modules.update(others)


def _rename(module: ModuleType, name: str, alias: str) -> None:
    """Let a module and what it defines say where they are found, as pickles ask them."""
    module.__name__ = alias
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) == name:
            with suppress(AttributeError, TypeError):
                value.__module__ = alias


def _neighbours(folder: Path) -> dict[str, bool]:
    """List the names that can be imported from `folder`, and whether they are modules or packages with an `__init__.py`."""
    found = {}
    with suppress(OSError):
        for path in folder.iterdir():
            is_module = path.suffix == ".py" and path.is_file()
            if path.stem.isidentifier() and (is_module or path.is_dir()) and "." not in path.stem:
                found[path.stem] = is_module or (path / "__init__.py").is_file()
    kept = (n for n in found if not n.startswith("__") and n not in sys.stdlib_module_names)
    return {name: found[name] for name in kept if name != "salsanity"}


def _is_elsewhere(module: ModuleType | None, folder: Path, is_regular: bool) -> bool:
    """Whether an imported module hides one in `folder`: a user's, from another folder; never an installed one."""
    if module is None:
        return False
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", []))
    hides = bool(places) and (is_regular or file is None)
    return hides and not any(
        Path(place).resolve().is_relative_to(folder) or _INSTALLED & {*Path(place).parts}
        for place in places
    )


def _family(name: str) -> dict[str, ModuleType]:
    return {k: m for k, m in sys.modules.items() if k == name or k.startswith(f"{name}.")}


def _alias(name: str, folder: Path) -> str:
    return f"{USER}{name}_{_tag(folder)}"


def module_name(path: Path) -> str:
    """Return the name under which a user's file is imported, the same in every process."""
    return f"{USER}{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}_{_tag(path)}"


def _tag(path: Path) -> str:
    return hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:12]


@final
@dataclass(frozen=True)
class _Record:
    """The files of a folder that were imported, with digests, and the neighbours that their functions import when called."""

    folder: Path
    files: Mapping[Path, str]
    late: frozenset[str]


def imported_below(folder: Path) -> tuple[Path, ...]:
    """List the files of the user's below a folder that this process imported."""
    found = []
    for module in [*sys.modules.values()]:
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).is_relative_to(folder) and not _is_foreign(module):
            found.append(Path(file))
    return tuple(found)


def _record_of(folder: Path) -> _Record:
    files = {file: _digest(file) for file in imported_below(folder)}
    return _Record(folder, files, _late_imports(files) & _neighbours(folder).keys())


def _is_foreign(module: ModuleType) -> bool:
    """Whether a module below a user's folder is none of the user's: installed in an environment there, or ours."""
    top = str(getattr(module, "__name__", "")).partition(".")[0]
    return bool(_INSTALLED & {*Path(str(module.__file__)).parts}) or top in (
        *("salsanity", "__main__"),
        *sys.stdlib_module_names,
    )


def _late_imports(files: Iterable[Path]) -> frozenset[str]:
    """List the modules that functions of these files import when they are called."""
    found = set()
    for file in files:
        with suppress(OSError, SyntaxError, ValueError, RecursionError):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    found |= {name for inner in ast.walk(node) for name in _imported(inner)}
    return frozenset(found)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [str(node.module).partition(".")[0]]
    return []


def _late_elsewhere(folder: Path) -> frozenset[str]:
    """List the neighbours that files of other folders import when called: these names must not come to mean others."""
    found = [record.late for record in _records() if record.folder != folder]
    return frozenset().union(*found)


def _records() -> list[_Record]:
    """Return what is known of the files that users named."""
    found = [
        getattr(getattr(module, "__spec__", None), "loader_state", None)
        for name, module in [*sys.modules.items()]
        if name.startswith(USER)
    ]
    return [record for record in found if isinstance(record, _Record)]


def _check_late_imports(path: Path, names: frozenset[str]) -> None:
    if names:
        name = min(names)
        raise UsageError(
            f"expected {path.name} to import its own {name} at its top, as another folder in use has a {name} too, got an import "
            f"inside a function; move it to the top of the file"
        )


def _forgotten_if_changed(module: ModuleType) -> bool:
    """Forget a user's file and its neighbours where one of them changed since they were imported; say whether."""
    record = getattr(module.__spec__, "loader_state", None)
    if not isinstance(record, _Record):
        return False  # it is being imported, and imports itself
    if all(_digest(file) == digest for file, digest in record.files.items()):
        return False
    for name, imported in [*sys.modules.items()]:
        file = getattr(imported, "__file__", None)
        if file is not None and Path(file) in record.files:
            del sys.modules[name]
    return True


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""

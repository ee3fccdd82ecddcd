"""Where code comes from: Python, salsanity, an installed library of some release, or files of the user's.

A *namespace* is the dictionary in which functions look up their globals. It tells where a function was written, whatever
a decorator has copied onto it; one without a file is a notebook, a prompt, or code that was run from a text.
"""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, final

from salsanity.errors import UsageError

Namespace = Mapping[str, Any]

OWN: Final = "salsanity"
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_LOADED_BY: Final = frozenset({"__loader__", "__spec__", "__builtins__"})
_LITERALS: Final = (bool, int, float, complex, str, bytes, type(None))


class Home(StrEnum):
    """Whose code it is, and so by what it is told apart."""

    PYTHON = "python"
    OWN = "salsanity"
    LIBRARY = "library"
    USER = "user"


@final
@dataclass(frozen=True, eq=False)
class Module:
    """A module, loaded or only found; `package`: from where its relative imports start."""

    name: str
    file: str | None
    package: str
    namespace: Namespace | None = None
    loader: Any = None

    @property
    def top(self) -> str:
        """The package at the top, under which a distribution is known."""
        return self.name.partition(".")[0]

    @property
    def label(self) -> str:
        """The dotted name where the file's path ends in it, else the file's stem: the same if run, imported or loaded."""
        if self.file is None:
            return self.name
        parts = Path(self.file).with_suffix("").parts
        parts = parts[:-1] if parts[-1:] == ("__init__",) else parts
        dotted = self.name.split(".")
        return self.name if list(parts[-len(dotted) :]) == dotted else parts[-1]

    @property
    def home(self) -> Home:
        """Whose it is."""
        return _home(self.top, self.file)

    def content(self) -> bytes | None:
        """Read the file now, or what its loader holds; None where there is none."""
        if self.file is None:
            return None
        try:
            return Path(self.file).read_bytes()
        except OSError:
            pass
        try:
            return bytes(self.loader.get_data(self.file))
        except (AttributeError, OSError, ValueError):
            return None

    def said(self) -> Said | None:
        """Read what its file says now; None where it has none, or none in Python."""
        content = self.content()
        return None if content is None else said_by(content)

    def place_of(self, code: CodeType) -> int | None:
        """Where in its file code is written; None where it is not: the file was edited, or it never had one."""
        said = self.said()
        return said.codes.get(code) if said is not None else None


@cache
def _home(top: str, file: str | None) -> Home:
    if top == OWN:
        return Home.OWN
    if _is_python(top, file):
        return Home.PYTHON
    installed = file is not None and _INSTALLED & {*Path(file).parts}
    return Home.LIBRARY if installed and release(top) else Home.USER


def _is_python(top: str, file: str | None) -> bool:
    """A file of the user's may bear the name of a module of Python's, so that the file decides."""
    if file is None or file.startswith("<"):
        return top in sys.stdlib_module_names
    path = Path(file)
    return not _INSTALLED & {*path.parts} and any(map(path.is_relative_to, _python_folders()))


@cache
def _python_folders() -> tuple[str, ...]:
    known = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    return (*known, str(Path(warnings.__file__).parent))


@cache
def release(top: str) -> str | None:
    """Return the distribution that brings the package `top`, with its version; None where none does.

    Kept: what this process has loaded stays as it was, whatever is installed meanwhile.
    """
    names = sorted({name for name in _distributions().get(top, ()) if name})
    return ", ".join(f"{name} {_version(name)}" for name in names) or None


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of no known version"


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def module_of(namespace: Namespace) -> Module:
    """Return the module whose globals these are."""
    name, spec = str(namespace.get("__name__") or ""), namespace.get("__spec__")
    if name == "__main__" and isinstance(spec, ModuleSpec):  # python -m
        name = spec.name
    file = namespace.get("__file__")
    package = namespace.get("__package__")
    if not isinstance(package, str):
        package = name if "__path__" in namespace else name.rpartition(".")[0]
    found = file if isinstance(file, str) else None
    return Module(name, found, package, namespace, namespace.get("__loader__"))


def module_of_class(kind: type) -> Module:
    """Return the module that a class says it is from; where its methods show another one of that name, theirs."""
    name = str(type.__dict__["__module__"].__get__(kind))
    for entry in list(kind.__dict__.values()):
        if type(entry) is FunctionType and entry.__globals__.get("__name__") == name:
            return module_of(entry.__globals__)
    loaded = sys.modules.get(name)
    return module_of(vars(loaded)) if isinstance(loaded, ModuleType) else Module(name, None, "")


@final
@dataclass(frozen=True)
class Import:
    """`from ..module import name`, with `level` dots; `name` None for `import module`."""

    level: int
    module: str
    name: str | None = None


@final
@dataclass(frozen=True)
class Said:
    """What the text of a module says: its imports, at any depth; its code objects by their places; constants set once."""

    imports: frozenset[Import]
    codes: Mapping[CodeType, int]
    constants: Mapping[str, Any]


@lru_cache(maxsize=512)
def said_by(content: bytes) -> Said | None:
    """Read the text of a module; None where it is no Python. Kept by the text itself, so that no edit is missed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
            code = compile(tree, "<text>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    places: dict[CodeType, int] = {}
    for place, part in enumerate(_codes(code)):
        places.setdefault(part, place)
    nodes = [*ast.walk(tree)]
    return Said(frozenset(_imports(nodes)), places, _constants(tree, nodes))


def _imports(nodes: Iterable[ast.AST]) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(node.level, node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                dotted = name.value.lstrip(".")
                yield Import(len(name.value) - len(dotted), dotted)


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", None) or getattr(call.func, "id", ""))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _constants(tree: ast.Module, nodes: Iterable[ast.AST]) -> dict[str, Any]:
    """Numbers and texts that a module gives to a name, once, outside of everything."""
    stored = Counter(
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    found: dict[str, Any] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        for target in targets:
            if isinstance(target, ast.Name) and stored[target.id] == 1:
                _note_literal(found, target.id, node.value)  # type: ignore[attr-defined]
    return found


def _note_literal(found: dict[str, Any], name: str, value: ast.expr | None) -> None:
    try:
        literal = ast.literal_eval(value) if value is not None else ...
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return
    if isinstance(literal, _LITERALS):
        found[name] = literal


def differing(module: Module) -> Iterator[tuple[str, object]]:
    """Yield what is in memory and not in the file: the module was edited after it was loaded, or is patched.

    Functions give their code; constants are compared as far as their text is a literal.
    """
    namespace, said = module.namespace, module.said()
    if namespace is None:
        return
    for function in _functions(namespace):
        code = function.__code__
        if not code.co_filename.startswith("<") and (said is None or code not in said.codes):
            yield code.co_qualname, code
    for name, literal in (said.constants if said else {}).items():
        value = namespace.get(name)
        if type(value) is not type(literal) or repr(value) != repr(literal):
            yield name, value


def _functions(namespace: Namespace) -> Iterator[FunctionType]:
    """The functions that were written in a module, as far as they hang on it or on its classes."""
    name = namespace.get("__name__")
    for value in list(namespace.values()):
        if issubclass(type(value), type) and value.__dict__.get("__module__") == name:
            parts = [getattr(v, "__func__", v) for v in _plainly(value)]
        else:
            parts = [value] if type(value) is FunctionType else []
        yield from (p for p in parts if type(p) is FunctionType and p.__globals__ is namespace)


def _plainly(kind: type) -> Iterator[object]:
    for value in list(kind.__dict__.values()):
        if type(value) is property:
            yield from (value.fget, value.fset, value.fdel)
        elif type(value) in (FunctionType, staticmethod, classmethod):
            yield value


def imported_by(module: Module, imports: Iterable[Import]) -> Iterator[Module]:
    """Yield the modules that these imports load from `module`, and the packages that they lie in; loaded now or later."""
    for entry in imports:
        base = _absolute(module, entry)
        names = [base] if entry.name in (None, "*") else [base, f"{base}.{entry.name}"]
        for dotted in filter(None, names):
            yield from _along(dotted, module)


def held_by(module: Module) -> Iterator[Module]:
    """Yield the modules that a loaded module has in its globals, or has something from."""
    if module.namespace is None or module.file is None:
        return  # a notebook holds whatever was ever imported there
    for name, value in list(module.namespace.items()):
        if name in _LOADED_BY or str(name).startswith("@"):
            continue  # by whom it was loaded; and no text says "@", as pytest calls its helpers where it rewrites asserts
        if issubclass(type(value), ModuleType):
            yield module_of(vars(value))
        elif type(value) is FunctionType:
            yield module_of(value.__globals__)
        elif issubclass(type(value), type):
            yield module_of_class(value)
        elif type(value) not in _LITERALS:
            yield module_of_class(type(value))


def around(module: Module) -> Iterator[Module]:
    """Yield the packages that a module lies in, whose own code was run before it."""
    if module.namespace is not None and module.file is not None and "." in module.name:
        yield from _along(module.name.rpartition(".")[0], module)


def _absolute(module: Module, entry: Import) -> str:
    if entry.level == 0:
        return entry.module
    package = module.package.split(".")
    above = package[: max(0, len(package) - entry.level + 1)]
    return ".".join(filter(None, [*above, entry.module]))


def _along(dotted: str, origin: Module) -> Iterator[Module]:
    """Yield `a`, `a.b` and `a.b.c` of a dotted name, as far as they exist; nothing is imported for that."""
    parts = dotted.split(".")
    places = _places(origin)
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        loaded = sys.modules.get(name)
        if isinstance(loaded, ModuleType):
            yield module_of(vars(loaded))
            places = [str(place) for place in vars(loaded).get("__path__") or ()]
            continue
        spec = _found(name, places)
        if spec is None:
            return
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        file = spec.origin if spec.has_location else None
        yield Module(name, file, package, loader=spec.loader)
        places = list(spec.submodule_search_locations or ())


def _places(origin: Module) -> list[str]:
    """Where a module's imports are looked for: beside it, as when it was run by itself, then as ever."""
    if origin.file is None:
        return [*sys.path]
    above = len(origin.package.split(".")) if origin.package else 0
    folders = Path(origin.file).parents
    return [str(folders[min(above, len(folders) - 1)]), *sys.path]


def _found(name: str, places: list[str]) -> ModuleSpec | None:
    editable = [f for f in sys.meta_path if "__editable__" in str(getattr(f, "__module__", ""))]
    finders: list[Any] = [PathFinder, *editable]
    for finder in finders:
        try:
            spec: ModuleSpec | None = finder.find_spec(name, places)
        except (ImportError, ValueError, AttributeError, OSError) as error:
            raise UsageError(
                f"expected to find out where {name!r} comes from, but looking for it failed: {error}; import it first"
            ) from error
        if spec is not None:
            return spec
    return None

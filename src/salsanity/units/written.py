"""What functions, classes and modules are made of: whose code they are, and what they keep beside it."""

from __future__ import annotations

import dis
import functools
import re
import sys
import types
from typing import Any, Final

from salsanity.units.origins import (
    Home,
    Import,
    Module,
    Namespace,
    imported_by,
    module_of,
    module_of_class,
    release,
)
from salsanity.units.parts import (
    Code,
    Facts,
    Part,
    attributes_of,
    bases_of,
    by_name,
    dictionary_of,
    one_by_one,
)

_METHODS: Final = (types.FunctionType, staticmethod, classmethod, property)


def function_facts(value: types.FunctionType) -> Facts:
    """A function: where and how it is written, what it keeps, and the globals that it names."""
    original = value.__dict__.get("_torchdynamo_orig_callable")
    if original is not None:
        return ["compiled", (yield Part("", original))]
    home = module_of(value.__globals__).home
    found = ["function", (yield from code_of(value))]
    if home is Home.USER or "<locals>" in value.__code__.co_qualname or value.__closure__:
        found.append((yield from _kept(value)))
    if home is Home.USER:
        found.append((yield from _globals(value)))
    return found


def code_of(value: types.FunctionType) -> Facts:
    """Whose code a function is; the code itself where it is not what its module's file says."""
    code, module = value.__code__, module_of(value.__globals__)
    if module.home is not Home.USER:
        return [*_named(module), code.co_qualname]
    label, place = (yield Part("", Code(module))), module.place_of(code)
    if place is not None:
        return [label, code.co_qualname, place]
    return [label, code.co_qualname, (yield Part(".__code__", code))]


def _named(module: Module) -> list[str | None]:
    """Name code that is told apart by names: ours without a place, so that it may move; a library's with its release."""
    if module.home is Home.OWN:
        return [Home.OWN]
    return [module.home, module.name, release(module.top) if module.home is Home.LIBRARY else None]


def _kept(value: types.FunctionType) -> Facts:
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    parts = [Part(f" -> variable {name!r}", cell) for name, cell in sorted(cells, key=_first)]
    defaults = enumerate(value.__defaults__ or ())
    parts += [Part(f" -> default {i}", default) for i, default in defaults]
    named = {**value.__dict__, **(value.__kwdefaults__ or {})}
    return [
        sorted(value.__code__.co_freevars),
        (yield from one_by_one(parts)),
        (yield from by_name(named)),
    ]


def _first(pair: tuple[str, object]) -> str:
    return pair[0]


def cell_facts(value: types.CellType) -> Facts:
    """What a variable of a closure holds, if anything yet."""
    try:
        held = value.cell_contents
    except ValueError:
        return ["empty"]
    return ["cell", (yield Part("", held))]


def _globals(value: types.FunctionType) -> Facts:
    """The globals that a function names, also in modules of the user's; how a file made them, its source says."""
    code, module = value.__code__, module_of(value.__globals__)
    in_file = module.place_of(code) is not None
    found = []
    for name, held in sorted(_names_in(code, value.__globals__).items()):
        found.append([name, (yield Part(f" -> global {name!r}", held, lenient=in_file))])
    if not in_file:
        others = [Part("", Code(m)) for m in imported_by(module, _imports_in(code))]
        found.append((yield from one_by_one(others)))
    return found


def _imports_in(code: types.CodeType) -> list[Import]:
    """What code without a file imports when it runs."""
    found = [
        Import(0, str(step.argval))
        for step in dis.get_instructions(code)
        if step.opname == "IMPORT_NAME"
    ]
    inside = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [*found, *(entry for c in inside for entry in _imports_in(c))]


def _names_in(code: types.CodeType, names: Namespace) -> dict[str, object]:
    """Resolve the globals of code, also of code inside, and attributes of modules of the user's, by their dotted names."""
    found: dict[str, object] = {}
    path, here = "", None
    for step in dis.get_instructions(code):
        name = str(step.argval)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            path, here = name, _noted(found, name, name, names)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            path = f"{path}.{name}"
            here = _noted(found, path, name, here)
        elif step.opname != "EXTENDED_ARG":
            here = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names_in(constant, names)
    return found


def _noted(
    found: dict[str, object], path: str, name: str, here: Namespace | None
) -> Namespace | None:
    """Note what `name` is, and return the names below it where it is a module of the user's."""
    if here is None or name not in here or re.fullmatch(r"__\w+__", name):
        return None
    found[path] = value = here[name]
    if not issubclass(type(value), types.ModuleType):
        return None
    return vars(value) if module_of(vars(value)).home is Home.USER else None


def code_facts(value: types.CodeType) -> Facts:
    """Instructions, names and constants, for code that no file says; neither lines nor paths."""
    constants = [Part(f".co_consts[{i}]", constant) for i, constant in enumerate(value.co_consts)]
    names = [value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars]
    counts = [value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags]
    steps = [value.co_code.hex(), value.co_exceptiontable.hex()]
    return ["code", steps, [[*n] for n in names], counts, (yield from one_by_one(constants))]


def method_facts(value: types.MethodType) -> Facts:
    """A method of an object."""
    return ["method", (yield Part("", value.__func__)), (yield Part(".__self__", value.__self__))]


def built_in_facts(value: types.BuiltinFunctionType) -> Facts:
    """A function written in C: the name, and what it belongs to."""
    owner: object = value.__self__
    if owner is None or type(owner).__name__ == "PyCapsule":
        owner = sys.modules.get(str(value.__module__))
    return ["built-in", value.__qualname__, (yield Part(".__self__", owner))]


def partial_facts(value: functools.partial[Any]) -> Facts:
    """A function with arguments."""
    parts = [
        Part(".__class__", type(value)),
        Part(".func", value.func),
        Part(".args", value.args),
        Part(".keywords", value.keywords),
    ]
    return ["partial", (yield from one_by_one(parts)), (yield from by_name(attributes_of(value)))]


def cached_facts(value: Any) -> Facts:
    """What `functools.lru_cache` wraps; what it has cached is no part of it."""
    return ["cached", (yield Part("", dictionary_of(value)["__wrapped__"]))]


def descriptor_facts(value: Any) -> Facts:
    """Properties, static methods and the like: the functions in them."""
    names = ("fget", "fset", "fdel", "__func__", "func")
    parts = [Part("", getattr(value, name, None)) for name in names]
    return [type(value).__name__, (yield from one_by_one(parts))]


def module_facts(value: types.ModuleType) -> Facts:
    """A module: its source if it is the user's, else its name."""
    module = module_of(vars(value))
    if module.home is Home.USER:
        return ["module", (yield Part("", Code(module)))]
    return ["module", *_named(module)]


def class_facts(value: type) -> Facts:
    """A class: its name and release, with what of the user's it is made from; or how the user wrote it."""
    module = module_of_class(value)
    name = str(type.__dict__["__qualname__"].__get__(value))
    if module.home is Home.USER:
        return ["class", name, (yield from _written_class(value, module))]
    others = [b for b in bases_of(value)[1:] if module_of_class(b).home is Home.USER]
    parts = [Part(f".{base.__name__}", base) for base in others]
    return ["class", name, _named(module), (yield from one_by_one(parts))]


def _written_class(value: type, module: Module) -> Facts:
    """A class of the user's: its module, its class, its bases, its methods, and what else it holds."""
    label = (yield Part("", Code(module))) if module.namespace is not None else module.label
    parts = [Part(f".{base.__name__}", base) for base in (type(value), *value.__bases__)]
    held = {name: entry for name, entry in value.__dict__.items() if _tells(name, entry)}
    inside = yield from by_name(held, lenient=module.content() is not None)
    return [label, (yield from one_by_one(parts)), inside]


def _tells(name: str, value: object) -> bool:
    """Whether an attribute of a class was written there; others are Python's own bookkeeping."""
    kind = type(value)
    if kind in (types.MemberDescriptorType, types.GetSetDescriptorType) or name == "_abc_impl":
        return False
    hidden = name.startswith("_") and name.endswith("_")  # __doc__, _member_map_
    return not hidden or kind in _METHODS

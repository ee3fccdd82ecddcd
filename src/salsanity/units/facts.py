"""What any value is made of, for `identity.print_of`: containers and objects here, arrays and code beside."""

from __future__ import annotations

import copyreg
import functools
import json
import logging
import re
import sys
import types
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils.hooks import RemovableHandle

from salsanity.units.arrays import (
    array_facts,
    network_facts,
    number_facts,
    tensor_facts,
    valueless_facts,
)
from salsanity.units.origins import Home, module_of_class
from salsanity.units.parts import (
    PLAIN,
    Facts,
    Part,
    Unidentified,
    attributes_of,
    bases_of,
    by_name,
    called,
    dictionary_of,
    nothing_else,
    one_by_one,
    plain,
)
from salsanity.units.written import (
    built_in_facts,
    cached_facts,
    cell_facts,
    class_facts,
    code_facts,
    code_of,
    descriptor_facts,
    function_facts,
    method_facts,
    module_facts,
    partial_facts,
)

HOOK: Final = "__salsanity_print__"

_LIVE: Final = frozenset(
    (
        *("threading", "thread", "multiprocessing", "concurrent", "asyncio", "contextvars"),
        *(
            "queue",
            "subprocess",
            "socket",
            "select",
            "selectors",
            "ssl",
            "sqlite3",
            "ctypes",
            "mmap",
        ),
    )
)
"""Modules of Python's, without underscores, whose objects live in one process."""

_SILENT: Final = (
    logging.Filterer,
    RemovableHandle,
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
)
"""Kinds that tell nothing of maps: loggers, handles of hooks (which stand on the network), caches of what others own."""

_TOKENS: Final = (torch.dtype, torch.layout, torch.memory_format, torch.device)
_TEXTS: Final = (str, int, float, complex, bytes, bytearray)
_CONTAINERS: Final = (dict, list, tuple, set, frozenset, *_TEXTS)


def facts_of(value: object) -> Facts:
    """Say what a value is made of."""
    kind = type(value)
    hook = None if issubclass(kind, type) else _hook_of(value)
    if hook is not None:
        return (yield from _as_told(value, hook))
    for bases, facts in _KINDS:
        if issubclass(kind, bases):
            return (yield from facts(value))
    return (yield from _instance(value))


def _hook_of(value: object) -> Callable[[], Any] | None:
    own: Any = dictionary_of(value).get(HOOK)
    if own is None and any(HOOK in kind.__dict__ for kind in bases_of(type(value))):
        own = getattr(value, HOOK)
    return own  # type: ignore[no-any-return]


def _as_told(value: object, hook: Callable[[], Any]) -> Facts:
    """What an object says of itself, beside the code that it is."""
    try:
        text = json.dumps(hook(), sort_keys=True)
    except Exception as error:
        raise Unidentified(
            f"a {HOOK} without a JSON value ({type(error).__name__}: {error})"
        ) from error
    if re.search(r" at 0x[0-9a-f]{6}", text):
        raise Unidentified(f"a {HOOK} with an address in memory")
    if type(value) is types.FunctionType:
        return ["told", (yield from code_of(value)), text]
    return ["told", (yield Part(".__class__", type(value))), text]


def _items(value: Any) -> Facts:
    kind = type(value)
    base = list if issubclass(kind, list) else tuple
    found = []
    for i, item in enumerate(base.__iter__(value)):
        text = plain(item)  # without a detour, for the many numbers of a long list
        found.append(text if text is not None else (yield Part(f"[{i}]", item)))
    return [base.__name__, found]


def _pairs(value: Any) -> Facts:
    """Order counts as in `==`: for an `OrderedDict` alone."""
    keys = []
    for key, item in list(dict.items(value)):
        step = f"[{key!r}]" if type(key) in PLAIN else "[...]"
        keys.append(((yield Part(step, key, apart=True)), step, item))
    if not issubclass(type(value), OrderedDict):
        keys.sort(key=lambda entry: entry[0])
    found = []
    for key, step, item in keys:
        found.append([key, (yield Part(step, item))])
    return ["pairs", found]


def _members(value: Any) -> Facts:
    base = set if issubclass(type(value), set) else frozenset
    parts = [Part("{...}", item, apart=True) for item in base.__iter__(value)]
    return ["members", sorted((yield from one_by_one(parts)))]


def _proxy(value: Any) -> Facts:
    return ["proxy", (yield Part("", dict(value)))]


def _text(value: Any) -> Facts:
    """The number or text in an instance of a class on top of it."""
    exact: tuple[tuple[type, Callable[[Any], object]], ...] = (
        (str, str.__str__),
        (int, int.__int__),
        (float, float.__float__),
        (complex, complex.__complex__),
    )
    for base, read in exact:
        if issubclass(type(value), base):
            return (yield Part("", read(value)))
    return (yield Part("", bytes(memoryview(value))))


def _instance(value: object) -> Facts:
    """An object: ours by fields, a library's by what it would pickle, the user's by all that it holds."""
    kind = type(value)
    if any(map(_is_live, bases_of(kind))):
        raise Unidentified(f"a {called(kind)}, which lives in one process")
    home = module_of_class(kind).home
    if home is Home.OWN and is_dataclass(kind):
        held = attributes_of(value)
        named = {entry.name: held.get(entry.name) for entry in fields(kind)}
        return ["ours", (yield Part(".__class__", kind)), (yield from by_name(named))]
    if home in (Home.PYTHON, Home.LIBRARY) and not issubclass(kind, _CONTAINERS):
        return (yield from _pickled(value))
    return (yield from _whole(value))


def _is_live(kind: type) -> bool:
    module = module_of_class(kind)
    return module.home is Home.PYTHON and module.top.lstrip("_") in _LIVE


def _whole(value: object) -> Facts:
    """An object's class, its content if it is a container, its attributes, and what a base in C keeps."""
    kind = type(value)
    content = None
    for base, facts in _CONTENT:
        if issubclass(kind, base):
            content = yield from facts(value)
    if content is None and any(map(_is_foreign, bases_of(kind))):
        content = yield from _pickled(value)
    held = yield from by_name(attributes_of(value))
    return ["object", (yield Part(".__class__", kind)), content, held]


def _is_foreign(kind: type) -> bool:
    """Whether a class is written in C, so that its instances may hold what no dictionary shows."""
    written_in_c = not kind.__flags__ & (1 << 9)  # Py_TPFLAGS_HEAPTYPE
    return written_in_c and kind is not object


def _pickled(value: Any) -> Facts:
    """What Python or a library would write of its object to a pickle."""
    kind = type(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reducer = copyreg.dispatch_table.get(kind) or _reduced
            found: Any = reducer(value)
    except Exception as error:
        raise Unidentified(f"a {called(kind)}") from error
    if isinstance(found, str):
        return (yield from _global(value, found))
    make, arguments, state, items, pairs = (*found, None, None, None)[:5]
    parts = [kind, make, arguments, list(items or ()), dict(pairs or ())]
    digests = yield from one_by_one([Part("", part) for part in parts])
    held = (yield from by_name(state)) if type(state) is dict else (yield Part("", state))
    return ["pickled", digests, held]


def _reduced(value: Any) -> Any:
    kind: Any = type(value)
    return kind.__reduce_ex__(value, 4)


def _global(value: object, name: str) -> Facts:
    """Something that a library keeps under one name, such as a function of NumPy's."""
    holders = [m for m in list(sys.modules.values()) if issubclass(type(m), types.ModuleType)]
    if not any(vars(module).get(name) is value for module in holders):
        raise Unidentified(f"a {called(type(value))} without a name of its own")
    return ["global", name, (yield Part(".__class__", type(value)))]


def _member(value: Enum) -> Facts:
    held = dictionary_of(value)
    parts = [Part(".__class__", type(value)), Part(".value", held.get("_value_"))]
    return ["enum", str(held.get("_name_")), (yield from one_by_one(parts))]


def _silent(value: object) -> Facts:
    return (yield from nothing_else("silent", called(type(value))))


def _token(value: object) -> Facts:
    return (yield from nothing_else("token", str(value)))


def _referred(value: Any) -> Facts:
    return ["reference", (yield Part("()", value()))]


def _scripted(value: Any) -> Facts:
    return (yield from nothing_else("scripted", str(value.code)))


def _only(kinds: tuple[type, ...], facts: Callable[[Any], Facts]) -> Callable[[Any], Facts]:
    """Take instances of these classes themselves; those of classes on top of them hold more."""
    return lambda value: facts(value) if type(value) in kinds else _instance(value)


_Table = tuple[tuple[type | tuple[type, ...], Callable[[Any], Facts]], ...]

_CONTENT: Final[_Table] = (
    (dict, _pairs),
    ((list, tuple), _items),
    ((set, frozenset), _members),
    (_TEXTS, _text),
)

_KINDS: Final[_Table] = (
    ((UninitializedParameter, UninitializedBuffer), valueless_facts),
    (Tensor, tensor_facts),
    (np.ndarray, array_facts),
    (np.generic, number_facts),
    (nn.Module, network_facts),
    (types.FunctionType, function_facts),
    (types.MethodType, method_facts),
    (types.BuiltinFunctionType, built_in_facts),
    (types.CellType, cell_facts),
    (types.CodeType, code_facts),
    (types.ModuleType, module_facts),
    (type, class_facts),
    (functools.partial, partial_facts),
    (functools._lru_cache_wrapper, cached_facts),
    ((property, staticmethod, classmethod, functools.cached_property), descriptor_facts),
    (Enum, _member),
    (dict, _only((dict,), _pairs)),
    ((list, tuple), _only((list, tuple), _items)),
    ((set, frozenset), _only((set, frozenset), _members)),
    (types.MappingProxyType, _proxy),
    (_SILENT, _silent),
    (weakref.ReferenceType, _referred),
    (_TOKENS, _token),
    (torch.jit.ScriptFunction, _scripted),
)

"""Fingerprints of what a check depends on: networks, explainers and the code behind them.

A remembered verdict must never outlive what it was about, so a print covers too much rather than too little: values, the state
of objects, and the source of the packages that define them. What it cannot see is said in docs/ci.md.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Mapping, Set
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from salsanity.data.examples import image_id
from salsanity.models.slots import fingerprint_of, slots_of
from salsanity.records import digest

_TABLES: Final = frozenset(vars(nn.Module()))
"""Attributes that every module has; parameters and buffers are printed by value, hooks apart."""

_HOOKS: Final = tuple(sorted(name for name in _TABLES if name.endswith("_hooks")))


def print_of(*values: object) -> str:
    """Return a digest of values, of the state of objects, and of the code that defines them."""
    return digest([_facts(value, frozenset()) for value in values])


def _facts(value: object, above: frozenset[int]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return [type(value).__name__, repr(value)]
    if id(value) in above:
        return "seen"
    above = above | {id(value)}
    if isinstance(value, nn.Module):
        return _network(value, above)
    if isinstance(value, Tensor):
        return image_id(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return image_id(torch.from_numpy(np.ascontiguousarray(value)))
    if isinstance(value, Mapping):
        return [[_facts(k, above), _facts(v, above)] for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [_facts(item, above) for item in value]
    if isinstance(value, Set):
        return sorted(digest(_facts(item, above)) for item in value)
    return _object(value, above)


def _network(module: nn.Module, above: frozenset[int]) -> Any:
    """Weights, architecture, mode, plain attributes, hooks and code of a network."""
    parts = [*module.modules()]
    own = [
        {name: _facts(v, above) for name, v in vars(part).items() if name not in _TABLES}
        for part in parts
    ]
    hooks = [
        [_facts(hook, above) for hook in getattr(p, t).values()] for p in parts for t in _HOOKS
    ]
    kinds = sorted({f"{type(p).__module__}.{type(p).__qualname__}" for p in parts})
    code = sorted({source_of_module(type(part).__module__) for part in parts})
    modes = [part.training for part in parts]
    return [fingerprint_of(slots_of(module)), repr(module), own, hooks, kinds, code, modes]


def _object(value: object, above: frozenset[int]) -> Any:
    """A function, method, partial, class or instance: its code, and what it holds."""
    if isinstance(value, functools.partial):
        held: Any = [value.func, value.args, value.keywords]
        return [_facts(part, above) for part in held]
    if hasattr(value, "__func__"):
        return [_facts(value.__func__, above), _facts(getattr(value, "__self__", None), above)]
    if isinstance(value, ModuleType):
        return source_of_module(value.__name__)
    kind = value if hasattr(value, "__qualname__") else type(value)
    name = f"{kind.__module__}.{getattr(kind, '__qualname__', '')}"
    return [name, source_of_module(kind.__module__), _held(value, above)]


def _held(value: object, above: frozenset[int]) -> Any:
    code = getattr(value, "__code__", None)
    if isinstance(code, CodeType):
        cells = [
            cell.cell_contents for cell in getattr(value, "__closure__", None) or () if _full(cell)
        ]
        defaults = [getattr(value, name, None) for name in ("__defaults__", "__kwdefaults__")]
        return [_code(code), _facts(cells, above), _facts(defaults, above)]
    if isinstance(value, type):
        return None
    state = getattr(value, "__dict__", None)
    slots = getattr(type(value), "__slots__", None)
    if state is None and slots:
        state = {name: getattr(value, name, None) for name in slots}
    if state is not None:
        return _facts(dict(state), above)
    text = repr(value)
    return None if " at 0x" in text else text


def _full(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # a variable that is assigned later
        return False
    return True


def _code(code: CodeType) -> Any:
    """The instructions and constants of a function, for code that has no file."""
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), constants, code.co_names]


@cache
def source_of_module(name: str | None) -> str:
    """Return what stands for the code of a module: its package's version if it is installed, else its sources' digest.

    Sources are every Python file of the top-level package, so that a change in what the module calls is seen too.
    """
    top = str(name or "").partition(".")[0]
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if file is None or top in sys.stdlib_module_names:
        return top
    installed = {"site-packages", "dist-packages"} & {*Path(file).parts}
    version = getattr(module, "__version__", None)
    if installed and isinstance(version, str):
        return f"{top} {version}"
    return f"{top} {_sources(Path(file))}"


def _sources(file: Path) -> str:
    found = hashlib.sha256()
    folder = file.parent
    paths = sorted(folder.rglob("*.py")) if file.name == "__init__.py" else [file]
    for path in paths:
        found.update(os.fsencode(path.relative_to(folder)) + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()

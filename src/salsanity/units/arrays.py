"""What tensors, arrays and networks are made of."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from salsanity.units.origins import Home, module_of_class
from salsanity.units.parts import Facts, Part, attributes_of, by_name, dictionary_of, one_by_one

_TABLES: Final = frozenset(vars(nn.Module()))
"""Attributes that every network has."""

_HOOKS: Final = tuple(sorted(name for name in _TABLES if name.endswith("_hooks")))
_WRITTEN_OUT: Final = ("_graph", "_codegen")
"""What `torch.fx` keeps beside the code that it made of it."""

_AT_ONCE: Final = 1 << 22
"""Elements of an array that are copied together where its memory is not in one piece."""


def tensor_facts(value: Tensor) -> Facts:
    """Type, shape and values; neither device, nor layout in memory, nor gradient."""
    bare = _bare(value)
    about = [str(bare.dtype), list(bare.shape), (yield from _beside(value))]
    if bare.is_meta:
        return ["tensor", about, "meta"]
    if bare.layout is torch.sparse_coo:
        bare = bare.coalesce()
        inside = [Part(".indices()", bare.indices()), Part(".values()", bare.values())]
        return ["tensor", about, (yield from one_by_one(inside))]
    bare = bare.dequantize() if bare.is_quantized else bare
    bare = bare if bare.layout is torch.strided else bare.to_dense()
    flat = bare.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().data if len(flat) else b""
    return ["tensor", about, hashlib.sha256(content).hexdigest()]


def _bare(value: Tensor) -> Tensor:
    with torch._C.DisableTorchFunctionSubclass():
        found = value.detach()
        return found if type(found) is Tensor else found.as_subclass(Tensor)


def _beside(value: Tensor) -> Facts:
    kind, held = type(value), attributes_of(value)
    if kind in (Tensor, nn.Parameter):  # libraries leave marks of their own on these
        return (yield from by_name({k: v for k, v in held.items() if not k.startswith("_")}))
    return [(yield Part(".__class__", kind)), (yield from by_name(held))]


def valueless_facts(value: object) -> Facts:
    """A parameter of a lazy layer, before its first input."""
    return ["no values yet", (yield Part(".__class__", type(value)))]


def array_facts(value: np.ndarray[Any, Any]) -> Facts:
    """Type, shape and values, read piece by piece where they are not in one piece of memory."""
    kind, bare = type(value), np.ndarray.view(value, np.ndarray)
    about: list[Any] = [str(bare.dtype), list(bare.shape)]
    if kind not in (np.ndarray, np.memmap):
        about += [(yield Part(".__class__", kind)), (yield from by_name(attributes_of(value)))]
    if bare.dtype.hasobject:
        return ["array", about, (yield Part(".tolist()", bare.tolist()))]
    found = hashlib.sha256()
    if bare.flags.c_contiguous and bare.nbytes:
        found.update(bare.reshape(-1).view(np.uint8).data)
    elif bare.nbytes:
        for start in range(0, bare.size, _AT_ONCE):
            found.update(bare.flat[start : start + _AT_ONCE].tobytes())
    return ["array", about, found.hexdigest()]


def number_facts(value: np.generic) -> Facts:
    """A number of NumPy's."""
    return ["number", str(value.dtype), (yield Part(".tobytes()", value.tobytes()))]


def network_facts(value: nn.Module) -> Facts:
    """Weights, structure, mode, hooks, attributes and code; live things beside a library's layer count by their kind."""
    kind, held = type(value), dictionary_of(value)
    if kind.__name__ == "OptimizedModule":  # of torch.compile
        tables: Any = held["_modules"]
        return ["compiled", (yield Part("", tables["_orig_mod"]))]
    if issubclass(kind, torch.jit.ScriptModule):
        return (yield from _scripted(value))
    inside = []
    for table in ("_parameters", "_buffers", "_modules"):
        for name, entry in _table(held, table).items():
            inside.append([table, name, (yield Part(f".{name}", entry))])
    hooks = []
    for table in _HOOKS:
        parts = [Part(f".{table}", hook) for hook in _table(held, table).values()]
        hooks.append([table, (yield from one_by_one(parts))])
    own = {k: v for k, v in held.items() if k not in (*_TABLES, *_WRITTEN_OUT)}
    is_library = module_of_class(kind).home is Home.LIBRARY
    beside = yield from by_name(own, lenient=is_library)
    return [(yield Part(".__class__", kind)), held.get("training"), inside, hooks, beside]


def _table(held: dict[str, object], name: str) -> dict[str, object]:
    found = held.get(name)
    return dict(found) if isinstance(found, dict) else {}


def _scripted(value: Any) -> Facts:
    """A network in TorchScript: the code and constants of its parts, and its weights."""
    found = []
    for name, part in value.named_modules():
        code, constants = part.code_with_constants if hasattr(part, "forward") else ("", None)
        held = None if constants is None else vars(constants)["const_mapping"]
        found.append([name, str(part.original_name), code, (yield Part(".code", held))])
    weights = yield Part(".state_dict()", dict(value.state_dict()))
    return ["scripted", found, weights, value.training]

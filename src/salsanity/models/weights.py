"""Weights from a file: safetensors, or torch's own format without code in it."""

from __future__ import annotations

import pickle  # only to name its error  # nosec B403
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.serialization import get_unsafe_globals_in_checkpoint

from salsanity.errors import ModelError
from salsanity.models.state_dicts import NESTED, StateDict, plain_names, state_dicts

_TORCH: Final = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_AUXILIARY: Final = ("aux", "AuxLogits")
_OF_TRAINING: Final = (
    "criterion",
    "loss",
    "metric",
    "optim",
    "ema",
    "n_averaged",
    "total_ops",
    "total_params",
)
"""Beginnings of parts of names that belong to a training, or to a counter of operations, and not to a network."""

_SHOWN: Final = 4
_MOST_UNPACKED: Final = 8


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict: tensor names to values, on the CPU, as stored.

    `.safetensors`, or `.pt`/`.pth` read with `weights_only=True` (code in it is never run): a state
    dict, or a dict that holds one under `state_dict`, `model` or `model_state_dict`.

    Raises ModelError for a missing, damaged or other file.
    """
    return _state_in(_read(path), path)


def _read(path: Path) -> object:
    if not path.is_file():
        raise ModelError(f"Expected weights in a file at {path}, found none")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if suffix in _TORCH:
        return _read_torch(path)
    raise ModelError(
        f"Expected weights as .safetensors, .pt or .pth, got {path.name}; save model.state_dict() "
        "as one"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is no readable safetensors file ({error}); get or save it again"
        ) from error


def _check_unpacked(path: Path) -> None:
    """Refuse an archive that unpacks to far more than it is: torch stores tensors as they are."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > _MOST_UNPACKED * path.stat().st_size:
        raise ModelError(
            f"Expected weights of about the size of {path}, but it unpacks to {unpacked} bytes; save "
            "model.state_dict() again"
        )


def _read_torch(path: Path) -> object:
    try:
        _check_unpacked(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the dialect of files that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is damaged or holds Python objects besides tensors{_objects_in(path)}, which could run code "
            "when read; save model.state_dict() alone, best as .safetensors"
        ) from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        IndexError,
        AssertionError,
        MemoryError,
        OverflowError,
        RecursionError,
        zipfile.BadZipFile,
        struct.error,
    ) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path} cannot be read as torch weights ({first}); get or save it again"
        ) from error


def _objects_in(path: Path) -> str:
    """Name the Python objects in a file, which are looked for without being made; nothing where that fails."""
    try:
        found = sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001 - a damaged file may raise anything; the error that is told is the first one
        return ""
    return f" ({_listed(found)})" if found else ""


def _state_in(value: object, path: Path) -> dict[str, Tensor]:
    if isinstance(value, Mapping) and value and all(isinstance(v, Tensor) for v in value.values()):
        return {str(name): tensor for name, tensor in value.items()}
    for key in NESTED if isinstance(value, Mapping) else ():
        inner: Any = value.get(key)  # type: ignore[attr-defined]
        if isinstance(inner, Mapping):
            return _state_in(inner, path)
    raise _no_state_in(value, path)


def _no_state_in(value: object, path: Path) -> ModelError:
    held = (
        ", ".join(map(str, list(value)[:8])) if isinstance(value, Mapping) else type(value).__name__
    )
    return ModelError(
        f"Expected a state dict in {path} (or one under {', '.join(NESTED[:3])}), found {held or 'nothing'}; "
        "save "
        "model.state_dict()"
    )


def load_weights(model: nn.Module, path: Path, *, key: str | None = None) -> tuple[str, ...]:
    """Put the weights of a file into `model`, and say in notes what was taken and what left out.

    A file may hold a state dict, or several under keys, beside the state of a training; names may carry prefixes that
    parallel or compiled training, wrappers and averages leave. What fits best is taken, the usual keys before others; `key`
    (keys with dots between them, or a prefix of names) names another. A float16 file fits a float32 network. Missing are
    allowed: counters, names of tied tensors, and auxiliary heads.

    Raises ModelError that names the keys and shapes that do not fit.
    """
    names = plain_names(model.state_dict())
    tensors = model.state_dict(keep_vars=True)
    wanted = {plain: tensors[name] for plain, name in names.items()}
    held = _read(path)
    found = state_dicts(held, wanted, key)
    if not found:
        raise _no_state_in(held, path) if key is None else _no_such_key(held, wanted, path, key)
    _check_kinds(found[0], wanted, path)
    left_out = _put(found[0], model, names, path, is_asked=key is not None)
    return tuple(n for n in (_choice(found, wanted), _left_out(left_out)) if n is not None)


def _put(
    taken: StateDict, model: nn.Module, names: Mapping[str, str], path: Path, *, is_asked: bool
) -> list[str]:
    """Load a state dict; return the names that were left out. ModelError where too little or too much is there."""
    state = {
        names.get(n, n): v for n, v in taken.entries.items() if isinstance(v, Tensor) or n in names
    }
    try:
        result = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(
            f"The weights in {path} do not fit the {type(model).__name__}: {_mismatches(error)}. "
            "Build the "
            "network with the settings that it was trained with (number of classes, width)"
        ) from error
    missing = [key for key in result.missing_keys if not _optional(key, model, state)]
    unknown = {name: state[name] for name in result.unexpected_keys}
    beside = {} if taken.is_usual or is_asked else taken.others
    unexpected = {n: v for n, v in {**unknown, **beside}.items() if not n.startswith(_AUXILIARY)}
    if missing or any(_is_learned(name, value) for name, value in unexpected.items()):
        raise ModelError(
            f"The weights in {path} do not fit the {type(model).__name__}: missing are "
            f"{_listed(missing)}; not in the network are {_listed(unexpected)}. Give the weights of "
            f"this architecture{'' if is_asked else ', or say with --weights-key which part of the file they are'}"
        )
    not_tensors = [n for n in taken.entries if names.get(n, n) not in state]
    return [*not_tensors, *unknown, *taken.others]


def _is_learned(name: str, value: object) -> bool:
    """Whether an entry that the network lacks is of a layer, and not of what trained or measured it."""
    is_of_training = any(part.lower().startswith(_OF_TRAINING) for part in name.split("."))
    if is_of_training or not isinstance(value, Tensor):
        return False
    return value.ndim > 0 and (value.is_floating_point() or value.is_complex())


def _check_kinds(taken: StateDict, wanted: Mapping[str, Tensor], path: Path) -> None:
    """Refuse whole numbers in place of real ones: torch would copy a quantised layer's numbers as they are."""
    for name, tensor in wanted.items():
        value = taken.entries.get(name)
        if not isinstance(value, Tensor) or not isinstance(tensor, Tensor):
            continue
        if not is_lazy(tensor) and _kind(value) != _kind(tensor):
            raise ModelError(
                f"Expected {tensor.dtype} for {name}, got {value.dtype} in {path}; save model.state_dict() of the network "
                "before it was quantised or converted"
            )


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _choice(found: Sequence[StateDict], wanted: Mapping[str, Tensor]) -> str | None:
    """Say which of several state dicts was taken, where others hold all parameters too, with other values."""
    taken, *rest = found
    parameters = {name for name, tensor in wanted.items() if isinstance(tensor, nn.Parameter)}
    alike = [s for s in rest if parameters <= s.entries.keys() and s.differs(taken)]
    if not alike:
        return None
    return (
        f"Weights: those under {taken.key or 'no key'} were taken; those under {_listed(s.key for s in alike)} have the same "
        f"names and other values (averages, perhaps): --weights-key {alike[0].key} takes them instead."
    )


def _left_out(names: Sequence[str]) -> str | None:
    if not names:
        return None
    return f"Weights: left out, as the network has no such tensor: {_listed(names)}."


def _no_such_key(held: object, wanted: Mapping[str, Tensor], path: Path, key: str) -> ModelError:
    there = [state.key or "(none)" for state in state_dicts(held, wanted, None)]
    return ModelError(
        f"Expected weights under the key {key!r} in {path}, found none; there are some under {_listed(there)}"
    )


def _optional(key: str, model: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether a key may be missing: counters, auxiliary heads, tensors loaded by another name."""
    if key.endswith("num_batches_tracked") or key.startswith(_AUXILIARY):
        return True
    tensors = model.state_dict(keep_vars=True)
    return any(tensors[name] is tensors[key] for name in tensors.keys() & state.keys())


def _mismatches(error: RuntimeError) -> str:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()[1:] if line.strip()]
    sizes = [line for line in lines if line.startswith("size mismatch")] or lines
    more = f" and {len(sizes) - _SHOWN} more" if len(sizes) > _SHOWN else ""
    return "; ".join(sizes[:_SHOWN]) + more


def _listed(keys: Iterable[str]) -> str:
    names = list(keys)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}" if names else "none"

"""Weights from a file: safetensors, or torch's own format without code in it."""

from __future__ import annotations

import pickle  # only to name its error  # nosec B403
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from salsanity.errors import ModelError

_NESTED: Final = ("state_dict", "model", "model_state_dict", "model_state", "net", "weights")
_PREFIXES: Final = ("module.", "_orig_mod.", "model.", "net.")
_TORCH: Final = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_AUXILIARY: Final = ("aux", "AuxLogits")
_SHOWN: Final = 4
_MOST_UNPACKED: Final = 8


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict: tensor names to values, on the CPU, as stored.

    `.safetensors`, or `.pt`/`.pth` read with `weights_only=True` (code in it is never run): a state
    dict, or a dict that holds one under `state_dict`, `model` or `model_state_dict`.

    Raises ModelError for a missing, damaged or other file.
    """
    if not path.is_file():
        raise ModelError(f"Expected weights in a file at {path}, found none")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _TORCH:
        return _state_in(_read_torch(path), path)
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
            f"{path} is damaged or holds Python objects besides tensors, which could run code "
            "when read; "
            "save model.state_dict() alone, best as .safetensors"
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


def _state_in(value: object, path: Path) -> dict[str, Tensor]:
    if isinstance(value, Mapping) and value and all(isinstance(v, Tensor) for v in value.values()):
        return {str(name): tensor for name, tensor in value.items()}
    for key in _NESTED if isinstance(value, Mapping) else ():
        inner: Any = value.get(key)  # type: ignore[attr-defined]
        if isinstance(inner, Mapping):
            return _state_in(inner, path)
    held = (
        ", ".join(map(str, list(value)[:8])) if isinstance(value, Mapping) else type(value).__name__
    )
    raise ModelError(
        f"Expected a state dict in {path} (or one under {', '.join(_NESTED[:3])}), found {held}; "
        "save "
        "model.state_dict()"
    )


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of a file into `model`; a float16 file fits a float32 network.

    Prefixes that parallel or compiled training leaves (`module.`, `_orig_mod.`) are taken off.
    Missing are allowed: counters, names of tied tensors, and auxiliary heads.

    Raises ModelError that names the keys and shapes that do not fit.
    """
    state = _with_fitting_names(read_weights(path), model)
    try:
        result = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(
            f"The weights in {path} do not fit the {type(model).__name__}: {_mismatches(error)}. "
            "Build the "
            "network with the settings that it was trained with (number of classes, width)"
        ) from error
    missing = [key for key in result.missing_keys if not _optional(key, model, state)]
    unexpected = [key for key in result.unexpected_keys if not key.startswith(_AUXILIARY)]
    if missing or unexpected:
        raise ModelError(
            f"The weights in {path} do not fit the {type(model).__name__}: missing are "
            f"{_listed(missing)}; not in the network are {_listed(unexpected)}. Give the weights "
            "of "
            "this architecture"
        )


def _with_fitting_names(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Take prefixes off as long as all names carry them and the network's do not."""
    wanted = set(model.state_dict())
    for _ in range(len(_PREFIXES)):
        if wanted & state.keys():
            break
        for prefix in _PREFIXES:
            if state and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
                break
    return state


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

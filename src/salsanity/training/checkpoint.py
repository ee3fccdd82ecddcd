"""Training state on disk: one safetensors file per network, replaced atomically; never a pickle.

The file holds the weights, the optimiser's tensors and, as JSON in its header, everything else.
Being one file, it cannot be half of one epoch and half of another.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from salsanity.data.examples import tensor_bytes
from salsanity.errors import DataError, ModelError

CHECKPOINT_FORMAT: Final = 1
HEADER: Final = "salsanity_training"
CHECKSUM: Final = "salsanity_checksum"

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Epoch:
    """Mean loss of one epoch, accuracy while training, and on all images where measured."""

    loss: float
    running_accuracy: float
    accuracy: float | None


@final
@dataclass(frozen=True)
class Checkpoint:
    """A training after its last finished epoch.

    `identity`: digest of what the training is of (images, labels, architecture, settings, seed).
    """

    identity: str
    epochs: tuple[Epoch, ...]
    tensors: Mapping[str, Tensor]


def save_checkpoint(
    path: Path, *, identity: str, epochs: tuple[Epoch, ...], model: nn.Module, optimiser: Optimizer
) -> None:
    """Write the state after the last of `epochs`; a crash leaves the former file whole."""
    header = {
        "format_version": CHECKPOINT_FORMAT,
        "identity": identity,
        "epochs": [asdict(epoch) for epoch in epochs],
    }
    write_tensors(path, _state(model, optimiser), {HEADER: json.dumps(header)})


def load_checkpoint(path: Path, *, device: torch.device) -> Checkpoint | None:
    """Read a checkpoint; None where there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = _header(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if not are_whole(tensors, file.metadata()):
                raise ValueError("the checksum is another")
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        log.warning("the checkpoint %s is damaged (%s); training starts again", path, error)
        return None
    return Checkpoint(header["identity"], tuple(Epoch(**e) for e in header["epochs"]), tensors)


def restore(checkpoint: Checkpoint, model: nn.Module, optimiser: Optimizer) -> None:
    """Put a checkpoint's weights and optimiser state in place; `ModelError` if they do not fit."""
    weights = _under("model.", checkpoint.tensors)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"expected the checkpoint's own architecture: {error}") from error
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimiser.", checkpoint.tensors).items():
        position, key = name.split(".", 1)
        state.setdefault(int(position), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    for parameter, values in optimiser.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape:  # fused Adam reads both as they lie in memory
                values[key] = torch.empty_like(parameter).copy_(value)


def save_weights(
    path: Path, model: nn.Module, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a network's parameters and buffers as safetensors, named as in `state_dict`."""
    write_tensors(path, dict(model.state_dict()), dict(metadata or {}))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors under a private temporary name, flush, then replace `path` in one step."""
    # A clone each: safetensors refuses tensors that share memory, as tied weights do.
    owned = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    replace_bytes(path, save(owned, {**metadata, CHECKSUM: tensors_checksum(owned)}))


def tensors_checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors by name: the format itself does not notice values that a disk lost."""
    whole = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        whole.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode() + tensor_bytes(value))
    return whole.hexdigest()


def are_whole(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bool:
    """Whether tensors are those that were written; files of other programs carry no checksum."""
    return metadata.get(CHECKSUM) in (None, tensors_checksum(tensors))


def replace_bytes(path: Path, content: bytes) -> None:
    """Make `content` the content of `path` in one step; else `DataError`."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part"
        )
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error}; free space or choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _state(model: nn.Module, optimiser: Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for position, values in optimiser.state_dict()["state"].items():
        for key, value in values.items():
            tensors[f"optimiser.{position}.{key}"] = torch.as_tensor(value)
    return tensors


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: v for name, v in tensors.items() if name.startswith(prefix)}


def _header(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    header: dict[str, Any] = json.loads((metadata or {})[HEADER])
    if header["format_version"] != CHECKPOINT_FORMAT:
        raise ValueError(f"expected format {CHECKPOINT_FORMAT}, got {header['format_version']!r}")
    return header

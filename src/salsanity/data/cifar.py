"""CIFAR-10: an .npz with arrays `x` and `y`, or the official archive (binary version).

The archive's "python version" is made of pickles, which can run code when they are read; it is
refused. (A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.)
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from salsanity.data.preprocessing import Preprocessing
from salsanity.data.tensors import TensorSource
from salsanity.errors import DataError

CLASS_NAMES: Final = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

SHAPE: Final = (3, 32, 32)
RECORD: Final = 1 + 3 * 32 * 32
RECORDS: Final = 10_000
"""Images in one file of the archive."""

MEMBERS: Final = {
    "train": tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("cifar-10-batches-bin/test_batch.bin",),
}

MAX_BYTES: Final = 2**30

Split = Literal["train", "test"]


def npz_source(
    path: Path, *, prefix: str = "test", preprocessing: Preprocessing | None = None
) -> TensorSource:
    """Read arrays `x` uint8 (N, 32, 32, 3) and `y` (N,) from an .npz; pixels become x / 255."""
    arrays = _arrays(path)
    x, y = arrays["x"], arrays["y"]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] not in (1, 3) or len(x) == 0:
        raise DataError(f"expected x uint8 (N, H, W, 3) in {path}, got {x.dtype} {x.shape}")
    if y.dtype.kind not in "iu" or y.shape != (len(x),):
        raise DataError(f"expected {len(x)} integer labels y in {path}, got {y.dtype} {y.shape}")
    pixels = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    return _source(pixels, torch.from_numpy(y.astype(np.int64)), prefix, preprocessing)


def archive_source(
    path: Path, split: Split, *, preprocessing: Preprocessing | None = None
) -> TensorSource:
    """Read a split of cifar-10-binary.tar.gz in memory; nothing is unpacked to disk."""
    try:
        with tarfile.open(path, "r:*") as archive:
            parts = [_member(archive, name, path) for name in MEMBERS[split]]
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"cannot read {path}: {error}; get cifar-10-binary.tar.gz again") from error
    records = torch.from_numpy(np.concatenate(parts))
    images = records[:, 1:].reshape(-1, *SHAPE)
    return _source(images, records[:, 0].to(torch.int64), split, preprocessing)


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MAX_BYTES:
            raise DataError(f"expected at most {MAX_BYTES} bytes, {path} unpacks to {size}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _array(arrays[name], name) for name in ("x", "y")}
    except (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"expected arrays x and y, cannot read {path}: {error}") from error


def _array(value: object, name: str) -> NDArray[np.generic]:
    if not isinstance(value, np.ndarray):  # NumPy hands over the bytes of members of other kinds
        raise ValueError(f"{name} is no array")
    return value


def _member(archive: tarfile.TarFile, name: str, path: Path) -> NDArray[np.uint8]:
    try:
        info = archive.getmember(name)
    except KeyError:
        raise DataError(
            f"expected {name} in {path}; the binary version of CIFAR-10 is needed, as the python "
            "version is made of pickles, which can run code"
        ) from None
    file = archive.extractfile(info) if info.isreg() else None
    if file is None or info.size != RECORDS * RECORD:
        raise DataError(f"expected {RECORDS * RECORD} bytes of {name} in {path}, got {info.size}")
    content = file.read(RECORDS * RECORD)
    if len(content) != RECORDS * RECORD:
        raise DataError(f"{name} ends early in {path}; get cifar-10-binary.tar.gz again")
    return np.frombuffer(bytearray(content), dtype=np.uint8).reshape(RECORDS, RECORD)


def _source(
    pixels: torch.Tensor, labels: torch.Tensor, prefix: str, preprocessing: Preprocessing | None
) -> TensorSource:
    if int(labels.max()) >= len(CLASS_NAMES):
        raise DataError(f"expected labels below {len(CLASS_NAMES)}, got {int(labels.max())}")
    return TensorSource(pixels, labels, "cifar10", CLASS_NAMES, prefix, preprocessing)

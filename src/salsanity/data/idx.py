"""The idx format of the MNIST family, gzipped or not.

A file is two zero bytes, a type code, the number of dimensions, each dimension as big-endian
uint32, then the elements in row-major order (Y. LeCun, C. Cortes, C. Burges, the MNIST database).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray

from salsanity.data.preprocessing import Preprocessing
from salsanity.data.tensors import TensorSource
from salsanity.errors import DataError

UNSIGNED_BYTE: Final = 0x08
"""The only element type in the MNIST family; others are refused."""

MAX_BYTES: Final = 2**31
"""Bound on the elements of one file: a gzip of a few kilobytes can claim and hold gigabytes."""

PREFIXES: Final = {"train": "train", "test": "t10k"}


def read_idx(path: Path, *, max_bytes: int = MAX_BYTES) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes; raise `DataError` for anything else."""
    try:
        with _opened(path) as file:
            return _parsed(file, path, max_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"expected an idx file, cannot read {path}: {error}") from error


def idx_source(
    images: Path,
    labels: Path,
    *,
    name: str,
    prefix: str,
    class_names: tuple[str, ...] | None = None,
    preprocessing: Preprocessing | None = None,
) -> TensorSource:
    """Join a file of images (N, H, W) and one of labels (N,); pixels become x / 255."""
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise DataError(f"expected images (N, H, W) in {images}, got shape {pixels.shape}")
    if classes.shape != pixels.shape[:1]:
        raise DataError(
            f"expected {len(pixels)} labels in {labels}, got shape {classes.shape}: "
            "the two files belong to different data sets"
        )
    return TensorSource(
        torch.from_numpy(pixels)[:, None],
        torch.from_numpy(classes).to(torch.int64),
        name,
        class_names,
        prefix,
        preprocessing,
    )


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")


def _parsed(file: IO[bytes], path: Path, max_bytes: int) -> NDArray[np.uint8]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f"expected an idx file (two zero bytes first), got {head[:2]!r} in {path}")
    if head[2] != UNSIGNED_BYTE:
        raise DataError(f"expected unsigned bytes (type code 8), got type code {head[2]} in {path}")
    shape = _shape(file, head[3], path)
    count = math.prod(shape)
    if count > max_bytes:
        raise DataError(f"expected at most {max_bytes} bytes of elements, {path} claims {count}")
    body = file.read(count + 1)
    if len(body) != count:
        got = "more" if len(body) > count else str(len(body))
        raise DataError(f"expected {count} elements for shape {shape}, got {got} in {path}")
    return np.frombuffer(bytearray(body), dtype=np.uint8).reshape(shape)


def _shape(file: IO[bytes], ndim: int, path: Path) -> tuple[int, ...]:
    if not 1 <= ndim <= 4:
        raise DataError(f"expected 1 to 4 dimensions, got {ndim} in {path}")
    sides = file.read(4 * ndim)
    if len(sides) != 4 * ndim:
        raise DataError(f"expected {ndim} dimensions, the header ends early in {path}")
    return tuple(int.from_bytes(sides[4 * i : 4 * i + 4], "big") for i in range(ndim))

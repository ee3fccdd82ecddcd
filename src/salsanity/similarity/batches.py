"""Batches of maps as rows: pieces that fit the cache, sums that no neighbour can change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import numpy as np
import torch
from torch import Tensor

CACHED_ELEMENTS: Final = 1 << 17
"""Elements of a piece on the CPU: two maps of 224x224, so that a filter stays in a core's cache."""

DEVICE_ELEMENTS: Final = 1 << 21
"""Elements of a piece elsewhere, for bounded memory: 41 maps of 224x224."""

T = TypeVar("T")
R = TypeVar("R")


def pieces(values: Tensor) -> tuple[Tensor, ...]:
    """Split a batch along its first axis into pieces that fit the cache."""
    return tuple(piece for (piece,) in pieces_of(values))


def pieces_of(*batches: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split several batches alike, by what fits the cache of the first."""
    first = batches[0]
    limit = CACHED_ELEMENTS if first.device.type == "cpu" else DEVICE_ELEMENTS
    maps = max(1, limit // max(1, first.shape[1:].numel()))
    for start in range(0, max(1, first.shape[0]), maps):
        yield tuple(batch[start : start + maps] for batch in batches)


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return `work` of each item, in order, on as many threads as torch uses.

    For NumPy work, which releases the interpreter's lock; torch splits its own operations already.
    The threads end before the call does.
    """
    threads = min(len(items), torch.get_num_threads())
    if threads < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def extremes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest element (B,) of each row; NaN where a row has NaN.

    Two passes: `aminmax` along an axis is not vectorised on the CPU and takes ten times as long.
    """
    return rows.amin(dim=1), rows.amax(dim=1)


def zeroed_(rows: Tensor, chosen: Tensor) -> Tensor:
    """Set the chosen rows (B,) of (B, n) to 0, in place; without waiting for another device."""
    if rows.device.type == "cpu" and not chosen.any():
        return rows
    return rows.masked_fill_(chosen[:, None], 0.0)


def row_sums(values: Tensor) -> Tensor:
    """Return the sums (B,) of the rows of a float64 (B, n).

    On the CPU NumPy sums, pairwise and row by row: torch splits a single long row over its threads
    but not one of several, so that the last bit of a sum would depend on the batch.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(np.add.reduce(values.contiguous().numpy(), axis=1))
    return values.sum(dim=1)


def row_dots(a: Tensor, b: Tensor) -> Tensor:
    """Return the float64 dot products (B,) of the rows of two (B, n)."""
    return torch.cat([row_sums(x.double() * y.double()) for x, y in pieces_of(a, b)])

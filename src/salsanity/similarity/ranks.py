"""Exact average ranks, ties averaged, by the fastest exact sort of each device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salsanity.errors import SimilarityError
from salsanity.similarity.batches import in_threads, pieces

Integers = NDArray[np.int64]


def centred_ranks(rows: Tensor) -> Tensor:
    """Return 2 x (average rank - mean rank) of each row (B, n), int32.

    Twice an average rank is a whole number, so these are exact: 2j + 1 - n for the element at
    sorted position j (from 0) without ties, s + e - n for all of a tied group at positions s to
    e - 1. Sums of their products stay below n^3 / 3: exact in float64 up to n = 300,000, and never
    near an overflow.
    -0.0 ties with 0.0. Rows with NaN give meaningless ranks; their maps are undefined anyway.
    """
    if rows.shape[1] >= 2**30:
        raise SimilarityError(
            f"expected maps of fewer than 2**30 pixels, got {rows.shape[1]}; reduce the maps"
        )
    if rows.device.type != "cpu":
        return ranks_by_sorting(rows)
    ranked = in_threads(_ranks, [piece.numpy() for piece in pieces(rows)])
    return torch.cat([torch.from_numpy(piece) for piece in ranked])


def _ranks(rows: NDArray[np.floating]) -> NDArray[np.int32]:
    return ranks_by_keys(rows) if rows.dtype == np.float32 else ranks_by_argsort(rows)


def ranks_by_keys(rows: NDArray[np.floating]) -> NDArray[np.int32]:
    """Rank float32 rows by sorting keys of (value, position) in 64 bits.

    NumPy sorts whole numbers several times faster than it sorts indices or torch sorts anything,
    and here the sorted number brings its position along.
    """
    bits = (rows + np.float32(0.0)).view(np.int32)  # + 0.0 makes -0.0 equal to 0.0, bit for bit
    # Flipping the sign bit of positive and all bits of negative numbers makes their order that of
    # unsigned integers.
    ordered = (bits ^ ((bits >> 31) | np.int32(-(2**31)))).view(np.uint32)
    keys = ordered.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(rows.size, dtype=np.uint64).reshape(rows.shape)
    keys.sort(axis=1)
    value = keys >> np.uint64(32)
    keys &= np.uint64(2**32 - 1)
    return _spread(value[:, 1:] == value[:, :-1], keys.view(np.int64))


def ranks_by_argsort(rows: NDArray[np.floating]) -> NDArray[np.int32]:
    """Rank rows of any precision by sorting indices."""
    order = np.argsort(rows, axis=1)
    value = np.take_along_axis(rows, order, axis=1)
    order += rows.shape[1] * np.arange(rows.shape[0])[:, None]
    return _spread(value[:, 1:] == value[:, :-1], order)


def _spread(equal: NDArray[np.bool_], order: Integers) -> NDArray[np.int32]:
    """Put the centred rank of each sorted position where the element came from.

    `equal`: (B, n - 1), whether a sorted element equals the next. `order`: (B, n), the flat
    positions of the sorted elements.
    """
    count, n = order.shape
    sorted_ranks = np.tile(np.arange(1 - n, n + 1, 2, dtype=np.int32), count)
    if equal.any():
        ties = np.zeros((count, n), dtype=np.bool_)
        ties[:, :-1] = equal
        _average_ties(sorted_ranks, np.flatnonzero(ties))
    ranks = np.empty(order.size, dtype=np.int32)
    ranks[order.ravel()] = sorted_ranks
    return ranks.reshape(count, n)


def _average_ties(ranks: NDArray[np.int32], tied: Integers) -> None:
    """Give each tied group the mean of its first and last rank, in place.

    `tied`: the sorted positions whose element equals the next; runs of them are the groups. Only
    they are touched, because few of a map's values tie as a rule, or most tie in one group.
    """
    gap = np.flatnonzero(np.diff(tied) != 1)
    first = tied[np.concatenate([[0], gap + 1])]
    last = tied[np.append(gap, tied.size - 1)] + 1
    counts = last - first + 1
    members = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    ranks[members] = np.repeat((ranks[first] + ranks[last]) // 2, counts)


def ranks_by_sorting(rows: Tensor) -> Tensor:
    """Rank rows on their device, without waiting for it."""
    count, n = rows.shape
    value, order = rows.sort(dim=1)
    change = value[:, 1:] != value[:, :-1]
    edge = torch.ones((count, 1), dtype=torch.bool, device=rows.device)
    position = torch.arange(n, device=rows.device)
    start = torch.where(torch.cat([edge, change], 1), position, 0).cummax(1).values
    last = torch.where(torch.cat([change, edge], 1), position + 1, n)
    end = last.flip(1).cummin(1).values.flip(1)
    ranks = torch.empty((count, n), dtype=torch.int32, device=rows.device)
    return ranks.scatter_(1, order, (start + end - n).to(torch.int32))

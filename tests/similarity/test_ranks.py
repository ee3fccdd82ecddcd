"""Exact average ranks on every path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from reference.similarity_literal import literal_ranks
from reference.similarity_maps import pairs
from salsanity.similarity import ranks

PATHS = {
    "keys": lambda rows: torch.from_numpy(ranks.ranks_by_keys(rows.float().numpy())),
    "argsort": lambda rows: torch.from_numpy(ranks.ranks_by_argsort(rows.numpy())),
    "device": ranks.ranks_by_sorting,
    "chosen, float32": lambda rows: ranks.centred_ranks(rows.float()),
    "chosen, float64": ranks.centred_ranks,
}


def rows_of(side):
    """Every kind of map as rows, in values that float32 holds exactly."""
    found = [m.float().double().flatten() for pair in pairs(side).values() for m in pair]
    return torch.stack(found)


def check_ranks(path, rows, expected):
    made = path(rows)
    assert made.dtype == torch.int32
    wanted = np.stack([2 * expected(row) - rows.shape[1] - 1 for row in rows.numpy()])
    np.testing.assert_array_equal(made.numpy(), wanted)
    assert (made.sum(dim=1) == 0).all()


def ordinal(rows):
    order = rows.argsort(dim=1, stable=True).argsort(dim=1)
    return (2 * order + 1 - rows.shape[1]).int()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_ranks_equal_the_literal_count(path):
    check_ranks(path, rows_of(10), literal_ranks)


@pytest.mark.parametrize("side", [28, 224, 299])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_ranks_equal_scipy(path, side):
    check_ranks(path, rows_of(side), rankdata)


def test_ordinal_ranks_fail_the_same_checks():
    with pytest.raises(AssertionError):
        check_ranks(ordinal, rows_of(10), literal_ranks)
    with pytest.raises(AssertionError):
        check_ranks(ordinal, rows_of(28), rankdata)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_negative_zero_ties_with_zero(path):
    rows = torch.tensor([[0.0, -0.0, 1.0, -1.0, -0.0]], dtype=torch.float64)
    assert path(rows).tolist() == [[0, 0, 4, -4, 0]]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_extreme_values_are_in_order(path):
    rows = torch.tensor([[3e38, -3e38, 1e-45, -1e-45, 0.0, 1e-38]], dtype=torch.float64)
    assert path(rows).tolist() == [[5, -5, 1, -3, -1, 3]]


def test_doubles_closer_than_single_precision_do_not_tie():
    rows = 1 + 1e-12 * torch.tensor([[2.0, 0.0, 1.0]], dtype=torch.float64)
    assert ranks.centred_ranks(rows).tolist() == [[2, -2, 0]]
    assert ranks.centred_ranks(rows.float()).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_single_pixels_and_empty_batches(path):
    assert path(torch.zeros(2, 1, dtype=torch.float64)).tolist() == [[0], [0]]
    assert path(torch.zeros(0, 5, dtype=torch.float64)).shape == (0, 5)


def test_large_maps_in_large_batches_cross_pieces_without_mixing():
    rows = torch.randint(0, 50, (7, 60_000), generator=torch.Generator().manual_seed(0)).double()
    rows[3] = torch.arange(60_000)
    for path in (PATHS["chosen, float32"], PATHS["chosen, float64"]):
        check_ranks(path, rows, rankdata)

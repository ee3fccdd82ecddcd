"""Spearman, Pearson and cosine against literal versions and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from reference import similarity_literal as literal
from reference import similarity_maps as oracles
from salsanity.similarity import Cosine, Pearson, Spearman, correlation, view

ORACLES = {
    "spearman": (Spearman(), oracles.scipy_spearman),
    "pearson": (Pearson(), oracles.scipy_pearson),
    "cosine": (Cosine(), oracles.numpy_cosine),
}
SIDES = [28, 224, 299]


def test_names():
    assert [s.name for s, _ in ORACLES.values()] == ["spearman", "pearson", "cosine"]


@pytest.mark.parametrize(
    ("similarity", "wanted"),
    [
        (Spearman(), literal.literal_spearman),
        (Pearson(), literal.literal_pearson),
        (Cosine(), literal.literal_cosine),
    ],
    ids=ORACLES,
)
def test_equal_to_the_literal_versions(similarity, wanted):
    def check(tested):
        oracles.check_equals_oracle(tested, lambda a, b, _: wanted(a, b), 10, tolerance=1e-12)

    check(similarity)
    for other, _ in ORACLES.values():
        if other.name != similarity.name:
            with pytest.raises(AssertionError):
                check(other)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("similarity", "oracle"), ORACLES.values(), ids=ORACLES)
def test_equal_to_scipy(similarity, oracle, side):
    oracles.check_equals_oracle(similarity, oracle, side)


@pytest.mark.parametrize("side", SIDES)
def test_ordinal_ranks_do_not_equal_scipy(side, monkeypatch):
    def ordinal(rows):
        return (2 * rows.argsort(dim=1, stable=True).argsort(dim=1) + 1 - rows.shape[1]).int()

    monkeypatch.setattr(correlation, "centred_ranks", ordinal)
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(Spearman(), oracles.scipy_spearman, side)


@pytest.mark.parametrize("side", SIDES)
def test_uncentred_vectors_do_not_equal_scipy(side):
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(Cosine(), oracles.scipy_pearson, side)
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(Pearson(), oracles.numpy_cosine, side)


@pytest.mark.parametrize("shape", [(50_000, 5), (3, 7), (2, 1, 999), (2, 4, 6, 5, 3)])
@pytest.mark.parametrize(("similarity", "oracle"), ORACLES.values(), ids=ORACLES)
def test_maps_of_any_shape(similarity, oracle, shape):
    random = torch.Generator().manual_seed(0)
    a, b = (view(torch.randn(shape, generator=random), signed=True) for _ in "ab")
    got = similarity.compare(similarity.prepare(a), similarity.prepare(b)).values
    assert got.shape == shape[:1]
    for i in range(min(3, shape[0])):
        wanted = oracle(a.values[i].double().numpy(), b.values[i].double().numpy(), True)
        assert got[i].item() == pytest.approx(wanted, abs=1e-6)


def test_sums_of_ranks_beyond_32_bits_are_exact():
    random = np.random.default_rng(0)
    a = random.integers(0, 1000, (1, 700, 700)).astype(np.float32)
    b = a + random.integers(0, 1000, (1, 700, 700)).astype(np.float32)
    first, second = (view(torch.from_numpy(m)[:, None], signed=True) for m in (a, b))
    got = Spearman().compare(Spearman().prepare(first), Spearman().prepare(second)).values.item()
    assert got == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
@pytest.mark.parametrize(("similarity", "oracle"), ORACLES.values(), ids=ORACLES)
def test_scale_does_not_matter(similarity, oracle, scale):
    a, b = oracles.pairs(28)["continuous"]

    def score(factor):
        features = [similarity.prepare(view(m[None, None] * factor, signed=True)) for m in (a, b)]
        return similarity.compare(*features).values.item()

    assert score(scale) == pytest.approx(score(1.0), abs=1e-12)

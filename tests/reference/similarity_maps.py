"""Pairs of maps of every awkward kind, and what other libraries say of them."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from skimage.feature import hog
from skimage.metrics import structural_similarity


def pairs(side, dtype=torch.float64):
    """Name -> two correlated maps (side, side): continuous, tied, mostly zero, sparse, ..."""
    random = np.random.default_rng(side)
    a = random.standard_normal((side, side))
    b = a + random.standard_normal((side, side))
    shared_zeros = random.random((side, side)) < 0.2
    few = np.zeros((side, side))
    few[side // 2 - 2 : side // 2 + 2, side // 2] = [1.0, -2.0, 3.0, 4.0]
    ramp = np.add.outer(np.arange(side), np.arange(side)) / side
    outlier = a.copy()
    outlier[side // 3, side // 4] = 1e6
    found = {
        "continuous": (a, b),
        "ties": (a.round(1), b.round()),
        "shared zeros": (a * shared_zeros, b * shared_zeros),
        "negative zeros": (np.where(shared_zeros, -0.0, 0.0) * a + few, few + b * shared_zeros),
        "a few pixels": (few, np.roll(few, 1, axis=1) + few),
        "two values": ((a > 0).astype(float), (b > 0.5).astype(float)),
        "smooth": (np.sin(3 * ramp), np.cos(2 * ramp) + few),
        "outlier": (outlier, b),
        "small": (a * 1e-20, b * 1e-20),
        "opposite": (a, -a),
    }
    return {name: [torch.tensor(m, dtype=dtype) for m in pair] for name, pair in found.items()}


def scaled(values):
    """One map as NumPy scales it; for absolute maps the lower limit is never met."""
    divisor = np.percentile(np.abs(values), 99)
    return np.clip(values / (divisor if divisor > 0 else np.abs(values).max()), -1, 1)


def scipy_spearman(a, b, signed):
    return stats.spearmanr(a.ravel(), b.ravel()).statistic


def scipy_pearson(a, b, signed):
    return stats.pearsonr(a.ravel(), b.ravel()).statistic


def numpy_cosine(a, b, signed):
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def skimage_ssim(a, b, signed):
    return structural_similarity(
        scaled(a),
        scaled(b),
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=2.0 if signed else 1.0,
    )


def skimage_features(image):
    side = max(2, min(16, min(image.shape) // 8))
    return hog(scaled(image), orientations=9, pixels_per_cell=(side, side), cells_per_block=(3, 3))


def skimage_hog(a, b, signed):
    return np.corrcoef(skimage_features(a), skimage_features(b))[0, 1]


def skimage_hog_ranked(a, b, signed):
    return stats.spearmanr(skimage_features(a), skimage_features(b)).statistic


def check_equals_oracle(similarity, oracle, side, *, tolerance=1e-6, dtype=torch.float64):
    """Assert that a similarity says what the oracle says of every pair, in both views."""
    from salsanity.similarity import view

    found = pairs(side, dtype)
    first, second = (torch.stack([pair[k] for pair in found.values()])[:, None] for k in (0, 1))
    for signed in (True, False):
        a, b = view(first, signed=signed), view(second, signed=signed)
        scores = similarity.compare(similarity.prepare(a), similarity.prepare(b))
        assert scores.values.dtype == torch.float64
        assert scores.reasons == (None,) * len(found)
        expected = [
            oracle(x, y, signed)
            for x, y in zip(a.values.double().numpy(), b.values.double().numpy(), strict=True)
        ]
        for name, value, wanted in zip(found, scores.values.tolist(), expected, strict=True):
            assert abs(value - wanted) <= tolerance, (name, signed, value, wanted)

"""What noise scores (the paper's appendix B), and what shared zeros do to a similarity."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from salsanity.similarity import SSIM, Spearman, view

SIDE, COUNT, TOLERANCE = 224, 64, 0.001
PAPER = {"window": 5, "weights": "uniform", "sample_covariance": True}


def noise(seed, count=COUNT):
    return torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def smooth(seed):
    padded = torch.nn.functional.pad(noise(seed), (8, 8, 8, 8), mode="circular")
    return torch.nn.functional.avg_pool2d(padded, 17, stride=1)


def sparse(seed):
    kept = torch.rand(COUNT, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) < 0.02
    return noise(seed) * kept


def blob(seed):
    line = torch.linspace(-1, 1, SIDE)
    bell = (-4 * (line[:, None] ** 2 + line**2)).exp()
    return bell + 0.01 * noise(seed)


MAPS = {"noise": noise, "smooth": smooth, "sparse": sparse, "blob": blob}


def check_calibrated(scores):
    """Assert that the mean is within 0.001 of 0, within four standard errors of sampling."""
    error = scores.std().item() / len(scores) ** 0.5
    assert abs(scores.mean().item()) < TOLERANCE + 4 * error, (scores.mean().item(), error)
    assert error < 0.001


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("kind", MAPS.values(), ids=MAPS)
def test_spearman_of_any_map_with_noise_is_zero(kind, signed):
    maps, other = (Spearman().prepare(view(m, signed=signed)) for m in (kind(1), noise(2)))
    check_calibrated(Spearman().compare(maps, other).values)


@pytest.mark.parametrize("kind", MAPS.values(), ids=MAPS)
def test_the_papers_ssim_of_any_map_with_noise_is_zero(kind):
    # Maps in [-1, 1], window 5, Gaussian noise of sd 1 left as it is: appendix B.
    maps = SSIM(scaling="maximum", **PAPER).prepare(view(kind(1), signed=True))
    other = SSIM(scaling="none", **PAPER).prepare(view(noise(2), signed=True))
    check_calibrated(SSIM(**PAPER).compare(maps, other).values)


def test_a_trace_of_the_map_in_the_noise_is_found_out():
    maps, mixed = noise(1), noise(2) + 0.2 * noise(1)
    for similarity in (Spearman(), SSIM(scaling="none", **PAPER)):
        a, b = (similarity.prepare(view(m, signed=True)) for m in (maps, mixed))
        with pytest.raises(AssertionError):
            check_calibrated(similarity.compare(a, b).values)


@pytest.mark.parametrize(("signed", "wanted"), [(True, 0.0071), (False, 0.0095)])
def test_the_default_ssim_of_noise_with_noise_lies_a_little_above_zero(signed, wanted):
    # Gaussian windows: the product of local means goes with the local covariance. Chance holds it.
    a, b = (SSIM().prepare(view(noise(seed), signed=signed)) for seed in (1, 2))
    assert SSIM().compare(a, b).values.mean().item() == pytest.approx(wanted, abs=0.0015)


def digits(folder, count):
    with gzip.open(folder / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + count * 784), np.uint8, offset=16)
    return torch.from_numpy(pixels.reshape(count, 1, 28, 28).astype(np.float32) / 255)


def test_independent_noise_times_mnist_scores_99_by_the_shared_zeros(shared_data):
    x = digits(shared_data, 200)
    random = torch.Generator().manual_seed(0)
    products = [torch.randn(x.shape, generator=random) * x for _ in "ab"]

    def mean(signed):
        a, b = (Spearman().prepare(view(m, signed=signed)) for m in products)
        return Spearman().compare(a, b).values.mean().item()

    assert mean(signed=False) == pytest.approx(0.990, abs=0.002)
    assert abs(mean(signed=True)) < 0.02


def test_without_the_zeros_independent_noise_scores_nothing():
    random = torch.Generator().manual_seed(0)
    a, b = (
        Spearman().prepare(view(torch.randn(50, 1, 28, 28, generator=random), signed=False))
        for _ in "ab"
    )
    assert abs(Spearman().compare(a, b).values.mean().item()) < 0.02

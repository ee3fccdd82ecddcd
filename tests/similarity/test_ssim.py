"""SSIM against a literal version and scikit-image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from skimage.metrics import structural_similarity

from reference import similarity_maps as oracles
from reference.similarity_literal import literal_ssim
from salsanity.errors import SimilarityError
from salsanity.similarity import SSIM, view

BROKEN = [SSIM(sample_covariance=True), SSIM(sd=1.51), SSIM(window=9), SSIM(k2=0.031)]
BROKEN += [SSIM(weights="uniform"), SSIM(scaling="maximum")]


def literal(a, b, signed):
    return literal_ssim(oracles.scaled(a), oracles.scaled(b), span=2.0 if signed else 1.0)


def test_equal_to_the_literal_version():
    oracles.check_equals_oracle(SSIM(), literal, 16, tolerance=1e-12)
    for broken in BROKEN:
        with pytest.raises(AssertionError):
            oracles.check_equals_oracle(broken, literal, 16)


@pytest.mark.parametrize("side", [28, 224, 299])
def test_equal_to_scikit_image(side):
    oracles.check_equals_oracle(SSIM(), oracles.skimage_ssim, side)
    oracles.check_equals_oracle(
        SSIM(), oracles.skimage_ssim, side, dtype=torch.float32, tolerance=1e-5
    )


@pytest.mark.parametrize("broken", BROKEN, ids=lambda s: s.name)
def test_other_settings_do_not_equal_scikit_image(broken):
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(broken, oracles.skimage_ssim, 28)


def by_maximum(values):
    return values / abs(values).max()


def by_range(values):
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize("side", [28, 224])
def test_the_papers_variant_equals_scikit_image(side):
    def oracle(a, b, signed):
        span = 2.0 if signed else 1.0
        return structural_similarity(by_maximum(a), by_maximum(b), win_size=5, data_range=span)

    oracles.check_equals_oracle(SSIM.paper(), oracle, side)
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(replace(SSIM.paper(), window=7), oracle, side)


def test_the_released_codes_scaling_equals_scikit_image():
    def oracle(a, b, signed):
        return structural_similarity(
            by_range(a), by_range(b), gaussian_weights=True, data_range=1.0, win_size=11
        )

    released = SSIM(scaling="minmax", sample_covariance=True)
    oracles.check_equals_oracle(released, oracle, 28)
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(replace(released, scaling="maximum"), oracle, 28)


def test_images_need_not_be_square():
    a, b = (m[None, None, :40, :90] for m in oracles.pairs(99)["continuous"])
    features = [SSIM().prepare(view(m, signed=True)) for m in (a, b)]
    wanted = oracles.skimage_ssim(a[0, 0].numpy(), b[0, 0].numpy(), True)
    assert SSIM().compare(*features).values.item() == pytest.approx(wanted, abs=1e-6)


def test_names_tell_settings_apart():
    assert SSIM().name == "ssim"
    assert SSIM(window=5, weights="uniform").name == "ssim(window=5,weights=uniform)"
    assert len({s.name for s in [*BROKEN, SSIM(), SSIM.paper()]}) == len(BROKEN) + 2


@pytest.mark.parametrize("shape", [(2, 50), (2, 1, 50), (2, 1, 10, 50), (2, 1, 12, 12, 12)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(
        SimilarityError, match=r"ssim expected images.*at least 11x11.*use spearman"
    ):
        SSIM().prepare(view(torch.rand(shape), signed=True))
    SSIM().prepare(view(torch.rand(1, 1, 11, 11), signed=True))


def test_two_views_are_never_compared():
    signed, absolute = (SSIM().prepare(view(torch.randn(1, 1, 16, 16), signed=s)) for s in (1, 0))
    with pytest.raises(SimilarityError, match="expected maps of one view"):
        SSIM().compare(signed, absolute)


@pytest.mark.parametrize(
    "changes", [{"window": 4}, {"window": 1}, {"weights": "box"}, {"sd": 0.0}, {"scaling": "sd"}]
)
def test_wrong_settings_are_refused(changes):
    with pytest.raises(SimilarityError, match="ssim expected"):
        SSIM(**changes)

"""HOG against a literal version and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference import similarity_maps as oracles
from reference.similarity_literal import literal_hog, literal_pearson
from salsanity.errors import SimilarityError
from salsanity.similarity import HOG, hog, view


def literal(a, b, signed):
    return literal_pearson(literal_hog(oracles.scaled(a)), literal_hog(oracles.scaled(b)))


@pytest.fixture(params=["CLIP", "BLOCK", "cell_side", "EPSILON", "count_votes", "gradients"])
def broken(request, monkeypatch):
    """HOG with one part of its definition changed."""
    made = {
        "CLIP": 0.21,
        "BLOCK": 2,
        "EPSILON": 1e-1,
        "cell_side": lambda h, w: max(2, min(16, min(h, w) // 7)),
        "count_votes": lambda bins, weights, side: hog_votes(bins, weights.square(), side=side),
        "gradients": lambda images: hog_gradients(images)[::-1],
    }
    hog_votes, hog_gradients = hog.count_votes, hog.gradients
    monkeypatch.setattr(hog, request.param, made[request.param])


def test_equal_to_the_literal_version():
    oracles.check_equals_oracle(HOG(), literal, 28, tolerance=1e-9)


def test_a_broken_part_does_not_equal_the_literal_version(broken):
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(HOG(), literal, 28)


@pytest.mark.parametrize("side", [28, 224, 299])
def test_equal_to_scikit_image(side):
    oracles.check_equals_oracle(HOG(), oracles.skimage_hog, side)


def test_a_broken_part_does_not_equal_scikit_image(broken):
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(HOG(), oracles.skimage_hog, 28)


def test_compared_by_spearman_as_the_released_code_does():
    # scikit-image sums cells in float32, which breaks ties between cells: so 1e-3 on the ranks.
    ranked = HOG(correlation="spearman")
    oracles.check_equals_oracle(ranked, oracles.skimage_hog_ranked, 28, tolerance=1e-3)
    with pytest.raises(AssertionError):
        oracles.check_equals_oracle(HOG(), oracles.skimage_hog_ranked, 28, tolerance=1e-3)


@pytest.mark.parametrize("shape", [(6, 6), (7, 9), (8, 30), (17, 33), (40, 90), (150, 129)])
def test_features_equal_scikit_image_at_any_size(shape):
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = oracles.skimage_features(image[0].numpy())
    scaled = torch.from_numpy(oracles.scaled(image.numpy()))
    got = hog.oriented_gradients(scaled).view(-1, 9, 3, 3).permute(0, 2, 3, 1)
    np.testing.assert_allclose(got.flatten(), wanted, atol=1e-6)


def test_horizontal_and_vertical_edges_fall_into_their_bins():
    ramp = torch.arange(12.0, dtype=torch.float64).expand(1, 12, 12)
    for image, direction, bin_ in (
        (ramp, 9, 0),
        (-ramp, 18, 0),
        (ramp.mT, 13, 4),
        (-ramp.mT, 4, 4),
    ):
        bins, weights = hog.votes(image.contiguous())
        assert (bins[0, 1:-1, 1:-1] == direction).all()
        assert (weights[0, 1:-1, 1:-1] == 2).all()
        cells = hog.histograms(bins, weights, side=2)
        assert cells[0, 2, 2].nonzero().tolist() == [[bin_]]


def test_angles_that_round_to_180_degrees_are_horizontal():
    image = torch.zeros(1, 6, 6, dtype=torch.float64)
    image[0, 2, 1], image[0, 3, 2] = 1.0, 1e-17
    bins, weights = hog.votes(image)
    assert bins[0, 2, 2] == 18
    cells = hog.histograms(bins[:, 2:4, 2:4], weights[:, 2:4, 2:4], side=2)
    assert cells[0, 0, 0, 0] == weights[0, 2, 2] / 4


@pytest.mark.parametrize("side", [2, 3, 16])
def test_votes_are_counted_alike_on_every_device(side):
    images = torch.randn(3, 4 * side, 5 * side, generator=torch.Generator().manual_seed(0))
    bins, weights = hog.votes(images)
    one = hog.count_votes(bins, weights, side=side)
    other = hog.count_votes_on_device(bins, weights, side=side)
    torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(one, other.flip(-1))


def test_maps_without_oriented_gradients_are_undefined():
    checkers = (torch.arange(28)[:, None] + torch.arange(28)) % 2
    features = HOG().prepare(view(checkers[None, None], signed=True))
    assert features.undefined == ("map without oriented gradients",)


@pytest.mark.parametrize("shape", [(2, 50), (2, 1, 50), (2, 1, 5, 50), (2, 1, 8, 8, 8)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(SimilarityError, match=r"hog expected images.*at least 6x6.*use spearman"):
        HOG().prepare(view(torch.rand(shape), signed=True))


def test_settings():
    assert HOG().name == "hog"
    assert HOG(correlation="spearman").name == "hog(correlation=spearman)"
    with pytest.raises(SimilarityError, match="hog expected correlation"):
        HOG(correlation="kendall")

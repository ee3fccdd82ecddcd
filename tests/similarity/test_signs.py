"""Which similarities tell a map from its negative."""

from __future__ import annotations

import pytest
import torch

from salsanity.similarity import HOG, SSIM, Cosine, Pearson, Similarity, Spearman, View
from salsanity.similarity.signs import tells_signs


@pytest.mark.parametrize("similarity", [Spearman(), Pearson(), Cosine()])
def test_what_follows_values_tells_signs(similarity: Similarity) -> None:
    assert tells_signs(similarity, (3, 28, 28))


def test_opposite_directions_are_one_orientation() -> None:
    assert not tells_signs(HOG(), (3, 28, 28))
    assert not tells_signs(HOG(correlation="spearman"), (1, 28, 28))


def test_ssim_takes_a_smooth_map_and_its_negative_for_alike() -> None:
    """Of mean m and variance v, SSIM(x, -x) is (c - 2mm)(d - 2vv) / ((c + 2mm)(d + 2vv)): near 1, where neither is small."""
    stripes = torch.tensor([0.25, 1.0]).repeat(14).expand(28, 28)
    maps = torch.stack([stripes, stripes.T])
    own, negative = (SSIM().prepare(View(m, signed=True)) for m in (maps, -maps))
    assert (SSIM().compare(own, negative).values > 0.9).all()
    assert not tells_signs(SSIM(), (3, 28, 28))


def test_rows_of_numbers_and_volumes_have_signs_too() -> None:
    for shape in ((40,), (2, 50), (1, 6, 6, 6)):
        assert tells_signs(Spearman(), shape)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    tells_signs(Spearman(), (1, 8, 8))
    assert torch.equal(before, torch.get_rng_state())


def test_twin_a_similarity_of_magnitudes_tells_none() -> None:
    class Magnitudes:
        name = "magnitudes"

        def prepare(self, view):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            return Spearman().prepare(replace(view, values=view.values.abs()))

        def compare(self, a, b):  # type: ignore[no-untyped-def]
            return Spearman().compare(a, b)

    assert not tells_signs(Magnitudes(), (1, 20, 20))

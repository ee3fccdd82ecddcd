import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from salsanity.data.digits import digits_source
from salsanity.data.examples import image_id, seeded_order


def test_the_split_is_whole_fixed_and_balanced():
    parts = {split: digits_source(split) for split in ("train", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 1437, "test": 360}
    for part in parts.values():
        assert torch.bincount(part.labels).min() > 0.07 * len(part)
    pixels, _ = load_digits(return_X_y=True)
    together = torch.cat([part.pixels for part in parts.values()])
    assert together.shape == (1797, 1, 32, 32)
    assert float(together.double().mean()) == pytest.approx(pixels.mean() / 16, rel=1e-6)
    ids = {split: {image_id(x) for x in part.pixels} for split, part in parts.items()}
    assert not ids["train"] & ids["test"], "no image is in both"


def weight(i, k):
    """Bilinear, half-pixel centres, edges repeated: how much of old pixel k is in new pixel i."""
    centre = min(max((i + 0.5) / 4 - 0.5, 0), 7)
    return max(0.0, 1 - abs(centre - k))


def check_upscaled(shown, small):
    weights = np.array([[weight(i, k) for k in range(8)] for i in range(32)])
    assert np.array_equal(shown[0].double().numpy(), weights @ small @ weights.T)


def test_images_are_brought_to_32_by_32_exactly():
    pixels, _ = load_digits(return_X_y=True)
    source = digits_source("test")
    place = int(seeded_order([str(i) for i in range(len(pixels))], 0)[:360][17])
    among = sorted(seeded_order([str(i) for i in range(len(pixels))], 0)[:360]).index(place)
    small = pixels[place].reshape(8, 8) / 16
    check_upscaled(source[among].x, small)
    with pytest.raises(AssertionError):
        check_upscaled(source[among].x.roll(1, 1), small)


def test_the_ids_are_the_same_everywhere():
    assert image_id(digits_source("train")[3].x) == (
        "1ee2fccc3653c0df2178ab6d57c82cbab4fc9bdb2865792775d70cdd5ae72d7d"
    )

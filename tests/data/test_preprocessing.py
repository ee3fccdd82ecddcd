import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salsanity.data.preprocessing import (
    Preprocessing,
    centre_cropped,
    preprocessing_from,
    short_sided,
    with_channels,
)
from salsanity.errors import DataError

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize(
    ("settings", "shape", "short"),
    [
        ({}, (300, 400), None),
        ({"size": 224}, (300, 400), 256),
        ({"size": 224}, (224, 224), None),
        ({"size": 224}, (224, 225), 256),
        ({"size": 224, "resize": 224}, (224, 224), 224),
        ({"size": 299, "resize": 342}, (500, 375), 342),
        ({"resize": 100}, (500, 375), 100),
        ({"size": 299}, (500, 375), 342),
    ],
)
def test_the_short_side(settings, shape, short):
    assert Preprocessing(**settings).short_side(*shape) == short


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600))
def test_the_aspect_stays(height, width, short):
    high, wide = short_sided(height, width, short)
    assert min(high, wide) == short
    assert (high <= wide) == (height <= width) or high == wide
    assert abs(max(high, wide) - short * max(height, width) / min(height, width)) <= 1


def check_crop(crop):
    images = torch.arange(7 * 6).reshape(1, 7, 6)
    assert torch.equal(crop(images, 4), images[:, 2:6, 1:5])  # torchvision rounds half to even
    assert torch.equal(crop(images[:, :6], 4), images[:, 1:5, 1:5])


def test_the_crop_is_central():
    check_crop(centre_cropped)
    with pytest.raises(AssertionError):
        check_crop(lambda images, size: images[..., :size, :size])


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(DataError, match="at least 8 x 8 pixels"):
        centre_cropped(torch.zeros(3, 8, 7), 8)


def test_normalising_and_back():
    unit = torch.rand(2, 3, 5, 5)
    preprocessing = Preprocessing(**IMAGENET)
    x = preprocessing.normalise(unit)
    for c in range(3):
        wanted = (unit[:, c] - IMAGENET["mean"][c]) / IMAGENET["std"][c]
        torch.testing.assert_close(x[:, c], wanted)
    torch.testing.assert_close(preprocessing.denormalise(x), unit)
    assert Preprocessing().normalise(unit) is unit


def test_one_mean_serves_all_channels():
    unit = torch.rand(3, 4, 4)
    assert torch.equal(Preprocessing(mean=(0.5,), std=(0.5,)).normalise(unit), (unit - 0.5) / 0.5)


def test_channels():
    grey = torch.rand(2, 1, 3, 3)
    assert torch.equal(with_channels(grey, 3), grey.repeat(1, 3, 1, 1))
    colour = torch.rand(2, 3, 3, 3)
    luma = 0.299 * colour[:, :1] + 0.587 * colour[:, 1:2] + 0.114 * colour[:, 2:]
    torch.testing.assert_close(with_channels(colour, 1), luma)
    with pytest.raises(DataError, match="1 or 3 channels"):
        with_channels(torch.rand(2, 2, 3, 3), 3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_images_are_fitted(interpolation):
    images = torch.rand(2, 1, 20, 30)
    fitted = Preprocessing(size=14, resize=16, interpolation=interpolation).fit(images)
    assert fitted.shape == (2, 3, 14, 14)
    assert fitted.min() >= 0
    assert fitted.max() <= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": 2},
        {"interpolation": "lanczos"},
        {"size": 0},
        {"size": 10**9},
        {"size": 224, "resize": 200},
        {"mean": (0.5,)},
        {"mean": (0.5, 0.5), "std": (1.0, 1.0)},
        {"mean": (0.5,), "std": (0.0,)},
        {"mean": (0.5,), "std": (-1.0,)},
        {"mean": (0.5,), "std": (float("nan"),)},
        {"mean": (float("inf"),), "std": (1.0,)},
    ],
)
def test_what_cannot_be_meant_is_refused(settings):
    with pytest.raises(DataError, match="expected"):
        Preprocessing(**settings)


def test_what_is_asked_lies_over_what_is_known():
    known = {"size": 8, "mean": (0.1,), "std": (0.2,), "colours": "ignored"}
    assert preprocessing_from() is None
    assert preprocessing_from(known) == Preprocessing(size=8, mean=(0.1,), std=(0.2,))
    found = preprocessing_from(known, size=4, mean=[0.5] * 3, std=torch.tensor([1, 2, 3]))
    assert found == Preprocessing(size=4, mean=(0.5,) * 3, std=(1.0, 2.0, 3.0))
    assert preprocessing_from(channels=1, resize=9).resize == 9
    with pytest.raises(DataError, match="one per channel"):
        preprocessing_from(mean="half")
    with pytest.raises(DataError, match="as many means"):
        preprocessing_from(mean=0.5)

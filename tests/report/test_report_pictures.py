from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from salsanity.report.pictures import (
    LEVELS,
    UNDEFINED,
    data_uri,
    fitted,
    is_flat,
    map_png,
    photo_file,
    resized,
    rgb,
    scaled,
    small_view,
    view_of,
)


def colours(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_views_sum_over_channels() -> None:
    values = np.array([[[1.0, -2.0]], [[-3.0, 1.0]]])
    np.testing.assert_array_equal(view_of(values, "signed"), [[-2.0, -1.0]])
    np.testing.assert_array_equal(view_of(values, "absolute"), [[4.0, 3.0]])


def test_scaling_divides_by_the_99th_percentile() -> None:
    values = np.linspace(-1, 1, 201).reshape(1, 201) * 7
    top = np.percentile(np.abs(values), 99)
    np.testing.assert_allclose(scaled(values, "signed"), np.clip(values / top, -1, 1))
    assert scaled(np.zeros((2, 2)), "signed").tolist() == [[0, 0], [0, 0]]


def test_a_single_bright_pixel_is_scaled_by_the_maximum() -> None:
    values = np.zeros((20, 20))
    values[3, 4] = 5.0
    assert scaled(values, "absolute")[3, 4] == 1.0


def check_centre(picture: np.ndarray) -> None:
    """Zero is neutral, the negative end is blue and the positive one red."""
    blue, white, red = picture[0]
    assert np.ptp(white) <= 2
    assert white.min() > 240
    assert blue[2] > blue[0] + 40
    assert red[0] > red[2] + 40


def test_signed_maps_are_centred_at_zero() -> None:
    check_centre(colours(map_png(np.array([[-1.0, 0.0, 1.0]]), "signed")))


def test_twin_an_uncentred_map_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_centre(colours(map_png(np.array([[-0.7, 0.3, 1.0]]), "signed")))


def test_absolute_maps_run_from_white_to_black() -> None:
    picture = colours(map_png(np.linspace(0, 1, LEVELS)[None], "absolute"))
    brightness = picture[0].sum(axis=1)
    assert (np.diff(brightness) <= 0).all()
    assert brightness[0] == 3 * 255
    assert brightness[-1] == 0


def test_maps_with_one_value_everywhere_are_flat() -> None:
    assert is_flat(np.full((2, 3, 3), 4.0), "signed")
    assert not is_flat(np.array([[[0.0, 1e-9]]]), "signed")
    assert not is_flat(np.array([[[np.nan, 0.0]]]), "signed")
    two_signs = np.array([[[1.0, 2.0]], [[-1.0, -2.0]]])
    assert is_flat(two_signs, "signed")
    assert not is_flat(two_signs, "absolute")


def test_undefined_pixels_have_a_colour_of_their_own() -> None:
    picture = colours(map_png(np.array([[np.nan, 0.0]]), "absolute"))
    assert tuple(picture[0, 0]) == UNDEFINED


def test_coarse_maps_are_brought_up_bilinearly() -> None:
    coarse = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    fine = small_view(coarse, "absolute", like=(8, 8), side=8)
    assert fine.shape == (8, 8)
    assert len(np.unique(fine[0])) > 2


def test_reduction_averages_areas() -> None:
    values = np.arange(16, dtype=float).reshape(4, 4)
    expected = values.reshape(2, 2, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(resized(values, 2, 2), expected)


def test_sizes_keep_their_shape() -> None:
    assert fitted((100, 50), 20) == (20, 10)
    assert fitted((10, 5), 20) == (10, 5)
    assert fitted((1000, 1), 10) == (10, 1)


@pytest.mark.parametrize(("side", "kind"), [(20, "png"), (100, "jpeg")])
def test_photographs_of_any_channels_and_values(side: int, kind: str) -> None:
    for channels in (1, 2, 3, 5):
        photo = np.full((channels, side, side), 2.0, np.float32)
        photo[:, 0, 0] = np.nan
        assert rgb(photo).shape == (side, side, 3)
        assert data_uri(photo_file(photo)).startswith(f"data:image/{kind};base64,")

"""The gallery: what is put into a file is what is read from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from salsanity.store.gallery import Gallery, is_damaged

IMAGE = "0123456789abcdef" * 4


def turned() -> np.ndarray:
    """A picture whose memory lies in another order than its axes, as a transposed tensor's does."""
    return np.arange(24, dtype=np.float32).reshape(4, 2, 3).transpose(2, 0, 1) / 24


def test_pictures_are_kept_whatever_their_strides(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, {IMAGE: {"name": "one"}}, lambda _: turned())
    gallery.add({IMAGE: {"maps/gradient/trained": turned()[:2]}})
    gallery.add({IMAGE: {"maps/gradient/fc": turned()[1:]}, "another": {"x": turned()}})
    held = load_file(gallery.path(IMAGE))
    np.testing.assert_array_equal(held["photo"], turned())
    np.testing.assert_array_equal(held["maps/gradient/trained"], turned()[:2])
    np.testing.assert_array_equal(held["maps/gradient/fc"], turned()[1:])
    assert len(list(tmp_path.iterdir())) == 1


def test_a_cut_file_is_noticed_and_made_again(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, {IMAGE: {}}, lambda _: turned())
    assert not gallery.damaged()
    gallery.add({IMAGE: {"maps/gradient/trained": turned()}})
    path = gallery.path(IMAGE)
    path.write_bytes(path.read_bytes()[:-7])
    assert is_damaged(path)
    assert gallery.damaged() == {IMAGE}
    gallery.add({IMAGE: {"maps/gradient/fc": turned()}})
    assert set(load_file(path)) == {"photo", "maps/gradient/fc"}

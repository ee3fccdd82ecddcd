"""From maps to small pictures: views, scaling, size, colour, data URIs."""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import Final

import numpy as np
from matplotlib import colormaps
from PIL import Image

COLOUR_MAPS: Final = {"signed": "RdBu_r", "absolute": "Greys"}
"""Red and blue around a white zero, told apart by people who are colour-blind; grey from zero."""

LEVELS: Final = 31
"""Steps of colour in the page's pictures: odd, so that zero is exactly white."""

UNDEFINED: Final = (214, 186, 140)
"""The colour of pixels without a value: neither map has it."""


def view_of(values: np.ndarray, view: str) -> np.ndarray:
    """Sum a map (C, H, W) over channels, with or without its signs; return (H, W)."""
    total: np.ndarray = (np.abs(values) if view == "absolute" else values).sum(axis=0)
    return total


def is_flat(values: np.ndarray, view: str) -> bool:
    """Say whether a view of a map has one value everywhere: no similarity is defined then."""
    flat = view_of(values, view)
    return bool(np.isfinite(flat).all() and np.ptp(flat) == 0)


def scaled(values: np.ndarray, view: str) -> np.ndarray:
    """Divide by the 99th percentile of the absolute values (the maximum where that is 0) and clip.

    Signed views end in [-1, 1], absolute ones in [0, 1]; undefined pixels stay NaN.
    """
    sizes = np.abs(values[np.isfinite(values)])
    top = (np.percentile(sizes, 99) or sizes.max()) if sizes.size else 0.0
    finite = np.where(np.isfinite(values), values, np.nan)
    return np.clip(finite / top if top else finite, -1.0 if view == "signed" else 0.0, 1.0)


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring (H, W) to a size: means of areas downwards, bilinear upwards."""
    if values.shape == (height, width):
        return values
    smaller = values.shape[0] > height or values.shape[1] > width
    how = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((width, height), how))


def fitted(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the size (H, W) of a shape whose longer side is at most `side`."""
    longer = max(shape)
    share = min(1.0, side / longer)
    return max(1, round(shape[0] * share)), max(1, round(shape[1] * share))


def small_view(values: np.ndarray, view: str, *, like: tuple[int, int], side: int) -> np.ndarray:
    """Return a scaled view of a map of an image of size `like`, at most `side` pixels large."""
    return scaled(resized(view_of(values, view), *fitted(like, side)), view)


@cache
def palette(view: str) -> bytes:
    """Return the colours of a view's levels, then the colour of undefined pixels."""
    steps = colormaps[COLOUR_MAPS[view]](np.linspace(0, 1, LEVELS))[:, :3]
    return bytes(np.rint(steps * 255).astype(np.uint8)) + bytes(UNDEFINED)


def map_png(values: np.ndarray, view: str) -> bytes:
    """Return a scaled view as a PNG with a palette."""
    low = -1.0 if view == "signed" else 0.0
    levels = np.rint((values - low) / (1.0 - low) * (LEVELS - 1))
    codes = np.where(np.isfinite(levels), levels, LEVELS).astype(np.uint8)
    picture = Image.frombytes("P", codes.shape[::-1], codes.tobytes())
    picture.putpalette(palette(view))
    return _encoded(picture, "PNG", optimize=True)


def photo_file(photo: np.ndarray, side: int = 320) -> bytes:
    """Return an image (C, H, W) in [0, 1] as a file of at most `side` pixels: JPEG, PNG if tiny."""
    picture = Image.fromarray(rgb(photo))
    height, width = fitted((photo.shape[1], photo.shape[2]), side)
    picture = picture.resize((width, height), Image.Resampling.BOX)
    if max(height, width) <= 64:
        return _encoded(picture, "PNG", optimize=True)
    return _encoded(picture, "JPEG", quality=88)


def rgb(photo: np.ndarray) -> np.ndarray:
    """Return an image (C, H, W) in [0, 1] as bytes (H, W, 3); one or two channels become grey."""
    planes = photo[:3] if photo.shape[0] >= 3 else np.repeat(photo[:1], 3, axis=0)
    clipped = np.clip(np.nan_to_num(planes), 0.0, 1.0)
    codes: np.ndarray = np.rint(clipped.transpose(1, 2, 0) * 255).astype(np.uint8)
    return codes


def data_uri(content: bytes) -> str:
    """Return a picture as a data URI."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()

"""From an image file, as cameras, editors and strangers write them, to pixels.

Orientation from EXIF is applied; grey, palette, CMYK and 16-bit images are brought to grey or RGB
in [0, 1]; transparent parts are laid on white, as a page shows them; of animations the first frame
counts; colour profiles are ignored, as networks are trained without them.
"""

from __future__ import annotations

import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from salsanity.data.preprocessing import Preprocessing, centre_cropped, short_sided
from salsanity.errors import DataError

SUFFIXES: Final = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)

FORMATS: Final = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
"""Decoders that are tried; others (EPS would start a program) never see a stranger's file."""

FILTERS: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}

TRANSPARENT: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})

GREY: Final = frozenset({"1", "L", "LA", "La", "F"})


@final
@dataclass(frozen=True)
class Limits:
    """Bounds on one image: a file of a few kilobytes can unpack to gigabytes."""

    max_pixels: int = 50_000_000
    max_bytes: int = 200_000_000

    def __post_init__(self) -> None:
        """Refuse bounds under which no image could be read."""
        if self.max_pixels < 1 or self.max_bytes < 1:
            raise DataError(
                f"expected bounds of at least 1, got {self.max_pixels} pixels and {self.max_bytes} bytes"
            )


DEFAULT_LIMITS: Final = Limits()


def decode(path: Path, preprocessing: Preprocessing, *, limits: Limits = DEFAULT_LIMITS) -> Tensor:
    """Read an image as (C, H, W) in [0, 1], resized and cropped but not normalised."""
    _check_file(path, limits)
    try:
        with path.open("rb") as file:
            return decode_stream(file, preprocessing, limits=limits)
    except OSError as error:
        raise DataError(f"it cannot be decoded: {error}") from error


def decode_stream(
    file: IO[bytes], preprocessing: Preprocessing, *, limits: Limits = DEFAULT_LIMITS
) -> Tensor:
    """Read an image out of an open file, as `decode` does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about broken metadata, and bombs that `limits` refuses
            return _fitted(_opened(file, limits), preprocessing, limits)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError("expected an image (JPEG, PNG, ...), it is of no known format") from error
    except MemoryError as error:
        raise DataError("there is not enough memory to decode it") from error
    except Exception as error:  # decoders meet hostile bytes, and raise nearly anything
        raise DataError(f"it cannot be decoded: {error or type(error).__name__}") from error


def _check_file(path: Path, limits: Limits) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise DataError("expected a regular file, it is a folder, a pipe or a device")
    if status.st_size == 0:
        raise DataError("the file is empty")
    if status.st_size > limits.max_bytes:
        raise DataError(
            f"expected at most {limits.max_bytes} bytes, it has {status.st_size}; "
            "raise --max-bytes if it is meant"
        )


def _opened(file: IO[bytes], limits: Limits) -> Image.Image:
    Image.init()
    image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    _check_pixels(*image.size, limits)
    image.load()
    return ImageOps.exif_transpose(image)


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width < 1 or height < 1:
        raise DataError(f"expected an image with pixels, it has {width} x {height}")
    if width * height > limits.max_pixels:
        raise DataError(
            f"expected at most {limits.max_pixels} pixels, it has {width} x {height}; "
            "raise --max-pixels if it is meant"
        )


def pixels_of(image: Image.Image, preprocessing: Preprocessing | None) -> Tensor:
    """Return an image that Pillow holds as (C, H, W) in [0, 1], resized and cropped but not normalised.

    Without preprocessing it has its own size, and one channel where it is grey, else three.
    """
    if preprocessing is None:
        is_grey = image.mode in GREY or image.mode.startswith("I")
        return _tensor(_plain(image, 1 if is_grey else 3)).float().contiguous()
    return _fitted(image, preprocessing, DEFAULT_LIMITS)


def _fitted(image: Image.Image, preprocessing: Preprocessing, limits: Limits) -> Tensor:
    image = _plain(image, preprocessing.channels)
    width, height = image.size
    short = preprocessing.short_side(height, width)
    if short is not None and short != min(height, width):
        high, wide = short_sided(height, width, short)
        _check_pixels(wide, high, limits)  # a strip of one pixel grows without bound
        image = image.resize((wide, high), FILTERS[preprocessing.interpolation])
    pixels = _tensor(image).expand(preprocessing.channels, -1, -1).clamp(0, 1)
    pixels = pixels if preprocessing.size is None else centre_cropped(pixels, preprocessing.size)
    return pixels.contiguous()


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """Return mode F for more than 8 bits of grey, else L or RGB as `channels` says."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_unit(np.asarray(image)))
    if image.mode in TRANSPARENT or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if channels == 1 else "RGB")


def _unit(grey: NDArray[np.generic]) -> NDArray[np.float32]:
    scale = 1 if grey.dtype.kind == "f" else 65535
    values = grey.astype(np.float32) / np.float32(scale)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise DataError("expected grey values of 16 bits, or floats in [0, 1]; it has others")
    return values


def _tensor(image: Image.Image) -> Tensor:
    pixels = np.array(image)
    unit = torch.from_numpy(pixels) if image.mode == "F" else torch.from_numpy(pixels) / 255
    return unit[None] if unit.ndim == 2 else unit.permute(2, 0, 1)

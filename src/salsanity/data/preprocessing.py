"""`Preprocessing`: from pixels in [0, 1] to what a network was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from salsanity.errors import DataError

Interpolation = Literal["bilinear", "bicubic", "nearest"]

INTERPOLATIONS: Final = ("bilinear", "bicubic", "nearest")

LARGEST_SIDE: Final = 8192
"""Sides beyond this are taken for a mistake: one image would need gigabytes in every pass."""

NOT_NORMALISED: Final = "Pixels go in as [0, 1], not normalised: give mean and std (--mean, --std) if the network expects that."

LUMA: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, as in Pillow)."""


@final
@dataclass(frozen=True)
class Preprocessing:
    """Resize the short side, crop the centre, bring to [0, 1], then (x - mean) / std.

    `size`: side of the square crop in pixels; None keeps the image as it is. `resize`: short side
    before the crop; None means 256/224 of `size`, and leaves an image of `size` x `size` alone.
    `mean`, `std`: one value per channel, or one for all; empty means not normalised. `channels`:
    1 (grey) or 3 (RGB).
    """

    size: int | None = None
    resize: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: int = 3
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.channels not in (1, 3):
            raise DataError(f"expected channels 1 (grey) or 3 (RGB), got {self.channels}")
        if self.interpolation not in INTERPOLATIONS:
            raise DataError(f"expected interpolation {INTERPOLATIONS}, got {self.interpolation!r}")
        _check_sides(self.size, self.resize)
        _check_moments(self.mean, self.std, self.channels)

    def short_side(self, height: int, width: int) -> int | None:
        """Return the short side to resize to, or None where nothing is resized."""
        if self.size is None:
            return self.resize
        if self.resize is None:
            return (
                None if (height, width) == (self.size, self.size) else round(self.size * 256 / 224)
            )
        return self.resize

    @property
    def words(self) -> str:
        """Say what is done to pixels that are then fed to the network."""
        side = "" if self.size is None else f"{self.size} x {self.size}, "
        grey = "grey" if self.channels == 1 else "RGB"
        if not self.mean:
            return f"{side}{grey}, in [0, 1], not normalised"
        mean, std = (" ".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))
        return f"{side}{grey}, mean {mean}, sd {std}"

    def normalise(self, display: Tensor) -> Tensor:
        """Return (display - mean) / std, channel by channel; (..., C, H, W)."""
        if not self.mean:
            return display
        mean = display.new_tensor(self.mean).reshape(-1, 1, 1)
        return (display - mean) / display.new_tensor(self.std).reshape(-1, 1, 1)

    def denormalise(self, x: Tensor) -> Tensor:
        """Undo `normalise`, clipped to [0, 1]; (..., C, H, W)."""
        if not self.mean:
            return x.clamp(0, 1)
        std = x.new_tensor(self.std).reshape(-1, 1, 1)
        return (x * std + x.new_tensor(self.mean).reshape(-1, 1, 1)).clamp(0, 1)

    def fit(self, images: Tensor) -> Tensor:
        """Bring images (B, C, H, W) in [0, 1] to the channels and size wanted; not normalised."""
        images = with_channels(images, self.channels)
        height, width = images.shape[-2:]
        short = self.short_side(height, width)
        if short is not None and short != min(height, width):
            images = _resized(images, short_sided(height, width, short), self.interpolation)
        return images if self.size is None else centre_cropped(images, self.size)


def preprocessing_from(
    known: Mapping[str, Any] | None = None,
    *,
    size: int | None = None,
    resize: int | None = None,
    mean: float | Iterable[float] | None = None,
    std: float | Iterable[float] | None = None,
    channels: int | None = None,
    interpolation: Interpolation | None = None,
) -> Preprocessing | None:
    """Lay what was asked for over what a library knows of its network; None where neither says anything.

    `known`: fields of `Preprocessing`. `mean`, `std`: one number for all channels, or one per channel.
    """
    asked = {
        "size": size,
        "resize": resize,
        "mean": _moments("mean", mean),
        "std": _moments("std", std),
        "channels": channels,
        "interpolation": interpolation,
    }
    names = {field.name for field in fields(Preprocessing)}
    merged = {name: value for name, value in (known or {}).items() if name in names}
    merged |= {name: value for name, value in asked.items() if value is not None}
    return Preprocessing(**merged) if merged else None


def _moments(name: str, values: float | Iterable[float] | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    try:
        return tuple(map(float, values if isinstance(values, Iterable) else (values,)))
    except (TypeError, ValueError):
        raise DataError(
            f"expected {name} as a number, or one per channel, got {values!r}"
        ) from None


def short_sided(height: int, width: int, short: int) -> tuple[int, int]:
    """Return (height, width) scaled so that the shorter is `short`; the longer is rounded down."""
    if height <= width:
        return short, max(short, short * width // height)
    return max(short, short * height // width), short


def centre_cropped(images: Tensor, size: int) -> Tensor:
    """Cut the centre square of side `size` out of (..., H, W)."""
    height, width = images.shape[-2:]
    if min(height, width) < size:
        raise DataError(
            f"expected at least {size} x {size} pixels to crop, got {height} x {width}; "
            "give a `resize` that is not below `size`"
        )
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[..., top : top + size, left : left + size]


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Return (B, C, H, W) with 1 (luma) or 3 channels (grey repeated)."""
    have = images.shape[1]
    if have == channels:
        return images
    if have == 1:
        return images.expand(-1, channels, -1, -1)
    if have == 3 and channels == 1:
        return (images * images.new_tensor(LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    raise DataError(f"expected images of 1 or 3 channels, got {have}")


def _resized(images: Tensor, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    if interpolation == "nearest":
        return interpolate(images, size, mode="nearest-exact")
    smooth = interpolate(images, size, mode=interpolation, align_corners=False, antialias=True)
    return torch.clamp(smooth, 0, 1)  # bicubic overshoots


def _check_sides(size: int | None, resize: int | None) -> None:
    for name, side in (("size", size), ("resize", resize)):
        if side is not None and not 1 <= side <= LARGEST_SIDE:
            raise DataError(f"expected a {name} of 1 to {LARGEST_SIDE} pixels, got {side}")
    if size is not None and resize is not None and resize < size:
        raise DataError(f"expected a resize not below the size {size}, got {resize}")


def _check_moments(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> None:
    if len(mean) != len(std):
        raise DataError(
            f"expected as many means as sds, got mean {mean or 'none'} and std {std or 'none'}; give both"
        )
    if mean and len(mean) not in (1, channels):
        wanted = "1 mean" if channels == 1 else f"1 or {channels} means"
        raise DataError(
            f"expected {wanted} for {channels} channel{'s' * (channels > 1)}, got {len(mean)}: {mean}"
        )
    if not all(math.isfinite(value) for value in mean):
        raise DataError(f"expected finite means, got {mean}")
    if not all(math.isfinite(value) and value > 0 for value in std):
        raise DataError(f"expected positive, finite sds, got {std}")

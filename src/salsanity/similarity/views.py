"""The two views of a map (signed, absolute), their scaling, and why a map has no similarity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import floor
from typing import Final, Literal, final

import numpy as np
import torch
from torch import Tensor

from salsanity.errors import SimilarityError
from salsanity.similarity.batches import extremes, in_threads, pieces, zeroed_
from salsanity.similarity.protocol import Scores, View

PERCENTILE: Final = 0.99

DEFINED: Final = 0
NOT_FINITE: Final = 1
CONSTANT: Final = 2
CLIPPED: Final = 3
NO_EDGES: Final = 4

REASONS: Final = (
    None,
    "map with NaN or infinite values",
    "constant map",
    "map constant after clipping at its 99th percentile",
    "map without oriented gradients",
)
"""Why a map has no similarity with any other, by code."""

Scaling = Literal["percentile", "maximum", "minmax", "none"]
SCALINGS: Final[tuple[Scaling, ...]] = ("percentile", "maximum", "minmax", "none")


def view(maps: Tensor, *, signed: bool) -> View:
    """Reduce maps over channels: their sum (signed) or the sum of their absolute values.

    `maps`: (B, C, *spatial), e.g. (B, C, H, W); or (B, F) without channels, taken as it is. Other
    dtypes than float64 become float32. Raises `SimilarityError` for maps without a batch or pixels.
    """
    if maps.dim() < 2 or maps[:1].numel() == 0 < maps.shape[0]:
        raise SimilarityError(
            f"expected maps of shape (B, C, *spatial) or (B, F), got {tuple(maps.shape)}; "
            "add the axis of the batch, and give every map at least one pixel"
        )
    values = maps.detach()
    values = values if values.dtype == torch.float64 else values.float()
    values = values if signed else values.abs()
    if values.dim() > 2:
        # Adding channel by channel is elementwise; a reduction's last bit can depend on the batch.
        values = reduce(torch.add, values.unbind(1))
    return View(values.contiguous(), signed)


def matrix(view: View) -> Tensor:
    """Return the maps as rows (B, n); raise `SimilarityError` where there are no pixels."""
    shape = tuple(view.values.shape)
    if len(shape) < 2 or 0 in shape[1:]:
        raise SimilarityError(
            f"expected a view of shape (B, *spatial) with at least one pixel, got {shape}; "
            "make it with `views.view(maps, signed=...)`"
        )
    return view.values.detach().flatten(1).contiguous()


def check_images(view: View, *, name: str, side: int) -> None:
    """Raise `SimilarityError` unless the maps are images of at least `side` x `side` pixels."""
    shape = tuple(view.values.shape)
    if len(shape) != 3 or min(shape[1:]) < side:
        raise SimilarityError(
            f"{name} expected images: maps of shape (B, H, W) of at least {side}x{side} pixels, "
            f"got {shape}; use spearman, pearson or cosine, which take maps of any shape"
        )


def codes_of(rows: Tensor) -> Tensor:
    """Return why each row (B, n) has no similarity, as codes (B,) of `REASONS`, on its device."""
    low, high = extremes(rows)
    codes = torch.where(low == high, CONSTANT, DEFINED)
    return torch.where(low.isfinite() & high.isfinite(), codes, NOT_FINITE)


def reasons_of(codes: Tensor) -> tuple[str | None, ...]:
    """Return the reasons for codes (B,): the one place that waits for the device."""
    return tuple(REASONS[code] for code in codes.tolist())


def scores(values: Tensor, a: Tensor, b: Tensor) -> Scores:
    """Return scores (B,), NaN with the reason where map i of a or of b has a code other than 0."""
    codes = torch.where(a == DEFINED, b, a)
    return Scores(values.double().masked_fill(codes != DEFINED, torch.nan), reasons_of(codes))


def check_pairs(a: tuple[int, ...], b: tuple[int, ...], *, name: str) -> None:
    """Raise `SimilarityError` unless two batches of features are of as many maps of one shape."""
    if a != b:
        raise SimilarityError(
            f"{name} expected as many maps of the same shape on both sides, got {a} and {b}; "
            "compare maps of one size and take equally many"
        )


@final
@dataclass(frozen=True)
class Scaled:
    """A view brought to a bounded range.

    `values`: (B, *spatial), 0 everywhere for undefined maps. `span`: width of the range, 2 for
    [-1, 1] and 1 for [0, 1]. `codes`: (B,), see `REASONS`.
    """

    values: Tensor
    span: float
    codes: Tensor


def scaled(view: View, *, scaling: Scaling = "percentile") -> Scaled:
    """Scale each map of a view into [-1, 1] (signed) or [0, 1] (absolute).

    `percentile` (ours): divided by the 99th percentile of its absolute values, by their maximum
    where that is 0, and clipped. `maximum`: divided by the maximum of its absolute values.
    `minmax`: (x - min) / (max - min), always in [0, 1], as the paper's released code does before
    its SSIM. `none`: left alone, for maps that are in their range already.
    """
    if scaling not in SCALINGS:
        raise SimilarityError(f"expected a scaling of {SCALINGS}, got {scaling!r}; name one")
    rows = matrix(view)
    codes = codes_of(rows)
    undefined = codes != DEFINED
    low, divisor = _shift_and_divisor(rows, scaling)
    divisor = torch.where(undefined | (divisor == 0), 1.0, divisor)
    rows = (rows - low[:, None] if scaling == "minmax" else rows) / divisor[:, None]
    signed = view.signed and scaling != "minmax"
    if scaling != "none":
        rows.clamp_(-1.0 if signed else 0.0, 1.0)
    zeroed_(rows, undefined)
    low, high = extremes(rows)
    codes = torch.where((low == high) & ~undefined, CLIPPED, codes)
    return Scaled(rows.view(view.values.shape), 2.0 if signed else 1.0, codes)


def _shift_and_divisor(rows: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor]:
    low, high = extremes(rows)
    if scaling == "minmax":
        return low, high - low
    maximum = torch.maximum(low.abs(), high.abs())
    if scaling != "percentile":
        return low, maximum if scaling == "maximum" else torch.ones_like(low)
    percentile = magnitude_percentile(rows).to(rows.dtype)
    return low, torch.where(percentile > 0, percentile, maximum)


def magnitude_percentile(rows: Tensor) -> Tensor:
    """Return the 99th percentile (B,) float64 of the absolute values of rows (B, n).

    Interpolated linearly between the two nearest, as `numpy.percentile` does.
    """
    position = PERCENTILE * (rows.shape[1] - 1)
    below = floor(position)
    neighbours = _neighbours if rows.device.type == "cpu" else _neighbours_on_device
    lower, upper = neighbours(rows, below).double().unbind(1)
    return lower + (position - below) * (upper - lower)


def _neighbours(rows: Tensor, below: int) -> Tensor:
    """Return the order statistics `below` and `below + 1` of the magnitudes, (B, 2).

    One partition and a minimum: NumPy is vectorised for one pivot, and slow for two.
    """

    def of(piece: Tensor) -> Tensor:
        parted = np.partition(np.abs(piece.numpy()), below, axis=1)
        lower = parted[:, below]
        upper = parted[:, below + 1 :].min(axis=1) if below + 1 < parted.shape[1] else lower
        return torch.from_numpy(np.stack([lower, upper], axis=1))

    return torch.cat(in_threads(of, pieces(rows)))


def _neighbours_on_device(rows: Tensor, below: int) -> Tensor:
    top = rows.abs().topk(rows.shape[1] - below, dim=1).values
    return torch.stack([top[:, -1], top[:, max(top.shape[1] - 2, 0)]], dim=1)

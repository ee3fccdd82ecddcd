"""Correlation of histograms of oriented gradients (Dalal and Triggs 2005) of maps."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Final, Literal, final

import numpy as np
import torch
from torch import Tensor

from salsanity.errors import SimilarityError
from salsanity.similarity.batches import extremes, pieces, row_sums
from salsanity.similarity.correlation import Vectors, centred_vectors, cosines, rank_vectors
from salsanity.similarity.protocol import Scores, View
from salsanity.similarity.variants import variant_name
from salsanity.similarity.views import DEFINED, NO_EDGES, check_images, scaled

ORIENTATIONS: Final = 9
BLOCK: Final = 3
CLIP: Final = 0.2
EPSILON: Final = 1e-5
SMALLEST_CELL: Final = 2
LARGEST_CELL: Final = 16

# Directions of -180 to 180 degrees fall into bins 0 to 17, and 180 itself into bin 18. Opposite
# directions are one orientation, so bins 0, 9 and 18 are then added, 1 and 10, and so on.
_BINS: Final = 2 * ORIENTATIONS + 1


def cell_side(height: int, width: int) -> int:
    """Return the side of a cell in pixels: max(2, min(16, shorter side // 8))."""
    return max(SMALLEST_CELL, min(LARGEST_CELL, min(height, width) // 8))


def gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences down and right, (B, H, W) float64, 0 on the border."""
    down, right = torch.zeros_like(images), torch.zeros_like(images)
    torch.sub(images[:, 2:], images[:, :-2], out=down[:, 1:-1])
    torch.sub(images[:, :, 2:], images[:, :, :-2], out=right[:, :, 1:-1])
    return down.double(), right.double()


def votes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return each pixel's bin (0 to 18, 20 degrees of direction each) and weight, the magnitude."""
    down, right = gradients(images)
    bins = torch.atan2(down, right).mul_(ORIENTATIONS / pi).floor_().long().add_(ORIENTATIONS)
    return bins, down.mul_(down).add_(right.mul_(right)).sqrt_()


def histograms(bins: Tensor, weights: Tensor, *, side: int) -> Tensor:
    """Return the mean vote of each cell, (B, rows, columns, 9).

    Pixels beyond the last whole cell do not vote.
    """
    rows, columns = bins.shape[1] // side, bins.shape[2] // side
    inside = (slice(None), slice(rows * side), slice(columns * side))
    count = count_votes if bins.device.type == "cpu" else count_votes_on_device
    sums = count(bins[inside], weights[inside], side=side)
    cells = sums[..., :ORIENTATIONS] + sums[..., ORIENTATIONS:-1]
    cells[..., 0] += sums[..., -1]
    return cells / side**2


def count_votes(bins: Tensor, weights: Tensor, *, side: int) -> Tensor:
    """Sum the votes of each cell, (B, rows, columns, 19), pixel after pixel in float64."""
    maps, height, width = bins.shape
    shape = (maps, height // side, width // side, _BINS)
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    first = ((torch.arange(maps) * shape[1])[:, None] + rows) * shape[2]
    slots = bins + (first * _BINS)[:, :, None] + columns * _BINS
    length = int(np.prod(shape))
    sums = np.bincount(slots.numpy().ravel(), weights.numpy().ravel(), minlength=length)
    return torch.from_numpy(sums).view(shape)


def count_votes_on_device(bins: Tensor, weights: Tensor, *, side: int) -> Tensor:
    """Sum the votes of each cell without atomic additions, whose order is left to chance."""
    maps, height, width = bins.shape
    spread = weights.new_zeros((maps, height, _BINS, width))
    spread.scatter_(2, bins[:, :, None], weights[:, :, None])
    rows, columns = height // side, width // side
    sums = spread.view(maps, rows, side, _BINS, columns, side).sum(dim=2).sum(dim=-1)
    return sums.movedim(2, -1)


def normalised_blocks(cells: Tensor) -> Tensor:
    """Return the vectors (B, n) of all overlapping blocks of 3x3 cells, normalised by L2-Hys.

    L2-Hys: brought to unit length, clipped at 0.2, brought to unit length again.
    """
    blocks = cells.unfold(1, BLOCK, 1).unfold(2, BLOCK, 1).flatten(3).contiguous()
    return _unit(_unit(blocks).clamp_(max=CLIP)).flatten(1)


def _unit(blocks: Tensor) -> Tensor:
    squares = row_sums((blocks * blocks).flatten(0, 2)).view(*blocks.shape[:3], 1)
    return blocks / (squares + EPSILON**2).sqrt_()


def oriented_gradients(images: Tensor) -> Tensor:
    """Return the histograms of oriented gradients of images (B, H, W) as vectors (B, n) float64.

    9 orientations, cells of `cell_side` pixels, blocks of 3x3 cells, L2-Hys: scikit-image's `hog`.
    """
    side = cell_side(*images.shape[1:])
    parts = [histograms(*votes(piece), side=side) for piece in pieces(images)]
    return normalised_blocks(torch.cat(parts))


@final
@dataclass(frozen=True)
class HOG:
    """Pearson correlation of the histograms of oriented gradients of two scaled maps.

    `correlation="spearman"` correlates their ranks instead, as the paper's released code does.
    Needs two-dimensional maps of at least 6x6 pixels, else raises `SimilarityError`.
    """

    correlation: Literal["pearson", "spearman"] = "pearson"

    def __post_init__(self) -> None:
        if self.correlation not in ("pearson", "spearman"):
            raise SimilarityError(
                f"hog expected correlation 'pearson' or 'spearman', got {self.correlation!r}; "
                "name one of them"
            )

    @property
    def name(self) -> str:
        """The name in specs and scores; other than default settings are part of it."""
        return variant_name("hog", self)

    def prepare(self, view: View) -> Vectors:
        """Scale each map and describe it by its oriented gradients."""
        check_images(view, name="hog", side=BLOCK * SMALLEST_CELL)
        maps = scaled(view)
        described = oriented_gradients(maps.values)
        low, high = extremes(described)
        codes = torch.where((low == high) & (maps.codes == DEFINED), NO_EDGES, maps.codes)
        features = centred_vectors if self.correlation == "pearson" else rank_vectors
        return features(described, codes, spatial=tuple(view.values.shape[1:]))

    def compare(self, a: Vectors, b: Vectors) -> Scores:
        """Correlate the oriented gradients of map i of `a` and map i of `b`."""
        return cosines(a, b, name="hog")

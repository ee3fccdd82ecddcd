"""The baseline that is an absence: each patch of an image as images of the data would fill it, given what surrounds it.

Zintgraf et al. (2017, arXiv 1702.04595), section 3.1: a Gaussian is fitted to windows of the data's images, a patch and
the ring around it; a patch is drawn from that Gaussian given the ring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import torch
import torch.nn.functional as F
from torch import Tensor

from salsanity.errors import MethodError
from salsanity.passes.points import gaussian

RING: Final = 2
"""Pixels around a patch that it is conditioned on, as in the authors' code."""

LARGEST_PATCH: Final = 8
MOST_WINDOWS: Final = 8192
"""Windows that the Gaussian is fitted to, evenly spread over the images."""

RIDGE: Final = 1e-3
"""Added to the covariance's diagonal, as a share of its mean: pixels that never change have none."""


def usual_side(height: int, width: int) -> int:
    """Return the side of a patch in pixels: a seventh of the image's shorter side, from 2 to 8."""
    return max(2, min(LARGEST_PATCH, min(height, width) // 7))


@final
@dataclass(frozen=True, eq=False)
class PatchModel:
    """A Gaussian over windows of (channels, side + 2 ring, side + 2 ring) pixels, in float64 on the CPU.

    `mean`: (D,), `covariance`: (D, D), D the window's values in the order of its shape. `low`, `high`: (C, 1, 1), the
    data's range.
    """

    channels: int
    side: int
    mean: Tensor
    covariance: Tensor
    low: Tensor
    high: Tensor
    ring: int = RING

    @property
    def width(self) -> int:
        """The side of a window in pixels."""
        return self.side + 2 * self.ring

    @classmethod
    def fitted(cls, pool: Tensor, side: int | None = None) -> PatchModel:
        """Fit the model to images (M, C, H, W), M at least 1; `MethodError` where they have no room for a window."""
        if pool.dim() != 4:
            raise MethodError(
                f"baseline 'conditional_patches' needs images (B, C, H, W), got shape {tuple(pool.shape[1:])} an image; "
                "use data or gaussian"
            )
        images = pool.detach().cpu().double()
        side = usual_side(*images.shape[2:]) if side is None else side
        windows = _spread(images, side + 2 * RING)
        mean = windows.mean(0)
        centred = windows - mean
        covariance = centred.T @ centred / max(1, len(windows) - 1)
        ridge = RIDGE * covariance.diagonal().mean().clamp(min=1e-12)
        covariance = covariance + ridge * torch.eye(len(mean), dtype=torch.float64)
        low, high = (
            extreme(images, (0, 2, 3))[:, None, None] for extreme in (torch.amin, torch.amax)
        )
        return cls(images.shape[1], side, mean, covariance, low, high)

    def drawn(self, image: Tensor, seed: int) -> Tensor:
        """Return the image (C, H, W) with every patch drawn given the ring around it in the image, clipped to the range.

        Patches tile the image from its top left corner; at borders a ring, or a patch, has fewer pixels.
        """
        x = image.detach().cpu().double()
        noise = gaussian(x.shape, seed, torch.float64)
        filled = torch.empty_like(x)
        for places in self._alike(x.shape[1], x.shape[2]):
            self._fill(x, noise, filled, places)
        return torch.clamp(filled, self.low, self.high).to(image)

    def _alike(self, height: int, width: int) -> list[list[tuple[int, int]]]:
        """Group the patches' corners by which pixels of their windows lie in the image."""
        groups: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for top in range(0, height, self.side):
            for left in range(0, width, self.side):
                groups.setdefault(self._inside(top, left, height, width), []).append((top, left))
        return list(groups.values())

    def _inside(self, top: int, left: int, height: int, width: int) -> tuple[int, ...]:
        """First and last row and column of the window that lie in the image."""
        first_row, first_column = max(0, self.ring - top), max(0, self.ring - left)
        last_row = min(self.width, height - top + self.ring)
        last_column = min(self.width, width - left + self.ring)
        return first_row, last_row, first_column, last_column

    def _fill(
        self, x: Tensor, noise: Tensor, filled: Tensor, places: list[tuple[int, int]]
    ) -> None:
        """Draw the patches at `places`, which miss the same pixels: x1 = m1 + S12 S22^-1 (x2 - m2) + L z."""
        inside = self._inside(*places[0], *x.shape[1:])
        patch, ring = self._parts(inside)
        factor, spread = self._conditional(patch, ring)
        for top, left in places:
            rows = slice(top, min(top + self.side, x.shape[1]))
            columns = slice(left, min(left + self.side, x.shape[2]))
            seen = self._window(x, top, left, inside)[ring]
            z = noise[:, rows, columns].flatten()
            drawn = self.mean[patch] + factor @ (seen - self.mean[ring]) + spread @ z
            filled[:, rows, columns] = drawn.view(filled[:, rows, columns].shape)

    def _parts(self, inside: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return which values of a window are the patch, and which the ring, among those in the image."""
        there = torch.zeros(self.channels, self.width, self.width, dtype=torch.bool)
        there[:, inside[0] : inside[1], inside[2] : inside[3]] = True
        middle = torch.zeros_like(there)
        middle[:, self.ring : -self.ring, self.ring : -self.ring] = True
        return (there & middle).flatten(), (there & ~middle).flatten()

    def _conditional(self, patch: Tensor, ring: Tensor) -> tuple[Tensor, Tensor]:
        """Return S12 S22^-1, and the Cholesky factor L of S11 - S12 S22^-1 S21."""
        s11, s12 = self.covariance[patch][:, patch], self.covariance[patch][:, ring]
        s22 = self.covariance[ring][:, ring]
        factor = torch.linalg.solve(s22, s12.T).T
        return factor, torch.linalg.cholesky(s11 - factor @ s12.T)

    def _window(self, x: Tensor, top: int, left: int, inside: tuple[int, ...]) -> Tensor:
        window = torch.zeros(self.channels, self.width, self.width, dtype=x.dtype)
        rows = slice(top - self.ring + inside[0], top - self.ring + inside[1])
        columns = slice(left - self.ring + inside[2], left - self.ring + inside[3])
        window[:, inside[0] : inside[1], inside[2] : inside[3]] = x[:, rows, columns]
        return window.flatten()


def _spread(images: Tensor, width: int) -> Tensor:
    """Cut at most `MOST_WINDOWS` windows (N, C * width * width) from places evenly spread over all images."""
    count, _, height, breadth = images.shape
    if min(height, breadth) < width:
        raise MethodError(
            f"baseline 'conditional_patches' needs images of at least {width} pixels a side for its windows, got "
            f"{height} x {breadth}; give a smaller baseline_value (the side of a patch), or use data"
        )
    places = count * (height - width + 1) * (breadth - width + 1)
    stride = max(1, math.ceil(math.sqrt(places / MOST_WINDOWS)))
    cut = F.unfold(images, width, stride=stride)
    return cut.transpose(1, 2).flatten(0, 1)

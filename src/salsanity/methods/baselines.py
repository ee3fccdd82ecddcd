"""Where the paths of integrated gradients start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from salsanity.errors import MethodError
from salsanity.methods.patches import PatchModel
from salsanity.passes.points import gaussian, value_range
from salsanity.passes.request import Baseline
from salsanity.seeds import seed_for

RANDOM_BASELINES: Final = ("uniform", "gaussian", "data", "conditional_patches")
"""Baselines that are drawn: maps on them depend on the noise stream."""

BASELINES: Final = ("zeros", "constant", "data_mean", "blur", "max_distance", *RANDOM_BASELINES)

BLUR_SD = 20.0
"""Pixels at width 224 (docs/baselines.md)."""

GAUSSIAN_SD = 0.5
"""Share of the image's range."""


@dataclass(frozen=True)
class Baselines:
    """Draws starting points; `pool` (M, ...) are preprocessed images of the user's data, M may be 0.

    Calling it with x (B, ...) returns (B, ...). Drawn values depend on (stream, image, draw) alone.
    """

    seed: int
    pool: Tensor | None = None
    _models: dict[float | None, PatchModel] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __call__(
        self, baseline: Baseline, x: Tensor, ids: Sequence[str], draw: int, stream: int
    ) -> Tensor:
        """Return the starting points of draw number `draw`."""
        match baseline.name:
            case "zeros":
                return torch.zeros_like(x)
            case "constant":
                return torch.full_like(x, baseline.value or 0.0)
            case "data_mean":
                return self._pool(baseline, x).mean(0, keepdim=True).expand_as(x)
            case "blur":
                return blurred(x, (baseline.value or BLUR_SD) * x.shape[-1] / 224)
            case "max_distance":
                return self._farthest(x)
            case "uniform":
                return self._uniform(x, self._seeds("uniform", ids, draw, stream))
            case "gaussian":
                return self._gaussian(x, baseline, self._seeds("gaussian", ids, draw, stream))
            case "data":
                return self._drawn(x, baseline, self._seeds("data", ids, draw, stream))
            case "conditional_patches":
                return self._filled(x, baseline, self._seeds("patches", ids, draw, stream))
        raise MethodError(f"unknown baseline {baseline.name!r}; use one of {', '.join(BASELINES)}")

    def _seeds(self, name: str, ids: Sequence[str], draw: int, stream: int) -> list[int]:
        return [seed_for(self.seed, "baseline", name, stream, image, draw) for image in ids]

    def _pool(self, baseline: Baseline, x: Tensor) -> Tensor:
        if self.pool is None or not len(self.pool):
            raise MethodError(
                f"baseline {baseline.name!r} needs images of the data, but the run has none; use zeros or blur"
            )
        return self.pool.to(x)

    def _bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of the data, or of each image where there is no pool."""
        if self.pool is not None and len(self.pool):
            pool = self.pool.to(x)
            return pool.amin(), pool.amax()
        flat = x.flatten(1)
        shape = (-1, *[1] * (x.dim() - 1))
        return flat.amin(1).view(shape), flat.amax(1).view(shape)

    def _farthest(self, x: Tensor) -> Tensor:
        low, high = self._bounds(x)
        return torch.where(x - low > high - x, low, high).expand_as(x)

    def _uniform(self, x: Tensor, seeds: list[int]) -> Tensor:
        low, high = self._bounds(x)
        share = torch.stack(
            [
                torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(seed))
                for seed in seeds
            ]
        )
        return low + share.to(x) * (high - low)

    def _gaussian(self, x: Tensor, baseline: Baseline, seeds: list[int]) -> Tensor:
        low, high = self._bounds(x)
        sd = GAUSSIAN_SD if baseline.value is None else baseline.value
        noise = torch.stack([gaussian(x.shape[1:], seed, x.dtype) for seed in seeds]).to(x.device)
        return torch.clamp(x + noise * sd * value_range(x), low, high)

    def _drawn(self, x: Tensor, baseline: Baseline, seeds: list[int]) -> Tensor:
        pool = self._pool(baseline, x)
        return pool[[seed % len(pool) for seed in seeds]]

    def _filled(self, x: Tensor, baseline: Baseline, seeds: list[int]) -> Tensor:
        """Draw every patch given its ring; the model is fitted to the pool once."""
        if baseline.value not in self._models:
            side = None if baseline.value is None else max(1, round(baseline.value))
            self._models[baseline.value] = PatchModel.fitted(self._pool(baseline, x), side)
        model = self._models[baseline.value]
        return torch.stack([model.drawn(one, seed) for one, seed in zip(x, seeds, strict=True)])


def blurred(x: Tensor, sd: float) -> Tensor:
    """Blur (B, C, H, W) by a Gaussian of standard deviation `sd` pixels, cut at 4 sd, borders mirrored.

    Equal to `scipy.ndimage.gaussian_filter(mode="reflect")` over height and width.
    """
    if x.dim() != 4:
        raise MethodError(
            f"baseline 'blur' needs images (B, C, H, W), got shape {tuple(x.shape)}; use zeros or data_mean"
        )
    radius = int(4 * sd + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (offsets / max(sd, 1e-6)) ** 2)
    kernel = kernel / kernel.sum()
    for axis in (2, 3):
        x = torch.einsum(
            "ij,...j->...i", _mirror_matrix(x.shape[axis], kernel), x.movedim(axis, -1)
        )
        x = x.movedim(-1, axis)
    return x.contiguous()


def _mirror_matrix(size: int, kernel: Tensor) -> Tensor:
    """Convolution with mirrored borders (d c b a | a b c d | d c b a) as a (size, size) matrix."""
    radius = len(kernel) // 2
    rows = torch.arange(size, device=kernel.device)[:, None]
    columns = rows + torch.arange(-radius, radius + 1, device=kernel.device)[None, :]
    columns = columns % (2 * size)
    columns = torch.where(columns >= size, 2 * size - 1 - columns, columns)
    matrix = torch.zeros(size, size, dtype=kernel.dtype, device=kernel.device)
    return matrix.scatter_add_(1, columns, kernel.expand(size, -1).contiguous())

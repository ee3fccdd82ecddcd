"""The structural similarity index (Wang et al. 2004) of two-dimensional maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Literal, final

import torch
from torch import Tensor

from salsanity.errors import SimilarityError
from salsanity.similarity.batches import pieces, pieces_of, row_sums
from salsanity.similarity.protocol import Scores, View
from salsanity.similarity.variants import variant_name
from salsanity.similarity.views import (
    SCALINGS,
    Scaling,
    check_images,
    check_pairs,
    reasons_of,
    scaled,
    scores,
)


@final
@dataclass(frozen=True)
class Moments:
    """Local moments of scaled maps.

    `values`: (B, H, W). `means`, `variances`: (B, h, w), where the window lies inside the map.
    `span`: width of the range of the values.
    """

    values: Tensor
    means: Tensor
    variances: Tensor
    span: float
    codes: Tensor

    @property
    def undefined(self) -> tuple[str | None, ...]:
        """Per map, why no similarity with it is defined, or None."""
        return reasons_of(self.codes)

    def take(self, index: Sequence[int]) -> Moments:
        """Return the moments of the maps at `index`, in that order."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.codes.device)
        return Moments(
            self.values[rows], self.means[rows], self.variances[rows], self.span, self.codes[rows]
        )


def correlate(images: Tensor, taps: tuple[float, ...], *, axis: int) -> Tensor:
    """Slide symmetric taps along an axis, inside the images only, by adding shifted images.

    Elementwise, so no image depends on its batch; on a CPU far faster than a convolution.
    """
    radius = len(taps) // 2
    length = images.shape[axis] - 2 * radius
    total = images.narrow(axis, radius, length) * taps[radius]
    for k in range(radius):
        pair = images.narrow(axis, k, length) + images.narrow(axis, 2 * radius - k, length)
        total.add_(pair, alpha=taps[k])
    return total


@final
@dataclass(frozen=True)
class SSIM:
    """Mean over windows of (2 mx my + c1)(2 cov + c2) / ((mx^2 + my^2 + c1)(vx + vy + c2)).

    c = (k x data range)^2, data range 2 for the signed and 1 for the absolute view. The defaults
    equal scikit-image's `structural_similarity` with `gaussian_weights=True` and
    `use_sample_covariance=False`: 11x11 Gaussian windows of sd 1.5, border cropped, on maps scaled
    by their 99th percentile.

    Unrelated noise scores a little above 0 (.007 signed, .010 absolute at 224x224), because a
    Gaussian window's mean products go with its covariance: E[mx my cov] is the product of the
    variances times (sum w^3 - (sum w^2)^2), which is 0 for uniform windows only. Chance, measured
    on every run, holds this.

    The paper states a window of 5 on maps in [-1, 1]: `SSIM.paper()`. Its released code uses
    Gaussian weights on min-max scaled maps of 3 channels; `scaling="minmax"` does that on the sum
    over channels.

    Needs two-dimensional maps of at least `window` x `window` pixels, else `SimilarityError`.
    """

    window: int = 11
    weights: Literal["gaussian", "uniform"] = "gaussian"
    sd: float = 1.5
    k1: float = 0.01
    k2: float = 0.03
    scaling: Scaling = "percentile"
    sample_covariance: bool = False

    def __post_init__(self) -> None:
        expected = {
            "an odd window of at least 3": self.window >= 3 and self.window % 2 == 1,
            "weights 'gaussian' or 'uniform'": self.weights in ("gaussian", "uniform"),
            "sd, k1 and k2 above 0": min(self.sd, self.k1, self.k2) > 0,
            f"a scaling of {SCALINGS}": self.scaling in SCALINGS,
        }
        for what, holds in expected.items():
            if not holds:
                raise SimilarityError(f"ssim expected {what}, got {self}; change that setting")

    @classmethod
    def paper(cls) -> SSIM:
        """Return the paper's variant: uniform 5x5 windows, maps divided by their maximum."""
        return cls(window=5, weights="uniform", scaling="maximum", sample_covariance=True)

    @property
    def name(self) -> str:
        """The name in specs and scores; other than default settings are part of it."""
        return variant_name("ssim", self)

    @property
    def taps(self) -> tuple[float, ...]:
        """The weights of the window along one axis; they sum to 1."""
        radius = self.window // 2
        if self.weights == "uniform":
            return (1 / self.window,) * self.window
        bell = [exp(-0.5 * (k / self.sd) ** 2) for k in range(-radius, radius + 1)]
        return tuple(weight / sum(bell) for weight in bell)

    def prepare(self, view: View) -> Moments:
        """Scale each map and take its local means and variances."""
        check_images(view, name="ssim", side=self.window)
        maps = scaled(view, scaling=self.scaling)
        moments = [self._moments(piece) for piece in pieces(maps.values)]
        means, variances = (torch.cat(parts) for parts in zip(*moments, strict=True))
        return Moments(maps.values, means, variances, maps.span, maps.codes)

    def compare(self, a: Moments, b: Moments) -> Scores:
        """Return the mean structural similarity of map i of `a` and map i of `b`."""
        check_pairs((*a.values.shape,), (*b.values.shape,), name="ssim")
        if a.span != b.span:
            raise SimilarityError(
                f"ssim expected maps of one view, got ranges of width {a.span:g} and {b.span:g}; "
                "compare signed with signed and absolute with absolute"
            )
        pairs = pieces_of(a.values, a.means, a.variances, b.values, b.means, b.variances)
        means = [self._mean_index(*pair, span=a.span) for pair in pairs]
        return scores(torch.cat(means), a.codes, b.codes)

    def _local_mean(self, images: Tensor) -> Tensor:
        return correlate(correlate(images, self.taps, axis=-2), self.taps, axis=-1)

    def _covariance(self, mean_product: Tensor, product_of_means: Tensor) -> Tensor:
        covariance = mean_product.sub_(product_of_means)
        size = self.window**2
        return covariance.mul_(size / (size - 1)) if self.sample_covariance else covariance

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        means = self._local_mean(images)
        return means, self._covariance(self._local_mean(images * images), means * means)

    def _mean_index(
        self, x: Tensor, mx: Tensor, vx: Tensor, y: Tensor, my: Tensor, vy: Tensor, *, span: float
    ) -> Tensor:
        c1, c2 = (self.k1 * span) ** 2, (self.k2 * span) ** 2
        product = mx * my
        covariance = self._covariance(self._local_mean(x * y), product)
        index = product.mul_(2).add_(c1).mul_(covariance.mul_(2).add_(c2))
        index.div_((mx * mx).add_(my * my).add_(c1).mul_((vx + vy).add_(c2)))
        return row_sums(index.flatten(1).double()) / index.shape[1:].numel()

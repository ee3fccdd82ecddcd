"""What a saliency method is: a generator that yields the passes it needs and returns maps."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from salsanity.models.layers import SpatialLayer
from salsanity.passes.points import gaussian
from salsanity.passes.request import Foreign, Pass, PassResult
from salsanity.seeds import seed_for

Maps = Tensor
"""(B, C, H, W), (B, 1, H, W) or, for other inputs, (B, *input shape); higher means more relevant."""

Steps = Generator[tuple[Pass | Foreign, ...], tuple[PassResult, ...], Maps]


@dataclass(frozen=True)
class Inputs:
    """A batch of images as a method sees it.

    `x`: (B, C, H, W). `targets`: (B,) class indices. `ids`: one id per image, from its pixels.
    `state`: name of the model state being explained ("trained" or draw and stage), for controls whose
    noise is seeded by it. `spatial`: the layer that GradCAM looks at, or None where there is none
    (`no_spatial_layer` then says why).
    """

    x: Tensor
    targets: Tensor
    ids: tuple[str, ...]
    seed: int
    state: str
    spatial: SpatialLayer | None = None
    no_spatial_layer: str = ""

    @cached_property
    def noise(self) -> Tensor:
        """Gaussian noise of the shape of `x`, seeded by image and by `state`; what the controls that show noise share."""
        name, shape = "noise control", self.x.shape[1:]
        seeds = [seed_for(self.seed, name, image, self.state) for image in self.ids]
        return torch.stack([gaussian(shape, seed, self.x.dtype) for seed in seeds]).to(
            self.x.device
        )


class Method(Protocol):
    """A saliency method; the built-in ones are frozen dataclasses."""

    @property
    def name(self) -> str:
        """The name in specs, scores and reports."""

    @property
    def stochastic(self) -> bool:
        """Whether the maps depend on a noise stream; if not, the ceiling is 1 without a run."""

    def steps(self, inputs: Inputs) -> Steps:
        """Yield the passes that are needed, receive their results, return the maps."""

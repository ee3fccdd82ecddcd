"""Controls: maps that ignore the network, so that the verdicts on them are known beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from salsanity.methods.protocol import Inputs, Maps, Steps


def sobel_magnitude(x: Tensor) -> Maps:
    """Return the Sobel gradient magnitude of the channel mean of x (B, C, *spatial) as (B, 1, *spatial).

    Along each spatial axis the derivative (-1, 0, 1) is smoothed by (1, 2, 1) along the others; borders repeat, as in
    `scipy.ndimage.sobel`. Inputs without channels, (B, F), are taken as one-dimensional signals.
    """
    grey = x.mean(1) if x.dim() > 2 else x
    axes = range(1, grey.dim())
    total = torch.zeros_like(grey)
    for axis in axes:
        before, after = _neighbours(grey, axis)
        part = after - before
        for other in axes:
            if other != axis:
                before, after = _neighbours(part, other)
                part = before + 2.0 * part + after
        total = total + part.square()
    magnitude = total.sqrt()
    return magnitude.unsqueeze(1) if x.dim() > 2 else magnitude


def _neighbours(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return what stands before and after each element along an axis; borders repeat."""
    size = x.shape[axis]
    padded = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, size - 1, 1)], axis)
    return padded.narrow(axis, 0, size), padded.narrow(axis, 2, size)


@final
@dataclass(frozen=True)
class Edge:
    """An edge detector: depends on the image alone, so it must FAIL."""

    name: str = "edge"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Need no pass."""
        yield ()
        return sobel_magnitude(inputs.x)


@final
@dataclass(frozen=True)
class InputMagnitude:
    """|x|: what a map looks like that shows the input alone."""

    name: str = "input"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Need no pass."""
        yield ()
        return inputs.x.abs()


@final
@dataclass(frozen=True)
class Noise:
    """Fresh noise for every state of the network: it must PASS."""

    name: str = "noise"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Need no pass."""
        yield ()
        return inputs.noise


@final
@dataclass(frozen=True)
class NoiseXInput:
    """Noise times x: how alike maps are for no other reason than that both multiply by the input."""

    name: str = "noise_x_input"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Need no pass."""
        yield ()
        return inputs.noise * inputs.x

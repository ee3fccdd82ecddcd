"""Controls: maps that ignore the network, so that the verdicts on them are known beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from salsanity.methods.protocol import Inputs, Maps, Steps
from salsanity.passes.points import gaussian
from salsanity.seeds import seed_for


def sobel_magnitude(x: Tensor) -> Maps:
    """Return the Sobel gradient magnitude of the channel mean of x (B, C, *spatial) as (B, 1, *spatial).

    Along each spatial axis the derivative (-1, 0, 1) is smoothed by (1, 2, 1) along the others; borders repeat, as in
    `scipy.ndimage.sobel`. Inputs without channels, (B, F), are taken as one-dimensional signals.
    """
    grey = x.mean(1) if x.dim() > 2 else x
    axes = range(1, grey.dim())
    total = torch.zeros_like(grey)
    for axis in axes:
        part = _filtered(grey, axis, (-1.0, 0.0, 1.0))
        for other in axes:
            if other != axis:
                part = _filtered(part, other, (1.0, 2.0, 1.0))
        total = total + part.square()
    magnitude = total.sqrt()
    return magnitude.unsqueeze(1) if x.dim() > 2 else magnitude


def _filtered(x: Tensor, axis: int, taps: tuple[float, float, float]) -> Tensor:
    size = x.shape[axis]
    padded = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, size - 1, 1)], axis)
    return sum(
        (weight * padded.narrow(axis, i, size) for i, weight in enumerate(taps) if weight),
        torch.zeros_like(x),
    )


def state_noise(inputs: Inputs) -> Tensor:
    """Return Gaussian noise of the inputs' shape, seeded by image and by the state of the network."""
    x = inputs.x
    drawn = [
        gaussian(x.shape[1:], seed_for(inputs.seed, "noise control", image, inputs.state), x.dtype)
        for image in inputs.ids
    ]
    return torch.stack(drawn).to(x.device)


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
        return state_noise(inputs)


@final
@dataclass(frozen=True)
class NoiseXInput:
    """Noise times x: how alike maps are for no other reason than that both multiply by the input."""

    name: str = "noise_x_input"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Need no pass."""
        yield ()
        return state_noise(inputs) * inputs.x

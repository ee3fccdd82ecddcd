"""The network and the images that contracts use unless a test brings its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bare(nn.Module):
    """A bare parameter, as class tokens are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(size))

    def forward(self, x: Tensor) -> Tensor:
        """Add the parameter."""
        return x + self.shift


def small_network() -> nn.Sequential:
    """Return a classifier of (N, 2, 12, 12) in float64, in eval mode, with weights that are the same each time.

    It has layers of equal shape, a batch norm with statistics, in-place ReLUs, pooling and a bare parameter.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(7)
        network = nn.Sequential(
            *(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
            *(
                nn.Linear(54, 16),
                Bare(16),
                nn.ReLU(),
                nn.Linear(16, 16),
                nn.ReLU(),
                nn.Linear(16, 5),
            ),
        ).double()
        for _ in range(4):
            network(torch.randn(16, 2, 12, 12, dtype=torch.float64))
        for tensor in network.parameters():
            if tensor.dim() == 1:  # as training leaves no bias at 0 and no scale at 1
                tensor.data += 0.1 * torch.randn(tensor.shape, dtype=tensor.dtype)
    return network.eval()


def some_images(count: int = 5) -> Tensor:
    """Return images (count, 2, 12, 12) in float64, the same each time."""
    generator = torch.Generator().manual_seed(11)
    return torch.randn(count, 2, 12, 12, generator=generator, dtype=torch.float64)

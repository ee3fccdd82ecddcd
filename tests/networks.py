"""Small networks that tests share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def chain(*, classes: int = 5, channels: int = 2, inplace: bool = False) -> nn.Sequential:
    """A small chain of convolutions and ReLUs in float64 for 12x12 images, with fixed random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return (
            nn.Sequential(
                nn.Conv2d(channels, 6, 3, padding=1),
                nn.ReLU(inplace),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 8, 3, padding=1),
                nn.ReLU(inplace),
                nn.AvgPool2d(2),
                nn.Flatten(),
                nn.Linear(72, 16),
                nn.ReLU(inplace),
                nn.Linear(16, classes),
            )
            .double()
            .eval()
        )


def images(*, count: int = 3, channels: int = 2, size: int = 12, seed: int = 1) -> Tensor:
    """Random float64 images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64)


class Functional(nn.Module):
    """The same chain with every ReLU written as `relu` would call it; layers shared with `chain`."""

    def __init__(self, model: nn.Sequential, style: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(m for m in model if not isinstance(m, nn.ReLU))
        self.after = [i for i, m in enumerate(model) if isinstance(m, nn.ReLU)]
        self.style = style
        self.reused = nn.ReLU()
        self.inplace = nn.ReLU(inplace=True)

    def rectify(self, x: Tensor) -> Tensor:
        match self.style:
            case "F.relu":
                return F.relu(x)
            case "F.relu inplace":
                return F.relu(x, inplace=True)
            case "torch.relu":
                return torch.relu(x)
            case "method":
                return x.relu()
            case "method inplace":
                x.relu_()
                return x
            case "torch.relu_":
                torch.relu_(x)
                return x
            case "reused module":
                return self.reused(x)
            case "reused inplace module":
                self.inplace(x)
                return x
        raise ValueError(self.style)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.Conv2d) or (
                isinstance(layer, nn.Linear) and layer.out_features == 16
            ):
                x = self.rectify(x)
        return x


STYLES = (
    "F.relu",
    "F.relu inplace",
    "torch.relu",
    "method",
    "method inplace",
    "torch.relu_",
    "reused module",
    "reused inplace module",
)

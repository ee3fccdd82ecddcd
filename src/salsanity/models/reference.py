"""The networks of the paper (Adebayo et al. 2018, appendix), and a small one for the demo.

Pixels come as x / 255. Weights start as in the authors' code, from normals truncated at two sds: of sd 0.1 with biases of 0.1
in the CNN, of sd 2 / sqrt(inputs) with biases of 0 in the MLP. Layers are named flat: the stages of a cascade carry the names
people know.
"""

from __future__ import annotations

from collections import OrderedDict
from math import sqrt
from typing import Final, Literal, get_args

from torch import nn

from salsanity.errors import ModelError

Initial = Literal["paper", "torch"]

INITIAL_SD: Final = 0.1
INITIAL_BIAS: Final = 0.1

POOLED: Final = 4
"""Two poolings by 2 leave a quarter of each side."""


def cnn(
    in_channels: int = 1,
    size: int = 28,
    classes: int = 10,
    width: int = 1024,
    *,
    filters: tuple[int, int] = (32, 64),
    initial: Initial = "paper",
) -> nn.Sequential:
    """Return the paper's CNN: conv 5x5x32, pool, conv 5x5x64, pool, fc 1024, fc 10.

    Takes (B, in_channels, size, size), returns logits (B, classes). `width`: of the hidden fully
    connected layer; `filters`: of the two convolutions. `initial`: as for `initialised`.
    """
    _check_positive(in_channels=in_channels, classes=classes, width=width, filters=min(filters))
    if size < POOLED:
        raise ModelError(f"expected images of at least {POOLED} x {POOLED} pixels, got {size}")
    first, second = filters
    return initialised(
        nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, first, 5, padding=2),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(first, second, 5, padding=2),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(second * (size // POOLED) ** 2, width),
                relu3=nn.ReLU(),
                fc2=nn.Linear(width, classes),
            )
        ),
        initial,
    )


def mlp(
    in_channels: int = 1,
    size: int = 28,
    classes: int = 10,
    widths: tuple[int, int, int] = (2500, 1500, 500),
    *,
    initial: Initial = "paper",
) -> nn.Sequential:
    """Return the paper's MLP 2500-1500-500-10; (B, in_channels, size, size) to (B, classes).

    `initial`: as for `initialised`, but for the paper's sd, which falls with the layer's inputs.
    """
    _check_positive(in_channels=in_channels, size=size, classes=classes, widths=min(widths))
    h1, h2, h3 = widths
    return initialised(
        nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                h1=nn.Linear(in_channels * size * size, h1),
                relu1=nn.ReLU(),
                h2=nn.Linear(h1, h2),
                relu2=nn.ReLU(),
                h3=nn.Linear(h2, h3),
                relu3=nn.ReLU(),
                logits=nn.Linear(h3, classes),
            )
        ),
        initial,
        by_inputs=True,
    )


def demo_network() -> nn.Sequential:
    """Return a small CNN for 32 x 32 digits: the paper's, but narrower."""
    return cnn(size=32, width=128, filters=(8, 16), initial="torch")


def digits_network() -> nn.Sequential:
    """Return a deep small CNN for 32 x 32 digits: six convolutions, so that its upper half has some too.

    Two layers of convolution, as in `demo_network`, are too few for guided backprop's rule to show: what the paper says of it is
    about deep networks. Weights are drawn as He et al. (2015) draw them, biases are 0.
    """
    layers: list[nn.Module] = []
    for filters, is_last in ((1, 16), False), ((16, 16), True), ((16, 32), False), ((32, 32), True):
        layers += [nn.Conv2d(*filters, 3, padding=1), nn.ReLU()]
        layers += [nn.AvgPool2d(2)] if is_last else []
    layers += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten()]
    layers += [nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 10)]
    network = nn.Sequential(*layers)
    for name, values in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(values)
        else:
            nn.init.kaiming_normal_(values, nonlinearity="relu")
    return network


def initialised(
    network: nn.Sequential, initial: Initial = "paper", *, by_inputs: bool = False
) -> nn.Sequential:
    """Draw the weights as the authors' code does, or leave them as torch drew them (`torch`).

    `by_inputs`: sd 2 / sqrt(inputs) and biases of 0, as that code draws its MLP, in place of 0.1 and 0.1. The CNN's
    weights are wide: after the few epochs that a CPU affords, most of them are still the random ones, and two honest
    networks hardly agree. Torch's narrower ones are soon overwritten.
    """
    if initial not in get_args(Initial):
        raise ModelError(f"expected initial paper or torch, got {initial!r}")
    if initial == "torch":
        return network
    for name, values in network.named_parameters():
        if name.endswith("bias"):
            nn.init.constant_(values, 0.0 if by_inputs else INITIAL_BIAS)
        else:
            sd = 2 / sqrt(values.shape[1]) if by_inputs else INITIAL_SD
            nn.init.trunc_normal_(values, std=sd, a=-2 * sd, b=2 * sd)
    return network


def _check_positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ModelError(f"expected at least 1 for {name}, got {count}")

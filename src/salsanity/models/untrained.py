"""Whether a network looks as torch left it: no training ended with every weight where torch's own initialisation puts it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from torch import Tensor, nn

from salsanity.models.network import Network

FEWEST: Final = 200
"""In smaller tensors a spread is not told from another one."""

SURE: Final = 5.0
"""Standard errors within which the spread of uniform numbers lies: sqrt(.2 / n) of it for n numbers, by their fourth moment."""

WARNING: Final = (
    "Warning: every weight lies where torch's own initialisation puts it, so the network seems to be untrained; then no verdict "
    "on it means anything. Load its weights."
)


def seems_untrained(network: Network) -> bool:
    """Whether linear layers and convolutions all are uniform within 1 / sqrt(fan-in), as `reset_parameters` leaves them.

    Of tensors with fewer than `FEWEST` weights only the range is looked at. False for networks with an initialisation of their
    own, and for those without such layers.
    """
    found = [_is_as_torch_begins(weight, bias) for weight, bias in _layers(network)]
    return bool(found) and all(found)


def _layers(network: Network) -> Iterator[tuple[Tensor, Tensor | None]]:
    for name, module in network.module.named_modules():
        is_plain = isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        if is_plain and network.trace.uses_tensor(name, "weight"):
            yield module.weight.detach(), None if module.bias is None else module.bias.detach()


def _is_as_torch_begins(weight: Tensor, bias: Tensor | None) -> bool:
    bound = 1 / math.sqrt(weight[0].numel())
    parts = [weight] if bias is None else [weight, bias]
    if any(float(part.abs().max()) > bound * (1 + 1e-4) for part in parts):
        return False
    if weight.numel() < FEWEST:
        return True
    spread = float(weight.double().std()) / (bound / math.sqrt(3))
    return abs(spread - 1) < SURE * math.sqrt(0.2 / weight.numel())

"""BatchNorm's running statistics in a randomised block: keep, reset or recalibrate."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, get_args

import torch
from torch import Tensor, nn

from salsanity.errors import ModelError, UsageError
from salsanity.models.coverage import BatchNorm
from salsanity.models.network import Network
from salsanity.models.slots import Weights
from salsanity.models.swap import swapped

POLICIES: Final = get_args(BatchNorm)


def with_batchnorm(
    network: Network,
    weights: Weights,
    policy: BatchNorm,
    *,
    layers: Collection[str] | None = None,
    images: Iterable[Tensor] = (),
) -> Weights:
    """Return `weights` with the running statistics that a policy gives to the randomised norms.

    `keep` (C): as trained. `reset`: mean 0, variance 1, as in an untrained network. `recalibrate`:
    mean and variance over `images` (batches, preprocessed) in the network with `weights` in it.
    `layers`: the randomised layers, by default those of `weights`; norms elsewhere keep their
    statistics.

    Raises UsageError for another policy, ModelError to recalibrate without images.
    """
    if policy not in POLICIES:
        raise UsageError(f"Expected batchnorm {', '.join(POLICIES)}; got {policy!r}")
    norms = _norms(network, set(weights if layers is None else layers))
    if policy == "keep" or not norms:
        return weights
    fresh = _reset(norms)
    return _joined(
        weights, fresh if policy == "reset" else _measured(network, weights, norms, images)
    )


def _norms(network: Network, layers: Collection[str]) -> dict[str, nn.Module]:
    """Layers with a running mean and variance, of any library."""
    return {
        name: module
        for name, module in network.module.named_modules()
        if name in layers and _has_statistics(module)
    }


def _has_statistics(module: nn.Module) -> bool:
    return all(isinstance(module._buffers.get(n), Tensor) for n in ("running_mean", "running_var"))


def _reset(norms: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {
        name: {
            "running_mean": torch.zeros_like(norm.get_buffer("running_mean"), device="cpu"),
            "running_var": torch.ones_like(norm.get_buffer("running_var"), device="cpu"),
        }
        for name, norm in norms.items()
    }


def _measured(
    network: Network, weights: Weights, norms: Mapping[str, nn.Module], images: Iterable[Tensor]
) -> dict[str, dict[str, Tensor]]:
    """Run the images with these norms alone in training mode, averaging over the batches."""
    count = 0
    with swapped(network, _joined(weights, _reset(norms))), torch.no_grad():
        for norm in norms.values():
            norm.train()
            vars(norm)["momentum"] = None  # average over all batches
            if isinstance(norm._buffers.get("num_batches_tracked"), Tensor):
                norm.get_buffer("num_batches_tracked").zero_()
        for batch in images:
            count += 1
            network.module(batch.to(network.device))
        measured = {name: _statistics(norm) for name, norm in norms.items()}
    if not count:
        raise ModelError(
            "Expected images to recalibrate BatchNorm with, got none; give images, or keep"
        )
    return measured


def _statistics(norm: nn.Module) -> dict[str, Tensor]:
    return {name: norm.get_buffer(name).clone().cpu() for name in ("running_mean", "running_var")}


def _joined(one: Weights, two: Weights) -> dict[str, dict[str, Tensor]]:
    layers = dict.fromkeys((*one, *two))
    return {layer: {**one.get(layer, {}), **two.get(layer, {})} for layer in layers}

"""What a check compares: a reference state of the network, and the states that an intervention makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from salsanity.methods import Baselines, Inputs, Method
from salsanity.models.coverage import BatchNorm
from salsanity.models.layers import SpatialLayer
from salsanity.models.network import MemoryFormat, Network
from salsanity.passes.precision import Precision
from salsanity.passes.replay import Replay
from salsanity.passes.run import Setting
from salsanity.passes.schedule import Weights
from salsanity.randomizers.batchnorm import with_batchnorm
from salsanity.randomizers.draw import Draw
from salsanity.randomizers.draw import Weights as Drawn
from salsanity.randomizers.stages import Stage, weights_at
from salsanity.seeds import seed_for
from salsanity.similarity import Similarity

REFERENCE_STREAM = 0
CHANGED_STREAM = 1


class Intervention(Protocol):
    """Makes states of a network: stages of randomised weights, or networks trained on other labels."""

    def weights(self, network: Network, draw: int, stage: str) -> Weights:
        """Return what to put into the network for `stage` of `draw`; empty for the network as it is."""


@dataclass
class Cascade:
    """Randomised stages of one network; the same draw of a layer serves every stage.

    `images`: batches for `batchnorm="recalibrate"`. Draws are kept up to `keep_bytes`, since each serves every
    chunk of images.
    """

    draw: Draw
    stages: Mapping[str, Stage]
    seed: int
    batchnorm: BatchNorm = "keep"
    images: Sequence[Tensor] = ()
    keep_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        """Start with no draw kept."""
        self._kept: dict[int, Drawn] = {}

    def weights(self, network: Network, draw: int, stage: str) -> Weights:
        """Return the drawn tensors of the stage's blocks, and the running statistics that go with them."""
        at = self.stages[stage]
        drawn = weights_at(network, self._drawn(network, draw), at)
        # All layers of the blocks, since a norm without weight and bias has statistics all the same.
        layers = {layer for b in network.blocks if b.name in at.blocks for layer in b.layers}
        return with_batchnorm(network, drawn, self.batchnorm, layers=layers, images=self.images)

    def _drawn(self, network: Network, draw: int) -> Drawn:
        if draw not in self._kept:
            fresh = _on(network.device, self.draw(network, draw_seed(self.seed, draw)))
            room = self.keep_bytes // max(1, _bytes_of(fresh))
            while len(self._kept) >= max(1, room):
                self._kept.pop(next(iter(self._kept)))
            self._kept[draw] = fresh
        return self._kept[draw]


def draw_seed(seed: int, draw: int) -> int:
    """Return the seed of draw number `draw`."""
    return seed_for(seed, "draw", draw)


def _on(device: torch.device, weights: Drawn) -> Drawn:
    return {
        layer: {name: value.to(device) for name, value in tensors.items()}
        for layer, tensors in weights.items()
    }


def _bytes_of(weights: Weights) -> int:
    return sum(
        value.numel() * value.element_size()
        for tensors in weights.values()
        for value in tensors.values()
    )


@dataclass(frozen=True)
class Instruments:
    """Everything resolved that a unit of work needs, whatever the check."""

    network: Network
    methods: tuple[Method, ...]
    similarities: tuple[Similarity[Any], ...]
    seed: int
    batch_size: int
    baselines: Baselines
    spatial: SpatialLayer | None
    no_spatial_layer: str
    tick: Callable[[int], None] | None = None
    replay: Replay = "auto"
    memory_format: MemoryFormat = "contiguous"
    precision: Precision = "float32"

    def setting(self, stream: int, *, batch_size: int) -> Setting:
        """Return how passes run under a noise stream."""
        return Setting(
            self.seed, stream, batch_size, self.baselines, self.tick, self.replay, self.precision
        )

    def inputs(self, x: Tensor, targets: Tensor, ids: Sequence[str], state: str) -> Inputs:
        """Return a batch as methods see it."""
        return Inputs(x, targets, tuple(ids), self.seed, state, self.spatial, self.no_spatial_layer)

    def chosen(self, names: Sequence[str]) -> tuple[Method, ...]:
        """Return the methods with these names, in this order."""
        by_name = {method.name: method for method in self.methods}
        return tuple(by_name[name] for name in names)

"""Everything resolved that a unit of work needs, whatever the check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor

from salsanity.methods import Baselines, Inputs, Method
from salsanity.models.layers import SpatialLayer
from salsanity.models.network import MemoryFormat, Network
from salsanity.passes.precision import Precision
from salsanity.passes.replay import Replay
from salsanity.passes.run import Setting
from salsanity.similarity import Similarity


@final
@dataclass(frozen=True, eq=False)
class Instruments:
    """A network with the methods and similarities that are run on it, and how passes run."""

    network: Network
    methods: tuple[Method, ...]
    similarities: tuple[Similarity[Any], ...]
    seed: int
    batch_size: int
    baselines: Baselines
    spatial: SpatialLayer | None
    no_spatial_layer: str
    tick: Callable[[float], None] | None = None
    replay: Replay = "auto"
    memory_format: MemoryFormat = "contiguous"
    precision: Precision = "float32"
    partners: int = 3
    worth: Mapping[str, float] = field(default_factory=dict)
    """How many passes a map of an explainer that is not ours takes as long as, by the explainer's name, as it was tried."""

    batched: frozenset[str] = frozenset()
    """Explainers that are not ours whose maps are the same alone and in a batch, as they were tried."""

    def setting(self, stream: int, *, batch_size: int) -> Setting:
        """Return how passes run under a noise stream."""
        return Setting(
            self.seed,
            stream,
            batch_size,
            self.baselines,
            self.tick,
            self.replay,
            self.precision,
            self.worth,
            self.batched,
        )

    def inputs(self, x: Tensor, targets: Tensor, ids: Sequence[str], state: str) -> Inputs:
        """Return a batch as methods see it."""
        return Inputs(x, targets, tuple(ids), self.seed, state, self.spatial, self.no_spatial_layer)

    def chosen(self, names: Sequence[str]) -> tuple[Method, ...]:
        """Return the methods with these names, in this order."""
        by_name = {method.name: method for method in self.methods}
        return tuple(by_name[name] for name in names)

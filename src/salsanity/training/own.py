"""A training of the user's in place of ours: a function of network, images and labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from salsanity.errors import TrainingError
from salsanity.seeds import seed_for
from salsanity.training.evaluate import LabelledImages, accuracy, built, check_outputs
from salsanity.training.loop import Trained, seeded
from salsanity.training.settings import TrainingSettings


@final
@dataclass(frozen=True, eq=False)
class OwnTraining:
    """What trains a network: `function(model, images, labels)`, with images (N, C, H, W) as the network takes them.

    It trains the model that it is given, or returns another one. torch's global random state is seeded for each network, so
    that a function which draws from there alone gives the same network again. `identity`: a print of the function and its code.
    `wanted`: the train accuracy that must be exceeded.
    """

    function: Callable[[nn.Module, Tensor, Tensor], nn.Module | None]
    identity: str
    wanted: float | None = 0.95
    epochs: int = 1
    stop_at: float | None = None
    """Both as in `TrainingSettings`, for what is kept: it is trained once, as a whole."""

    def to_json(self) -> dict[str, Any]:
        """Return what spec.json says of it."""
        return {"function": getattr(self.function, "__qualname__", "own"), **self.course()}

    def course(self) -> dict[str, Any]:
        """Return what decides the course of a training."""
        return {"identity": self.identity}

    def train(
        self,
        make_model: Callable[[], nn.Module],
        data: LabelledImages,
        *,
        seed: int,
        device: torch.device,
    ) -> Trained:
        """Build a network and let the user train it; raise `TrainingError` below the wanted train accuracy."""
        started = time.perf_counter()
        with seeded(seed_for(seed, "init"), device):
            model = built(make_model, device)
        placed = data.to(device)
        with seeded(seed_for(seed, "training"), device):
            given = self.function(model.train(), placed.images, placed.labels)
        model = model if given is None else given
        if not isinstance(model, nn.Module):
            raise TrainingError(
                f"expected the training function to return a network or None, got {type(model).__name__}"
            )
        check_outputs(model, placed)
        reached = accuracy(model, placed)
        if self.wanted is not None and not reached > self.wanted:
            raise TrainingError(
                f"expected a train accuracy above {self.wanted:g} from the training function, got {reached:.3f}; "
                "let it train for longer, since permuted labels have to be learned by heart"
            )
        return Trained(model.eval(), seed, reached, (), time.perf_counter() - started)


Teaching: TypeAlias = TrainingSettings | OwnTraining

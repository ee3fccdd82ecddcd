"""`TrainingSettings`, and the settings that the tests and the demo use, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

from salsanity.errors import SpecError


@final
@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the defaults are the paper's (Adam, batches of 50).

    `l2`: the loss gets l2 / 2 times the sum of squares of all weights (biases and other vectors are
    left out, and the weights of the layers named in `l2_spares`). `stop_at`: stop after the first
    epoch at whose end the accuracy on all training images exceeds it and `least_steps` batches were
    seen; None trains all epochs. `wanted`: the train accuracy that must be exceeded;
    None accepts any. `mixed_precision`: matrix products in bfloat16 where the device, a GPU or a processor, has instructions for
    it; elsewhere float32. `warm_up`: over so many first batches the learning rate rises linearly. `clip`: gradients are
    shortened to this norm (Pascanu et al. 2013); 0 leaves them.
    """

    epochs: int = 100
    batch_size: int = 50
    learning_rate: float = 1e-4
    l2: float = 1e-3
    l2_spares: tuple[str, ...] = ()
    stop_at: float | None = None
    least_steps: int = 0
    wanted: float | None = 0.95
    mixed_precision: bool = True
    warm_up: int = 0
    clip: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings under which nothing can be learned."""
        for name in ("epochs", "batch_size"):
            _check(name, getattr(self, name), at_least=1)
        _check("learning_rate", self.learning_rate, above=0)
        _check("l2", self.l2, at_least=0)
        for name in ("least_steps", "warm_up", "clip"):
            _check(name, getattr(self, name), at_least=0)
        for name in ("stop_at", "wanted"):
            _check(name, getattr(self, name) or 0.0, at_least=0, below=1)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values; those that are newer than the first ones only where they are set.

        So what a folder of an older version says of its training is what this says, and it can be continued.
        """
        found = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {k: v for k, v in found.items() if k not in NEWER or v}

    def course(self) -> dict[str, Any]:
        """Return those that decide the course of a training, as JSON values; how long it may run does not.

        Settings that are newer than the first ones are left out at their defaults, so that what was trained before is found.
        """
        found = {k: v for k, v in asdict(self).items() if k not in ("epochs", "wanted")}
        return {k: v for k, v in found.items() if k not in NEWER or v}


def _check(
    name: str,
    value: float,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    if not (math.isfinite(value) and value >= at_least and above < value < below):
        bounds = {"at least": at_least, "above": above, "below": below}
        wanted = " and ".join(f"{k} {v:g}" for k, v in bounds.items() if math.isfinite(v))
        raise SpecError(f"expected {name} {wanted}, got {value}")


NEWER: Final = ("l2_spares", "least_steps", "warm_up", "clip")

PAPER: Final = TrainingSettings(stop_at=0.95, least_steps=20_000)
"""The paper's setting, for 55,000 images: 20,000 batches of 50 (in whole epochs: 20,900), and for permuted labels as many
more as 95 % train accuracy takes, at most 100 epochs; a quarter of an hour and an hour on two CPU cores."""

PAPER_BY_NETWORK: Final[Mapping[str, TrainingSettings]] = {
    "cnn": replace(PAPER, l2_spares=("fc2",)),
    "mlp": replace(PAPER, l2=0.0),
}
"""The same for the paper's own networks: L2 on the CNN's convolutions and first dense layer, none in the MLP."""

PAPER_IMAGES: Final = 55_000

LABELS: Final = TrainingSettings(epochs=100, learning_rate=3e-4, l2=0.0, stop_at=0.99)
"""Default of the label test: memorises permuted labels in a fraction of the paper's epochs.

At 1e-3 the paper's CNN dies on permuted labels, with the paper's initial weights and with torch's:
it answers the same for every image, and the loss stays at ln 10. At 3e-4 it memorises 10,000
permuted MNIST images in 22 epochs from the paper's weights, in 48 from torch's. Behind a warm-up and with clipped
gradients 1e-3 takes half the epochs, but leaves other networks: two honest ones agree less on their gradients, and the
gradient's verdict stays open.
"""

_DIGITS: Final = TrainingSettings(l2=0.0, mixed_precision=False)
"""Networks so small gain nothing by bfloat16, and what the pages say of them should come out on every processor."""

DEMO: Final = replace(_DIGITS, epochs=6, learning_rate=2e-3)
"""Trains `models.reference.demo_network` on the 1,437 digits."""

DIGITS: Final = replace(_DIGITS, epochs=6, learning_rate=1e-3)
"""Trains `models.reference.digits_network` on the same."""

DEMO_LABELS: Final = replace(_DIGITS, epochs=120, learning_rate=2e-3, stop_at=0.97)
"""The label test of the demo, on `DEMO_LABELS_IMAGES` of the digits."""

DEMO_LABELS_IMAGES: Final = 600

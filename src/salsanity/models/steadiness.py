"""Steadiness: whether a network gives an image the same logits twice, alone, and among other images.

Dropout that is always on makes a network random in eval mode; norms that use the statistics of the batch make an image's
logits depend on the others in it, and states that it keeps from call to call on the images before; `squeeze()` and
`view(1, -1)` make it run on some sizes of batch only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from salsanity.errors import ModelError
from salsanity.models.network import Network
from salsanity.models.random_state import random_state
from salsanity.models.swap import swapped

MOST_IMAGES: Final = 4
REPEATS: Final = 3
"""So often a batch is repeated: what happens in one pass of two is missed in one of eight."""

ROUNDINGS: Final = 1_000
"""Kernels for different sizes of batch may differ by so many roundings of the largest logit, of .05 of it at most."""

LARGEST_ROUNDING: Final = 0.05
GPU_ROUNDING: Final = 0.01
"""On a GPU convolutions may run in TF32, in another order for each size of batch."""


@final
@dataclass(frozen=True)
class Steadiness:
    """What a network's logits depend on beside the image.

    `random`: a batch that is repeated gives others (randomly, or from call to call). `depends_on_batch`: the image alone or
    among others gives others; not looked for in a random network. `only_single`: it runs on one image alone.
    `needs_at_least`: it runs on so many images and more. `difference`: the largest, as a share of the largest logit.
    """

    random: bool = False
    depends_on_batch: bool = False
    only_single: bool = False
    needs_at_least: int = 1
    difference: float = 0.0

    @property
    def is_steady(self) -> bool:
        """Whether the image is all that counts, in batches of any size."""
        return self == Steadiness(difference=self.difference)

    @property
    def largest_batch(self) -> int | None:
        """The largest batch in which an image may be explained: 1, or None where any will do."""
        return 1 if self.only_single or self.depends_on_batch else None

    @property
    def refusal(self) -> str | None:
        """Why no verdict can be given on the network, with the remedy; None where one can."""
        if self.needs_at_least > 1 and self.depends_on_batch:
            return (
                f"the network needs at least {self.needs_at_least} images at a time, and an image's logits depend on the others "
                f"in its batch (by {self.difference:.1%} of the largest): statistics of the batch in eval mode. Let its norms "
                "use running statistics (track_running_stats=True)"
            )
        if self.needs_at_least > 1:
            return (
                f"the network needs at least {self.needs_at_least} images at a time, and each must be explained by itself: "
                "keep the first axis of its tensors (flatten(1) or squeeze(-1) in place of squeeze())"
            )
        return None

    @property
    def note(self) -> str | None:
        """What a run tells of the network; None where it is steady."""
        if self.random:
            return (
                f"The network is random in eval mode, or changes from call to call: logits of one batch differ by up to "
                f"{self.difference:.1%} of the largest. F.dropout needs training=self.training; "
                "states that it keeps (of recurrent layers, observers of quantisation) must begin anew in every call."
            )
        if self.depends_on_batch:
            return (
                f"An image's logits depend on the others in its batch (by up to {self.difference:.1%} of the largest): each is "
                "explained alone."
            )
        if self.only_single:
            return "The network runs on one image at a time only: each is explained alone."
        return None


def steadiness(network: Network, x: Tensor) -> Steadiness:
    """Compare the logits of up to four images `x` (B, ...) in repeated batches, alone, and among changed images.

    Random states and the network are afterwards as before. Raises ModelError where the network runs on no size of batch.
    """
    x = x[:MOST_IMAGES].to(network.device)
    x = torch.cat([x, x.flip(-1)]) if len(x) == 1 else x
    devices = [network.device] if network.device.type == "cuda" else []
    with random_state(None, devices), swapped(network, {}), torch.no_grad():
        return _compared(network, x)


def _compared(network: Network, x: Tensor) -> Steadiness:
    alone = _one_by_one(network, x)
    batches = [_logits(network, x) for _ in range(REPEATS)]
    if all(found is None for found in (alone, *batches)):
        network.logits(x[:1])
        raise ModelError(
            "The network runs neither on one image nor on several. Run it by itself to see why"
        )
    backwards = _one_by_one(network, x.flip(0))
    first, *again = batches
    if first is None:
        return _repeated(network, x)
    if (
        alone is not None and backwards is not None
    ):  # does an image keep something of the one before it?
        again.append(first + backwards.flip(0) - alone)
    share, tolerance = share_of_largest(first, again), tolerance_of(first)
    fewest = 1 if alone is not None else _fewest(network, x)
    if share > tolerance / 10:
        return Steadiness(random=True, needs_at_least=fewest, difference=share)
    mixed = _logits(network, torch.cat([x, x.flip(-1) * 0.5]))
    share = share_of_largest(first, [alone, None if mixed is None else mixed[: len(x)]])
    is_moved = share > tolerance
    return Steadiness(depends_on_batch=is_moved, needs_at_least=fewest, difference=share)


def _repeated(network: Network, x: Tensor) -> Steadiness:
    """A network for one image alone."""
    first = _one_by_one(network, x)
    if first is None:
        return Steadiness(random=True, only_single=True, difference=1.0)
    again, backwards = _one_by_one(network, x), _one_by_one(network, x.flip(0))
    share = share_of_largest(first, [again, None if backwards is None else backwards.flip(0)])
    is_random = share > tolerance_of(first) / 10
    return Steadiness(random=is_random, only_single=True, difference=share)


def _one_by_one(network: Network, x: Tensor) -> Tensor | None:
    parts = [_logits(network, one[None]) for one in x]
    found = [part for part in parts if part is not None]
    return torch.cat(found) if len(found) == len(parts) else None


def _fewest(network: Network, x: Tensor) -> int:
    """The smallest of the batches that run; the whole of `x` does."""
    sizes = range(2, len(x))
    return next((n for n in sizes if _logits(network, x[:n]) is not None), len(x))


def _logits(network: Network, x: Tensor) -> Tensor | None:
    """Return the logits, or None where the network does not run on such a batch."""
    try:
        return network.logits(x.clone())
    except Exception:  # noqa: BLE001 - whatever a user's network raises, it does not run
        return None


def share_of_largest(first: Tensor, others: list[Tensor | None]) -> float:
    """The largest difference, as a share of the largest logit; an output that is missing or not finite is all of it."""
    found = [other for other in others if other is not None]
    scale = float(first.abs().max()) or 1.0
    differences = [(o.double() - first.double()).abs().nan_to_num(scale, scale) for o in found]
    return max((float(d.max()) for d in differences), default=0.0) / scale


def tolerance_of(logits: Tensor) -> float:
    """How far logits of equal images may differ by rounding, as a share of the largest."""
    if logits.device.type == "cuda":
        return GPU_ROUNDING
    return min(LARGEST_ROUNDING, ROUNDINGS * torch.finfo(logits.dtype).eps)

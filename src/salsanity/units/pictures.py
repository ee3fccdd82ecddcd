"""Maps of a few images, kept small for the figures; they travel in a unit's result."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
import torch.nn.functional as F
from torch import Tensor

from salsanity.data.tensors import displayable
from salsanity.units.explain import StateMaps

LONGEST_SIDE: Final = 112
"""Maps are averaged down to this many pixels: a figure shows them smaller still."""


@final
@dataclass
class Pictures:
    """Collects the maps of `images` during a unit: image id -> `maps/<check>/<method>/<state>` -> array (2, h, w).

    The check is left out where all checks share the state, as the trained network.
    """

    images: Collection[str]
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, ids: Sequence[str], maps: StateMaps, state: str, check: str = "") -> None:
        """Keep the maps of a state under its name; an empty name keeps nothing."""
        top = f"maps/{check}" if check else "maps"
        for method, explained in maps.maps.items() if state else ():
            for i, image in enumerate(ids):
                if image in self.images and explained.maps is not None and not explained.reasons[i]:
                    kept = self.found.setdefault(image, {})
                    kept[f"{top}/{method}/{state}"] = compact(explained.maps[i]).numpy()

    def show(self, ids: Sequence[str], inputs: Tensor, check: str) -> None:
        """Keep what methods were given, which figures of a check show in place of the photographs."""
        for i, image in enumerate(ids):
            if image in self.images:
                given = displayable(inputs[i].detach().float()).cpu()
                self.found.setdefault(image, {})[f"photo/{check}"] = given.numpy()

    def add(self, others: Pictures) -> None:
        """Take over what was collected elsewhere."""
        for image, maps in others.found.items():
            self.found.setdefault(image, {}).update(maps)


def compact(maps: Tensor) -> Tensor:
    """Return two channels (2, h, w) in float16 that keep both views of a map (C, H, W), scaled to at most 1.

    The first is (signed + absolute) / 2 >= 0, the second (signed - absolute) / 2 <= 0: their sum is the signed view, the
    sum of their absolute values the absolute one.
    """
    wide = maps.detach().float()
    wide = wide if wide.dim() == 3 else wide.reshape(wide.shape[0], 1, -1)
    signed, absolute = wide.sum(0), wide.abs().sum(0)
    halves = torch.stack([(signed + absolute) / 2, (signed - absolute) / 2])
    longest = max(halves.shape[1:])
    if longest > LONGEST_SIDE:
        height, width = (max(1, round(side * LONGEST_SIDE / longest)) for side in halves.shape[1:])
        halves = F.adaptive_avg_pool2d(halves, (height, width))
    largest = halves.abs().max()
    scaled = halves / largest if float(largest) > 0 else halves
    return scaled.to("cpu", torch.float16).contiguous()

"""A few images and their maps, kept small for the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from salsanity.store.directory import replacing

LONGEST_SIDE: Final = 112
"""Maps are averaged down to this many pixels: a figure shows them smaller still."""


@dataclass
class Gallery:
    """Collects maps in memory during a unit; `flush` adds them to the files in `folder`.

    `facts`: per image id, the metadata of its file (name, target, label). `photos`: a callable that gives the picture.
    """

    folder: Path
    facts: Mapping[str, Mapping[str, str]]
    photos: Mapping[str, Tensor]
    waiting: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def keep(self, image: str, method: str, stage: str, maps: Tensor) -> None:
        """Take one map (C, H, W) or (C, T)."""
        self.waiting.setdefault(image, {})[f"maps/{method}/{stage}"] = compact(maps)

    def damaged(self) -> frozenset[str]:
        """Return the ids of images whose file is there and cannot be read: their units are computed again."""
        return frozenset(image for image in self.facts if is_damaged(self.path(image)))

    def path(self, image: str) -> Path:
        """Where an image's file lies or would lie."""
        return self.folder / f"{image[:16]}.safetensors"

    def flush(self) -> None:
        """Write what waits, beside what the files already hold."""
        for image, tensors in self.waiting.items():
            path = self.path(image)
            everything = {
                "photo": self.photos[image].float().contiguous(),
                **_held(path),
                **tensors,
            }
            content = save(everything, metadata={"image": image, **self.facts[image]})
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        self.waiting.clear()


def _held(path: Path) -> dict[str, Tensor]:
    """Read the tensors of an earlier flush; a damaged file counts as absent."""
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError):
        return {}


def is_damaged(path: Path) -> bool:
    """Whether a file of the gallery is there but cut or overwritten."""
    return path.exists() and not _held(path)


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

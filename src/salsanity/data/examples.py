"""`Example` and `ImageSource`: what every data set hands over, one item at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from salsanity.errors import DataError
from salsanity.seeds import seed_for


@final
@dataclass(frozen=True, eq=False)
class Example:
    """One image as the network gets it, and as a person sees it.

    `x`: (C, H, W), preprocessed. `label`: class index, or None where unknown. `name`: printable,
    unique in its source. `display`: (C, H, W) in [0, 1], before normalisation, for figures. `why_unlabelled`: a clause that
    says why what stands for the label is no class index.
    """

    x: Tensor
    label: int | None
    name: str
    display: Tensor
    why_unlabelled: str | None = None


@runtime_checkable
class ImageSource(Protocol):
    """A data set that loads one item at a time, so that memory does not grow with their number."""

    @property
    def name(self) -> str:
        """The name in specs and reports."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes by index, where they are known."""

    def __len__(self) -> int:
        """How many items there are."""

    def __getitem__(self, index: int, /) -> Example:
        """Load one item; raise `DataError` for this item alone if it cannot be read."""


def without_label(source: ImageSource, indices: Sequence[int]) -> str | None:
    """Name the first of the images at `indices` that has no label, and why it has none; None where all have one."""
    for index in indices:
        example = source[index]
        if example.label is None:
            return f"{example.name}: {example.why_unlabelled or 'it has no label'}"
    return None


def check_repeatable(source: ImageSource, index: int) -> None:
    """Raise `DataError` where an image has other pixels each time that it is loaded, as random transforms make them."""
    first, second = source[index], source[index]
    if image_id(first.x) != image_id(second.x):
        raise DataError(
            f"expected the same pixels each time that {first.name} is loaded, got others; take random transforms (crops, flips, "
            "noise) out of the data set, as for validation"
        )


def image_id(x: Tensor) -> str:
    """Return the SHA-256 of a preprocessed image's shape, dtype and bytes: 64 hex digits."""
    head = f"{tuple(x.shape)} {x.dtype}\n".encode()
    return hashlib.sha256(head + tensor_bytes(x)).hexdigest()


def tensor_bytes(x: Tensor) -> bytes:
    """Return the elements of a tensor in row-major order as bytes; any dtype and device."""
    flat = x.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def seeded_order(names: Sequence[str], seed: int) -> tuple[int, ...]:
    """Return the indices of `names` in the order of `seed_for(seed, "order", name)`.

    The order of two names does not depend on which others are there; equal names keep their places.
    """
    return tuple(sorted(range(len(names)), key=lambda i: seed_for(seed, "order", names[i])))

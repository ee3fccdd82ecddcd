"""What is trained on, and how well a network does on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from salsanity.errors import DataError, ModelError
from salsanity.models.network import logits_in

EVALUATION_BATCH: Final = 500
EVALUATION_NUMBERS: Final = 8_000_000
"""Input numbers in one batch of an evaluation: fewer large images, so that memory stays small."""


@final
@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images (N, C, H, W), preprocessed, floating point, and class indices (N,) int64."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Refuse what cannot be trained on."""
        if len(self.images) == 0 or self.labels.shape != (len(self.images),):
            raise DataError(
                f"expected images and one label each, got shapes {tuple(self.images.shape)} "
                f"and {tuple(self.labels.shape)}"
            )
        if not self.images.is_floating_point() or self.labels.dtype != torch.int64:
            raise DataError(
                "expected floating-point images and int64 labels, got "
                f"{self.images.dtype} and {self.labels.dtype}"
            )

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.images)

    def fingerprint(self) -> str:
        """Return the SHA-256 over shape, dtype and bytes of images and labels."""
        whole = hashlib.sha256(repr((tuple(self.images.shape), self.images.dtype)).encode())
        for part in (*torch.split(self.images, 1000), self.labels):
            flat = part.detach().cpu().contiguous().reshape(-1)
            whole.update(flat.view(torch.uint8).numpy().data)
        return whole.hexdigest()

    def to(self, device: torch.device) -> LabelledImages:
        """Return the same on `device`."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


def accuracy(model: nn.Module, data: LabelledImages, *, batch_size: int | None = None) -> float:
    """Return the share of images whose label has the largest logit; the model's modes are kept."""
    device = next((p.device for p in model.parameters()), data.images.device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    size = batch_size or _batch_size(data)
    with evaluating(model), torch.no_grad():
        for start in range(0, len(data), size):
            rows = slice(start, start + size)
            correct += count_correct(
                logits_in(model(data.images[rows].to(device))), data.labels[rows].to(device)
            )
    return int(correct) / len(data)


def _batch_size(data: LabelledImages) -> int:
    return max(1, min(EVALUATION_BATCH, EVALUATION_NUMBERS // data.images[0].numel()))


def count_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many rows of (B, classes) are largest at their label, as a scalar tensor."""
    return (logits.argmax(1) == labels).sum()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in eval mode inside; give each its own mode back after."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def check_outputs(model: nn.Module, data: LabelledImages) -> None:
    """Raise `ModelError` or `DataError` if the network cannot take these images or these labels."""
    with evaluating(model), torch.no_grad():
        logits = _tried(model, data.images[:2])
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise DataError(
            f"expected labels from 0 to {logits.shape[1] - 1}, as the network has "
            f"{logits.shape[1]} outputs, got {low} to {high}"
        )


def _tried(model: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    try:
        return logits_in(model(images))
    except RuntimeError as error:
        raise ModelError(
            f"the network cannot take images of shape {tuple(images.shape[1:])}: {error}"
        ) from error

"""What is trained on, and how well a network does on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from salsanity.errors import DataError, ModelError

EVALUATION_BATCH: Final = 500


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

    def to(self, device: torch.device) -> LabelledImages:
        """Return the same on `device`."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


def accuracy(
    model: nn.Module, data: LabelledImages, *, batch_size: int = EVALUATION_BATCH
) -> float:
    """Return the share of images whose label has the largest logit; the model's modes are kept."""
    device = next((p.device for p in model.parameters()), data.images.device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with evaluating(model), torch.no_grad():
        for start in range(0, len(data), batch_size):
            rows = slice(start, start + batch_size)
            correct += count_correct(
                logits_of(model(data.images[rows].to(device))), data.labels[rows].to(device)
            )
    return int(correct) / len(data)


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


def logits_of(output: Any) -> Tensor:
    """Return (B, classes) from a tensor, a tuple (its first), or a thing with `logits`."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, Mapping):
        output = output.get("logits")
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = (
            f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(output).__name__
        )
        raise ModelError(f"expected logits of shape (images, classes), got {got}")
    return logits


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
        return logits_of(model(images))
    except RuntimeError as error:
        raise ModelError(
            f"the network cannot take images of shape {tuple(images.shape[1:])}: {error}"
        ) from error

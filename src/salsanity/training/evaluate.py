"""What is trained on, and how well a network does on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from salsanity.data.examples import ImageSource, seeded_order, without_label
from salsanity.data.tensors import stack
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


def labelled(source: ImageSource, *, limit: int | None = None, seed: int = 0) -> LabelledImages:
    """Load a labelled data set as tensors, or `limit` items of it in seeded order.

    Raises `DataError` where an item has no label.
    """
    names = getattr(source, "names", None) or [str(i) for i in range(len(source))]
    rows: Sequence[int] = range(len(source))
    if limit is not None and limit < len(source):
        rows = sorted(seeded_order(names, seed)[:limit])
    images, labels = stack(source, rows)
    if labels is None:
        why = without_label(source, rows) or "some have none"
        raise DataError(
            f"expected a label for every image of {source.name}, which training networks needs, got {why}"
        )
    return LabelledImages(images, labels)


def accuracy(model: nn.Module, data: LabelledImages, *, batch_size: int | None = None) -> float:
    """Return the share of images whose label has the largest logit; the model's modes are kept."""
    device = next((p.device for p in model.parameters()), data.images.device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    sizes = batch_sizes(len(data), batch_size or _batch_size(data))
    batches = zip(torch.split(data.images, sizes), torch.split(data.labels, sizes), strict=True)
    with evaluating(model), torch.no_grad():
        for images, labels in batches:
            logits = logits_in(model(images.to(device)))
            check_classes(data, logits.shape[1])
            correct += count_correct(logits, labels.to(device))
    return int(correct) / len(data)


def batch_sizes(count: int, size: int) -> list[int]:
    """Divide `count` images into batches of `size`; a single one that is left joins the last batch.

    Batch norms cannot train on one image, and networks that `squeeze` take it for none.
    """
    sizes = [min(size, count - start) for start in range(0, count, size)]
    if size > 1 and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [size + 1]
    return sizes


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
    check_classes(data, logits.shape[1])


def check_classes(data: LabelledImages, classes: int) -> None:
    """Raise `DataError` where a label is no class of a network of so many."""
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"expected labels from 0 to {classes - 1}, as the network has "
            f"{classes} outputs, got {low} to {high}"
        )


def built(make_model: Callable[[], object], device: torch.device) -> nn.Module:
    """Build a network and put it on a device, also where its `to` returns nothing."""
    model = make_model()
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"expected a function that returns a torch.nn.Module, got {type(model).__name__} from it; return the network itself"
        )
    moved: object = model.to(device)
    return moved if isinstance(moved, nn.Module) else model


def _tried(model: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    try:
        return logits_in(model(images))
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ModelError(
            f"the network cannot take images of shape {tuple(images.shape[1:])}: {error}"
        ) from error

"""`permuted_labels`: destroy the relation between images and labels, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from salsanity.errors import DataError
from salsanity.seeds import seed_for


def permuted_labels(labels: Tensor, seed: int) -> Tensor:
    """Return the labels (N,) in a seeded random order: as many of each class, at other images.

    A permutation, not new draws, as in the paper; the global random state stays as it was. Raises
    `DataError` where no permutation can change anything (fewer than two classes).
    """
    if labels.ndim != 1:
        raise DataError(f"expected labels of shape (N,), got {tuple(labels.shape)}")
    if len(labels) < 2 or bool((labels == labels[0]).all()):
        raise DataError("expected labels of at least two classes to permute, got one")
    generator = torch.Generator().manual_seed(seed_for(seed, "labels"))
    order = torch.randperm(len(labels), generator=generator)
    return labels[order.to(labels.device)]

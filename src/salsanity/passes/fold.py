"""Streaming folds: many points become one value without being kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from salsanity.errors import MethodError
from salsanity.passes.request import Fold


@dataclass
class Mean:
    """Running mean over points; `update` takes values (P, B, ...)."""

    count: int = 0
    total: Tensor | None = None

    def update(self, values: Tensor) -> None:
        """Take in P more points."""
        self.count += len(values)
        added = values[0] if len(values) == 1 else values.sum(0)
        self.total = added if self.total is None else self.total + added

    def result(self) -> Tensor:
        """Return the mean over all points so far, (B, ...)."""
        if self.total is None:
            raise MethodError("a fold needs at least one point, but got none; ask for samples >= 1")
        return self.total / self.count if self.count > 1 else self.total


@dataclass
class Variance:
    """Population variance over points by the pairwise form of Welford's update (Chan et al. 1983)."""

    count: int = 0
    mean: Tensor | None = None
    squares: Tensor | None = None

    def update(self, values: Tensor) -> None:
        """Take in P more points (P, B, ...)."""
        mean = values.mean(0)
        squares = (values - mean).square().sum(0)
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = len(values), mean, squares
            return
        total = self.count + len(values)
        delta = mean - self.mean
        self.squares = self.squares + squares + delta.square() * (self.count * len(values) / total)
        self.mean = self.mean + delta * (len(values) / total)
        self.count = total

    def result(self) -> Tensor:
        """Return the variance over all points so far, (B, ...); never negative."""
        if self.squares is None:
            raise MethodError("a fold needs at least one point, but got none; ask for samples >= 1")
        return self.squares / self.count


@dataclass
class Accumulator:
    """The state of one fold over the points of a batch, images appended sub-batch by sub-batch."""

    fold: Fold
    inner: Mean | Variance

    @classmethod
    def of(cls, fold: Fold) -> Accumulator:
        """Start an empty accumulator."""
        return cls(fold, Variance() if fold is Fold.VARIANCE else Mean())

    def update(self, gradients: Tensor, displacement: Tensor | None) -> None:
        """Take in gradients (P, B, ...) and, for `Fold.PATH`, the displacements of the same points."""
        if self.fold is Fold.MEAN_SQUARE:
            gradients = gradients.square()
        if self.fold is Fold.PATH:
            if displacement is None:
                raise MethodError(
                    "Fold.PATH needs points on a path; give the pass Points(path=...)"
                )
            gradients = gradients * displacement
        self.inner.update(gradients.detach())

    def result(self) -> Tensor:
        """Return the folded value (B, ...)."""
        return self.inner.result()


def joined(parts: list[Tensor]) -> Tensor:
    """Concatenate the results of consecutive image sub-batches."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)

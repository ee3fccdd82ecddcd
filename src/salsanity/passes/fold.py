"""Streaming folds: many points become one value without being kept.

Points are added one after another in their order, so that no fold depends on how they were divided into batches.
"""

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
        """Take in P more points; `values.sum(0)` would add them in an order that depends on P."""
        self.count += len(values)
        for value in values:
            self.total = value if self.total is None else self.total + value

    def result(self) -> Tensor:
        """Return the mean over all points so far, (B, ...)."""
        if self.total is None:
            raise MethodError("a fold needs at least one point, but got none; ask for samples >= 1")
        return self.total / self.count if self.count > 1 else self.total


@dataclass
class Variance:
    """Population variance over points by Welford's update (1962)."""

    count: int = 0
    mean: Tensor | None = None
    squares: Tensor | None = None

    def update(self, values: Tensor) -> None:
        """Take in P more points (P, B, ...)."""
        for value in values:
            self.count += 1
            if self.mean is None or self.squares is None:
                self.mean, self.squares = value, torch.zeros_like(value)
                continue
            delta = value - self.mean
            self.mean = self.mean + delta / self.count
            self.squares = self.squares + delta * (value - self.mean)

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

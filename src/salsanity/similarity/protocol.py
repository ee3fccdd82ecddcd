"""What a similarity is: `prepare` the maps once, `compare` often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from torch import Tensor


@dataclass(frozen=True)
class View:
    """Maps of a batch reduced over channels.

    `values` has shape (B, *spatial), e.g. (B, H, W); `signed` tells the sum over channels from the
    sum of absolute values. Similarities that need a bounded range scale it themselves
    (`views.scaled`).
    """

    values: Tensor
    signed: bool


@dataclass(frozen=True)
class Scores:
    """Similarities of a batch of pairs: `values` (B,) float64, NaN where undefined, and why."""

    values: Tensor
    reasons: tuple[str | None, ...]


class Features(Protocol):
    """What `prepare` keeps of a batch of maps."""

    @property
    def undefined(self) -> tuple[str | None, ...]:
        """Per map, why no similarity with it is defined (constant, not finite), or None."""

    def take(self, index: Sequence[int]) -> Self:
        """Return the features of the maps at `index`, in that order."""


F = TypeVar("F", bound=Features)


class Similarity(Protocol[F]):
    """A similarity of two maps; 1 for a map with itself, about 0 for unrelated noise.

    Results for one image never depend on the rest of the batch.
    """

    @property
    def name(self) -> str:
        """The name in specs and scores."""

    def prepare(self, view: View) -> F:
        """Compute once what comparing needs of each map; `SimilarityError` for a wrong shape."""

    def compare(self, a: F, b: F) -> Scores:
        """Compare map i of `a` with map i of `b`, for all i."""


class Statistic(Protocol):
    """A number of one map, such as its entropy; measured where a check has statistics in place of similarities."""

    @property
    def name(self) -> str:
        """The name in specs and, in the column `similarity`, in scores."""

    def measure(self, view: View) -> Scores:
        """Measure every map; results for one image never depend on the rest of the batch."""

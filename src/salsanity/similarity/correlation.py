"""Spearman's rank correlation, Pearson's correlation and the cosine, for maps of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from salsanity.similarity.batches import extremes, pieces, row_dots, row_sums, zeroed_
from salsanity.similarity.protocol import Scores, View
from salsanity.similarity.ranks import centred_ranks
from salsanity.similarity.views import (
    DEFINED,
    check_pairs,
    codes_of,
    matrix,
    reasons_of,
    scores,
)


@final
@dataclass(frozen=True)
class Vectors:
    """One vector per map.

    `values`: (B, n). `squares`: their squared lengths (B,) float64. `codes`: (B,), see
    `views.REASONS`. `spatial`: shape of a map.
    """

    values: Tensor
    squares: Tensor
    codes: Tensor
    spatial: tuple[int, ...]

    @property
    def undefined(self) -> tuple[str | None, ...]:
        """Per map, why no similarity with it is defined, or None."""
        return reasons_of(self.codes)

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, *spatial) of the maps."""
        return (len(self.codes), *self.spatial)

    def take(self, index: Sequence[int]) -> Vectors:
        """Return the vectors of the maps at `index`, in that order."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.codes.device)
        values, squares, codes = (
            t.index_select(0, rows) for t in (self.values, self.squares, self.codes)
        )
        return Vectors(values, squares, codes, self.spatial)


def vectors(values: Tensor, codes: Tensor, *, spatial: tuple[int, ...]) -> Vectors:
    """Keep vectors (B, n) with their squared lengths."""
    return Vectors(values, row_dots(values, values), codes, spatial)


def cosines(a: Vectors, b: Vectors, *, name: str) -> Scores:
    """Return a . b / (|a| |b|), exactly 1 for a vector with itself."""
    check_pairs(a.shape, b.shape, name=name)
    # The root of a square is the number itself, bit for bit; a product of two roots is not.
    lengths = (a.squares * b.squares).sqrt()
    return scores((row_dots(a.values, b.values) / lengths).clamp(-1.0, 1.0), a.codes, b.codes)


def rank_vectors(rows: Tensor, codes: Tensor, *, spatial: tuple[int, ...]) -> Vectors:
    """Return the centred average ranks of rows (B, n)."""
    return vectors(centred_ranks(rows), codes, spatial=spatial)


def unit_scaled(rows: Tensor, codes: Tensor) -> Tensor:
    """Return rows (B, n) in float64 over their largest magnitude: no square under- or overflows.

    Undefined rows become 0.
    """
    undefined = codes != DEFINED
    low, high = extremes(rows)
    largest = torch.maximum(low.abs(), high.abs()).double().masked_fill_(undefined, 1.0)
    return zeroed_(rows.double() / largest[:, None], undefined)


def centred_vectors(rows: Tensor, codes: Tensor, *, spatial: tuple[int, ...]) -> Vectors:
    """Return rows (B, n) less their means, in float64."""
    values = unit_scaled(rows, codes)
    means = torch.cat([row_sums(piece) for piece in pieces(values)]) / values.shape[1]
    return vectors(values - means[:, None], codes, spatial=spatial)


@final
@dataclass(frozen=True)
class Spearman:
    """Pearson correlation of average ranks over all pixels, ties averaged, on the unscaled view.

    Maps (B, *spatial) of any shape. Exact in whole numbers up to 300,000 pixels, so the same
    on every device and in every batch.
    """

    @property
    def name(self) -> str:
        """The name in specs and scores."""
        return "spearman"

    def prepare(self, view: View) -> Vectors:
        """Rank each map."""
        rows = matrix(view)
        return rank_vectors(rows, codes_of(rows), spatial=tuple(view.values.shape[1:]))

    def compare(self, a: Vectors, b: Vectors) -> Scores:
        """Correlate the ranks of map i of `a` and map i of `b`."""
        return cosines(a, b, name=self.name)


@final
@dataclass(frozen=True)
class Pearson:
    """Pearson correlation over all pixels, on the unscaled view, for maps of any shape."""

    @property
    def name(self) -> str:
        """The name in specs and scores."""
        return "pearson"

    def prepare(self, view: View) -> Vectors:
        """Take each map's mean off."""
        rows = matrix(view)
        return centred_vectors(rows, codes_of(rows), spatial=tuple(view.values.shape[1:]))

    def compare(self, a: Vectors, b: Vectors) -> Scores:
        """Correlate map i of `a` and map i of `b`."""
        return cosines(a, b, name=self.name)


@final
@dataclass(frozen=True)
class Cosine:
    """Cosine of the angle between two maps, on the unscaled view; maps (B, *spatial) of any shape.

    A constant map is undefined here too, so that every similarity leaves out the same maps.
    """

    @property
    def name(self) -> str:
        """The name in specs and scores."""
        return "cosine"

    def prepare(self, view: View) -> Vectors:
        """Keep each map as a vector."""
        rows = matrix(view)
        codes = codes_of(rows)
        return vectors(unit_scaled(rows, codes), codes, spatial=tuple(view.values.shape[1:]))

    def compare(self, a: Vectors, b: Vectors) -> Scores:
        """Return the cosine of map i of `a` and map i of `b`."""
        return cosines(a, b, name=self.name)

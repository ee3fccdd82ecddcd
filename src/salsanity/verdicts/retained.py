"""Retained similarity: a score set between what chance gives and what no change gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypedDict, final

import numpy as np
from numpy.typing import NDArray

from salsanity.verdicts.table import FloatArray, StageTable

LEAST_RANGE: Final = 0.1
"""Ceiling minus chance below which a similarity cannot tell."""
LEAST_SHARE: Final = 0.8
"""Share of the scores below which a cell says nothing."""


class Ratio(TypedDict):
    """R and its linearisation, as fields of `Retained`."""

    R: float
    z: FloatArray


@final
@dataclass(frozen=True)
class Retained:
    """S, C, A and R = (S - C) / (A - C) on the same images, of one cell at one stage."""

    S: float
    """Mean similarity of the reference map and the map at the stage."""
    C: float
    """Chance: the same with another image's map."""
    A: float
    """Ceiling: the reference map against the trained network's map explained once more."""
    R: float
    """Retained similarity; NaN where `top` - `floor` < 0.1: such a ratio measures nothing."""
    top: float
    """The similarity at which R is 1: A, or that of two honest networks' maps."""
    floor: float
    """Chance where nothing changed: C, or that of two honest networks' maps."""
    z: FloatArray
    """(N, D): R linearised per image and draw; its mean is R. NaN where R is."""
    similarity: FloatArray
    """(N, D): the similarities whose mean is S."""
    planned: tuple[int, int]
    """Images and draws before undefined ones were dropped; `z.shape` is what is left."""
    share: float
    """Share of the planned scores that is kept; 0 where none were planned."""
    undefined: Mapping[str, int]
    """Reasons for undefined scores, and how often each occurs."""

    @property
    def n_images(self) -> int:
        """Images kept."""
        return int(self.z.shape[0])

    @property
    def n_draws(self) -> int:
        """Draws kept."""
        return int(self.z.shape[1])

    @property
    def n_undefined(self) -> int:
        """Scores that were undefined, before whole images or draws were dropped for them."""
        return sum(self.undefined.values())

    @property
    def informative(self) -> bool:
        """Whether this similarity can tell here: enough scores kept, and room to fall."""
        return self.share >= LEAST_SHARE and not math.isnan(self.R)


def complete(defined: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Choose images and draws so that the (N, D) table `defined` has no hole.

    Draws with more than half of the images undefined go first, then images that are undefined in
    a remaining draw. Returns the masks (N,) and (D,) of what stays.
    """
    draws = np.atleast_1d(2 * np.sum(~defined, axis=0) <= defined.shape[0])
    images = np.atleast_1d(np.all(defined[:, draws], axis=1))
    return images & draws.any(), draws


def linearised(change: FloatArray, line: FloatArray) -> FloatArray:
    """Return z = R + (change - R line) / mean(line), with R = mean(change) / mean(line).

    `change` (S - C) and `line` (A - C) are (N, D). The mean of z is R, and its spread over images
    and draws is that of the ratio to first order.
    """
    scale = float(line.mean())
    R = float(change.mean()) / scale
    return np.asarray(R + (change - R * line) / scale, dtype=np.float64)


def retained_similarity(table: StageTable) -> Retained:
    """Measure one cell at one stage (SCIENCE, section 5)."""
    images, draws = complete(table.defined)
    kept = np.ix_(images, draws)
    S, C = table.value[kept], table.chance[kept]
    A = np.broadcast_to(table.ceiling[images][:, None], S.shape)
    return Retained(
        S=mean(S),
        C=mean(C),
        A=mean(A),
        **ratio(S - C, A - C),
        top=mean(A),
        floor=mean(C),
        similarity=S,
        planned=table.shape,
        share=S.size / max(1, table.value.size),
        undefined=table.undefined,
    )


def ratio(change: FloatArray, line: FloatArray) -> Ratio:
    """Return R = mean(change) / mean(line) and its z; NaN where the mean line is below 0.1."""
    if not mean(line) >= LEAST_RANGE:
        return {"R": math.nan, "z": np.full(change.shape, np.nan)}
    z = linearised(change, line)
    return {"R": mean(z), "z": z}


def mean(table: FloatArray) -> float:
    """Return the mean; NaN of nothing."""
    return float(table.mean()) if table.size else math.nan

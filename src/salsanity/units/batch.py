"""Retained similarity of one batch of maps: what every cell of a check is made of, without a run."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from salsanity.errors import SimilarityError
from salsanity.registry import similarity as similarity_named
from salsanity.similarity import Similarity, view
from salsanity.verdicts.retained import LEAST_RANGE

PARTNERS: Final = 3
"""Other images whose maps tell what chance gives, as in a run."""


def retained_similarity(
    maps: Tensor,
    changed: Tensor,
    partners: Tensor,
    *,
    again: Tensor | None = None,
    similarity: str | Similarity[Any] = "spearman",
    signed: bool = False,
) -> Tensor:
    """Return R = sum(S - C) / sum(A - C) over a batch, a number (float64, no dimensions): 0 is chance, 1 is no change.

    `maps`: (B, C, *spatial), of the network as it was trained; maps (B, H, W) need their channel, `maps[:, None]`.
    `changed`: the same images' maps after the change. `partners`:
    (B, K, C, *spatial), for each image the changed maps of K others, whose mean similarity is chance C (`partner_maps`).
    `again`: the trained network's maps under fresh noise, whose similarity is the ceiling A; 1 without. `signed`: compare the
    sum over channels in place of the sum of absolute values.

    An image without a defined S, C and A is left out. NaN where no image is left or A - C is below 0.1 in the mean: then the
    similarity cannot tell. Source: docs/science.md. Raises `SimilarityError` for shapes that do not fit.
    """
    _check_shapes(maps, changed, partners, again)
    measure = similarity_named(similarity)

    def likeness(other: Tensor) -> Tensor:
        """Compare `maps` with others of the same shape, (B,)."""
        features = measure.prepare(view(other, signed=signed))
        return measure.compare(reference, features).values

    reference = measure.prepare(view(maps, signed=signed))
    S = likeness(changed)
    C = torch.stack([likeness(one) for one in partners.unbind(1)]).nanmean(0)
    A = torch.ones_like(S) if again is None else likeness(again)
    used = S.isfinite() & C.isfinite() & A.isfinite()
    change, line = (S - C)[used], (A - C)[used]
    if not len(line) or line.mean() < LEAST_RANGE:
        return S.new_tensor(torch.nan)
    return change.mean() / line.mean()


def partner_maps(changed: Tensor, count: int = PARTNERS) -> Tensor:
    """Return, for each image of a batch, the maps of the `count` images after it whose map is not blank.

    `changed`: (B, C, *spatial); after the last comes the first. Returns (B, `count`, C, *spatial), NaN where there are not so
    many others.
    """
    flat = changed.flatten(1)
    alive = (flat.isfinite().all(1) & (flat.amax(1) > flat.amin(1))).tolist()
    found = torch.full_like(changed, torch.nan)[:, None].repeat(
        1, count, *[1] * (changed.dim() - 1)
    )
    for i in range(len(changed)):
        others = [(i + k) % len(changed) for k in range(1, len(changed))]
        for place, j in enumerate([j for j in others if alive[j]][:count]):
            found[i, place] = changed[j]
    return found


def _check_shapes(maps: Tensor, changed: Tensor, partners: Tensor, again: Tensor | None) -> None:
    for name, given in (("maps", maps), ("changed", changed), ("partners", partners)):
        if not isinstance(given, Tensor) or not given.is_floating_point():
            kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
            raise SimilarityError(
                f"expected {name} as a tensor of real floating-point numbers, got {kind}; torch.as_tensor(...).float() makes one"
            )
    shape = tuple(maps.shape)
    for name, other in (("changed", changed), ("again", again)):
        if other is not None and tuple(other.shape) != shape:
            raise SimilarityError(
                f"expected {name} of the shape of maps, {shape}, got {tuple(other.shape)}; give both of the same images"
            )
    got = tuple(partners.shape)
    if len(got) != len(shape) + 1 or (got[0], *got[2:]) != shape or not got[1]:
        raise SimilarityError(
            f"expected partners of shape (B, K, ...), with maps {shape} for each of K others, got {got}; see partner_maps"
        )

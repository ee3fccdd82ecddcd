"""How much of a map lies in a box: a statistic of one map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from salsanity.errors import SimilarityError
from salsanity.similarity.protocol import Scores, View
from salsanity.similarity.views import check_images, codes_of, matrix, scores

Box = tuple[int, int, int, int]
"""Top, left, height and width, in pixels."""


@final
@dataclass(frozen=True)
class BoxMass:
    """Share of a map's absolute sum that lies inside a box of its own: 0 outside alone, 1 inside alone.

    `boxes`: one for each map. Known as relevance mass accuracy (Arras, Osman and Samek, Information Fusion 2022).
    """

    boxes: tuple[Box, ...]

    name: ClassVar[str] = "mass"

    def measure(self, view: View) -> Scores:
        """Measure every map; a constant map, or one that is not finite, has none."""
        check_images(view, name=self.name, side=1)
        if len(view.values) != len(self.boxes):
            raise SimilarityError(
                f"expected a box for each of {len(view.values)} maps, got {len(self.boxes)}; give one each"
            )
        maps = view.values.detach().double().abs()
        inside = torch.stack([_within(one, box) for one, box in zip(maps, self.boxes, strict=True)])
        codes = codes_of(matrix(view))
        return scores(inside / maps.flatten(1).sum(1), codes, codes)


def _within(values: torch.Tensor, box: Box) -> torch.Tensor:
    top, left, height, width = box
    return values[top : top + height, left : left + width].sum()

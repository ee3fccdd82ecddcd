"""Which similarities tell a map from its negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from salsanity.similarity.protocol import Similarity
from salsanity.similarity.views import view


def tells_signs(similarity: Similarity[Any], shape: Sequence[int]) -> bool:
    """Say whether maps of the shape (C, *spatial), rough ones and smooth ones, are unlike their negatives.

    Histograms of oriented gradients do not tell them: opposite directions are one orientation. Nor does SSIM where maps are
    smooth: the means and the patterns of a window both change their signs, and their product does not.
    """
    rough = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    smooth = rough
    for axis in range(min(2, rough.dim() - 1), rough.dim()):
        smooth = smooth.cumsum(axis)
    maps = torch.cat([rough, smooth - smooth.mean()])
    maps = maps if maps.dim() > 2 else maps.unsqueeze(1)
    own, negative = (similarity.prepare(view(m, signed=True)) for m in (maps, -maps))
    return bool((similarity.compare(own, negative).values < 0).all())

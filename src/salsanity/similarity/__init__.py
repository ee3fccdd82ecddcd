"""How alike two saliency maps are: similarities of their signed and absolute views."""

from __future__ import annotations

from salsanity.similarity.correlation import Cosine, Pearson, Spearman
from salsanity.similarity.hog import HOG
from salsanity.similarity.protocol import Features, Scores, Similarity, Statistic, View
from salsanity.similarity.ssim import SSIM
from salsanity.similarity.views import Scaled, scaled, view

__all__ = [
    "HOG",
    "SSIM",
    "Cosine",
    "Features",
    "Pearson",
    "Scaled",
    "Scores",
    "Similarity",
    "Spearman",
    "Statistic",
    "View",
    "scaled",
    "view",
]

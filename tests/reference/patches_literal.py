"""The conditional patch model, one pixel at a time in float64 (arXiv 1702.04595, section 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def windows(images: Array, width: int, stride: int) -> Array:
    """Every window of (M, C, H, W) at the stride, as rows."""
    rows = []
    for image in images:
        for top in range(0, image.shape[1] - width + 1, stride):
            for left in range(0, image.shape[2] - width + 1, stride):
                rows.append(image[:, top : top + width, left : left + width].ravel())
    return np.array(rows)


def filled(
    image: Array,
    noise: Array,
    rows: Array,
    *,
    side: int,
    ring: int,
    ridge: float,
    low: Array,
    high: Array,
) -> Array:
    """Every patch of (C, H, W) replaced by a draw given its ring; `rows` are the data's windows."""
    channels, height, width = image.shape
    span = side + 2 * ring
    mean = rows.mean(axis=0)
    covariance = np.cov(rows, rowvar=False)
    covariance = covariance + ridge * np.mean(np.diag(covariance)) * np.eye(len(mean))
    out = np.empty_like(image)
    for top in range(0, height, side):
        for left in range(0, width, side):
            patch, around, at = [], [], []
            seen = []
            for c in range(channels):
                for i in range(span):
                    for j in range(span):
                        y, x = top - ring + i, left - ring + j
                        if not (0 <= y < height and 0 <= x < width):
                            continue
                        index = (c * span + i) * span + j
                        if ring <= i < ring + side and ring <= j < ring + side:
                            patch.append(index)
                            at.append((c, y, x))
                        else:
                            around.append(index)
                            seen.append(image[c, y, x])
            s11 = covariance[np.ix_(patch, patch)]
            s12 = covariance[np.ix_(patch, around)]
            s22 = covariance[np.ix_(around, around)]
            inverse = np.linalg.inv(s22)
            expected = mean[patch] + s12 @ inverse @ (np.array(seen) - mean[around])
            lower = np.linalg.cholesky(s11 - s12 @ inverse @ s12.T)
            z = np.array([noise[place] for place in at])
            for place, value in zip(at, expected + lower @ z, strict=True):
                out[place] = np.clip(value, low[place[0]], high[place[0]])
    return out

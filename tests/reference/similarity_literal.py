"""SCIENCE, section 4, read aloud: views, scaling and similarities in loops over float64."""

from __future__ import annotations

import math

import numpy as np


def literal_view(maps, signed):
    """Sum over channels of (B, C, H, W), of the absolute values for the absolute view."""
    count, channels, height, width = maps.shape
    view = np.zeros((count, height, width))
    for b in range(count):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    value = float(maps[b, c, i, j])
                    view[b, i, j] += value if signed else abs(value)
    return view


def literal_scaled(values, signed):
    """One map over the 99th percentile of its absolute values, clipped."""
    magnitudes = sorted(abs(v) for v in values.ravel().tolist())
    position = 0.99 * (len(magnitudes) - 1)
    k = int(position)
    divisor = magnitudes[k]
    if k + 1 < len(magnitudes):
        divisor += (position - k) * (magnitudes[k + 1] - magnitudes[k])
    if divisor == 0:
        divisor = magnitudes[-1]
    out = np.zeros(values.shape)
    for place in np.ndindex(*values.shape):
        out[place] = min(1.0, max(-1.0 if signed else 0.0, float(values[place]) / divisor))
    return out


def literal_ranks(values):
    """1 + the number of smaller ones + half the number of the other equal ones."""
    flat = values.ravel().tolist()
    ranks = []
    for v in flat:
        smaller = sum(1 for other in flat if other < v)
        equal = sum(1 for other in flat if other == v)
        ranks.append(1 + smaller + (equal - 1) / 2)
    return np.array(ranks)


def literal_pearson(a, b):
    a, b = a.ravel().tolist(), b.ravel().tolist()
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    covariance = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    variance_a = math.fsum((x - mean_a) ** 2 for x in a)
    variance_b = math.fsum((y - mean_b) ** 2 for y in b)
    return covariance / math.sqrt(variance_a * variance_b)


def literal_cosine(a, b):
    a, b = a.ravel().tolist(), b.ravel().tolist()
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))


def literal_spearman(a, b):
    return literal_pearson(literal_ranks(a), literal_ranks(b))


def literal_ssim(a, b, *, span, window=11, uniform=False, sample=False):
    """Window by window, on maps that are scaled already."""
    radius = window // 2
    weights = np.ones((window, window))
    for i in range(window):
        for j in range(window):
            if not uniform:
                square = (i - radius) ** 2 + (j - radius) ** 2
                weights[i, j] = math.exp(-square / (2 * 1.5**2))
    weights /= weights.sum()
    norm = window**2 / (window**2 - 1) if sample else 1.0
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    indices = []
    for i in range(a.shape[0] - window + 1):
        for j in range(a.shape[1] - window + 1):
            x, y = a[i : i + window, j : j + window], b[i : i + window, j : j + window]
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx = norm * (weights * (x - mx) ** 2).sum()
            vy = norm * (weights * (y - my) ** 2).sum()
            covariance = norm * (weights * (x - mx) * (y - my)).sum()
            indices.append(
                ((2 * mx * my + c1) * (2 * covariance + c2))
                / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    return math.fsum(indices) / len(indices)


def literal_hog(image):
    """Histograms of oriented gradients of one map that is scaled already, pixel by pixel."""
    height, width = image.shape
    side = max(2, min(16, min(height, width) // 8))
    rows, columns = height // side, width // side
    cells = np.zeros((rows, columns, 9))
    for i in range(rows * side):
        for j in range(columns * side):
            down = image[i + 1, j] - image[i - 1, j] if 0 < i < height - 1 else 0.0
            right = image[i, j + 1] - image[i, j - 1] if 0 < j < width - 1 else 0.0
            angle = math.degrees(math.atan2(down, right)) % 180.0
            orientation = min(8, int(angle // 20))
            cells[i // side, j // side, orientation] += math.hypot(down, right) / side**2
    features = []
    for i in range(rows - 2):
        for j in range(columns - 2):
            block = cells[i : i + 3, j : j + 3].ravel()
            block = block / math.sqrt((block**2).sum() + 1e-10)
            block = np.minimum(block, 0.2)
            features.extend(block / math.sqrt((block**2).sum() + 1e-10))
    return np.array(features)

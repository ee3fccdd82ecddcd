"""SCIENCE, section 5, read aloud: loops over plain floats, no vectors, scipy's Student t."""

from __future__ import annotations

import math

from scipy import stats


def literal_complete(defined):
    """Lists of the images and draws that are kept of a list of lists of bool."""
    n, d = len(defined), len(defined[0])
    draws = []
    for j in range(d):
        undefined = sum(1 for i in range(n) if not defined[i][j])
        if not undefined > n / 2:
            draws.append(j)
    images = []
    for i in range(n):
        if draws and all(defined[i][j] for j in draws):
            images.append(i)
    return images, draws


def literal_retained(S, C, A):
    """R of complete lists of lists S, C and a list A."""
    cells = [(i, j) for i in range(len(S)) for j in range(len(S[0]))]
    mean_s = sum(S[i][j] for i, j in cells) / len(cells)
    mean_c = sum(C[i][j] for i, j in cells) / len(cells)
    mean_a = sum(A) / len(A)
    return (mean_s - mean_c) / (mean_a - mean_c)


def literal_z(S, C, A):
    """The linearisation of R, cell by cell."""
    cells = [(i, j) for i in range(len(S)) for j in range(len(S[0]))]
    R = literal_retained(S, C, A)
    scale = sum(A) / len(A) - sum(C[i][j] for i, j in cells) / len(cells)
    return [
        [R + ((S[i][j] - C[i][j]) - R * (A[i] - C[i][j])) / scale for j in range(len(S[0]))]
        for i in range(len(S))
    ]


def literal_interval(z, alpha=0.05):
    """(mean, v, df, low, high) of the two-way random-effects interval."""
    n, d = len(z), len(z[0])
    grand = sum(sum(row) for row in z) / (n * d)
    image = [sum(row) / d for row in z]
    draw = [sum(z[i][j] for i in range(n)) / n for j in range(d)]
    ms_i = d * sum((m - grand) ** 2 for m in image) / (n - 1)
    ms_d = n * sum((m - grand) ** 2 for m in draw) / (d - 1)
    ms_e = sum((z[i][j] - image[i] - draw[j] + grand) ** 2 for i in range(n) for j in range(d)) / (
        (n - 1) * (d - 1)
    )
    candidates = [ms_i + ms_d - ms_e, ms_i, ms_d]
    v = max(candidates) / (n * d)
    if v == 0:
        return grand, 0.0, math.inf, grand, grand
    if v * (n * d) == candidates[0]:
        below = ms_i**2 / (n - 1) + ms_d**2 / (d - 1) + ms_e**2 / ((n - 1) * (d - 1))
        df = candidates[0] ** 2 / below
    else:
        df = n - 1 if ms_i >= ms_d else d - 1
    df = max(df, min(n, d) - 1)
    half = stats.t.ppf(1 - alpha, df) * math.sqrt(v)
    return grand, v, df, grand - half, grand + half


def literal_holm(p_values, alpha=0.05):
    """Holm by its definition: p_(k) against alpha / (m + 1 - k), stopping at the first failure."""
    m = len(p_values)
    ordered = sorted(p_values)
    rejected = 0
    for k in range(1, m + 1):
        if ordered[k - 1] < alpha / (m + 1 - k):
            rejected = k
        else:
            break
    limit = ordered[rejected - 1] if rejected else -1.0
    return [p <= limit for p in p_values]


def literal_agreement(S_TP, C_TP, S_TT, C_TT):
    """SCIENCE, section 6: R = (S_TP - C_TP) / (S_TT - C_TT) of complete lists of lists."""

    def mean(table):
        return sum(sum(row) for row in table) / sum(len(row) for row in table)

    return (mean(S_TP) - mean(C_TP)) / (mean(S_TT) - mean(C_TT))


def literal_agreement_z(S_TP, C_TP, S_TT, C_TT):
    """Its linearisation: T_i, the mean over true pairs, is the line of image i."""
    R = literal_agreement(S_TP, C_TP, S_TT, C_TT)
    T = [
        sum(s - c for s, c in zip(row_s, row_c, strict=True)) / len(row_s)
        for row_s, row_c in zip(S_TT, C_TT, strict=True)
    ]
    scale = sum(T) / len(T)
    return [
        [R + ((S_TP[i][j] - C_TP[i][j]) - R * T[i]) / scale for j in range(len(S_TP[0]))]
        for i in range(len(S_TP))
    ]

"""The rule of docs/science.md read aloud: loops over plain floats, no vectors, nothing of `salsanity.verdicts`.

Student's t is scipy's. Rows are dicts with the columns of scores; a record is what `CheckRecord.to_json` gives. None is a hole.
"""

from __future__ import annotations

import math
from itertools import product
from statistics import median

from scipy import stats


def average(values):
    """The mean of a list; NaN of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def is_number(value):
    """Neither None nor NaN nor infinite."""
    return value is not None and math.isfinite(value)


# the interval


def literal_residual(u):
    """Residual sum of squares of u[i][d] = a_i + b_d by least squares over the cells that are not None.

    Normal equations in all N + D unknowns, by Gaussian elimination; unknowns without a pivot stay 0.
    """
    n, d = len(u), len(u[0])
    cells = [(i, j) for i in range(n) for j in range(d) if u[i][j] is not None]
    size = n + d
    matrix = [[0.0] * (size + 1) for _ in range(size)]
    for i, j in cells:
        for a in (i, n + j):
            for b in (i, n + j):
                matrix[a][b] += 1.0
            matrix[a][size] += u[i][j]
    solved = {}
    for column in range(size):
        free = [row for row in range(size) if row not in solved.values()]
        pivot = max(free, key=lambda row: abs(matrix[row][column]))
        if abs(matrix[pivot][column]) < 1e-9:
            continue
        solved[column] = pivot
        for row in range(size):
            if row != pivot:
                factor = matrix[row][column] / matrix[pivot][column]
                for k in range(size + 1):
                    matrix[row][k] -= factor * matrix[pivot][k]
    effect = [0.0] * size
    for column, row in solved.items():
        effect[column] = matrix[row][size] / matrix[row][column]
    return sum((u[i][j] - effect[i] - effect[n + j]) ** 2 for i, j in cells)


def literal_interval(z, alpha=0.05):
    """(mean, v, df, low, high) of a list of lists with None for holes; NaN for fewer than two images or draws."""
    z = [row for row in z if any(x is not None for x in row)]
    keep = [j for j in range(len(z[0]) if z else 0) if any(row[j] is not None for row in z)]
    z = [[row[j] for j in keep] for row in z]
    N, D = len(z), len(keep)
    cells = [(i, j) for i in range(N) for j in range(D) if z[i][j] is not None]
    n = len(cells)
    mean = average(z[i][j] for i, j in cells)
    if N < 2 or D < 2:
        return mean, math.nan, math.nan, math.nan, math.nan
    if max(z[i][j] for i, j in cells) - min(z[i][j] for i, j in cells) <= 1e-9:  # rounding
        return mean, 0.0, math.inf, mean, mean
    u = [[None if x is None else x - mean for x in row] for row in z]
    of_image = [[j for j in range(D) if z[i][j] is not None] for i in range(N)]
    of_draw = [[i for i in range(N) if z[i][j] is not None] for j in range(D)]
    N_e = n**2 / sum(len(x) ** 2 for x in of_image)
    D_e = n**2 / sum(len(x) ** 2 for x in of_draw)
    V_i = N_e / (N_e - 1) * sum(sum(u[i][j] for j in of_image[i]) ** 2 for i in range(N)) / n**2
    V_d = D_e / (D_e - 1) * sum(sum(u[i][j] for i in of_draw[j]) ** 2 for j in range(D)) / n**2
    left = n - N - D + 1
    V_e = literal_residual(u) / left / n if left >= 1 else 0.0
    v = max(V_i + V_d - V_e, V_i, V_d)
    if D < 5:
        df = min(N, D) - 1
    else:
        if v == V_i + V_d - V_e:
            below = V_i**2 / (N_e - 1) + V_d**2 / (D_e - 1)
            below += V_e**2 / left if left >= 1 else 0.0
            df = v**2 / below
        else:
            df = N_e - 1 if v == V_i else D_e - 1
        df = max(df, min(N_e, D_e) - 1)
    half = stats.t.ppf(1 - alpha, df) * math.sqrt(v)
    return mean, v, df, mean - half, mean + half


def literal_p(interval, threshold, *, above):
    """One-sided p of "the mean is not above (not below) the threshold"."""
    mean, v, df, _, _ = interval
    distance = mean - threshold if above else threshold - mean
    if v == 0:
        return 0.0 if distance > 1e-9 else 1.0
    return float(stats.t.sf(distance / math.sqrt(v), df))


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


# what is measured


def literal_ratio(change, line):
    """(R, z) of tables with None for holes: R = sum(change) / sum(line), z its linearisation around R; (NaN, None) below 0.1."""
    cells = [
        (i, j)
        for i in range(len(change))
        for j in range(len(change[i]))
        if change[i][j] is not None
    ]
    scale = average(line[i][j] for i, j in cells)
    if not scale >= 0.1:
        return math.nan, None
    R = sum(change[i][j] for i, j in cells) / sum(line[i][j] for i, j in cells)
    z = [
        [None if c is None else R + (c - R * at) / scale for c, at in zip(*rows, strict=True)]
        for rows in zip(change, line, strict=True)
    ]
    return R, z


def table_of(rows, method, stage, view, similarity, beside=None):
    """Look up value, chance, ceiling and likeness to other images of every image and draw the method has at the stage."""
    own = [r for r in rows if r["method"] == method]
    images = sorted({r["image"] for r in own if r["stage"] in (stage, beside)})
    draws = sorted({r["draw"] for r in own if r["stage"] == stage})
    cell = [r for r in own if (r["view"], r["similarity"]) == (view, similarity)]
    at = {(r["image"], r["draw"]): r for r in cell if r["stage"] == stage}
    itself = {}
    for r in cell:
        if r["stage"] == "self":
            itself.setdefault(r["image"], []).append(r)

    def known(column):
        return [[at.get((i, d), {}).get(column) for d in draws] for i in images]

    def of_reference(column):
        found = [[r[column] for r in itself.get(i, []) if is_number(r[column])] for i in images]
        return [average(values) if values else None for values in found]

    return images, draws, known("value"), known("chance"), of_reference("value"), of_reference("chance")  # fmt: skip


def interval_of(z, *, is_fixed):
    """That of images and draws; of a mean over images where the one column is all that there is."""
    if not is_fixed:
        return literal_interval(z)
    column = [x for row in z for x in row if x is not None]
    mean, n = average(column), len(column)
    if len(z[0]) != 1 or n < 2:
        return mean, math.nan, math.nan, math.nan, math.nan
    if max(column) - min(column) <= 1e-9:
        return mean, 0.0, math.inf, mean, mean
    v = sum((x - mean) ** 2 for x in column) / (n - 1) / n
    half = stats.t.ppf(0.95, n - 1) * math.sqrt(v)
    return mean, v, n - 1, mean - half, mean + half


def literal_measure(rows, method, view, similarity, line, *, is_fixed=False):
    """All that is known of one cell at one line, as a dict."""
    images, draws, S, C, A, between = table_of(
        rows, method, line["stage"], view, similarity, line["against"]
    )
    N, D = len(images), len(draws)
    if line["against"] is None:
        top = A
    else:
        _, pairs, S_TT, C_TT, _, _ = table_of(
            rows, method, line["against"], view, similarity, line["stage"]
        )
        top = []
        for i in range(N):
            agreed = [
                S_TT[i][j] - C_TT[i][j]
                for j in range(len(pairs))
                if is_number(S_TT[i][j]) and is_number(C_TT[i][j])
            ]
            top.append(average(agreed) if agreed else None)
    change = [[None] * D for _ in range(N)]
    below = [[None] * D for _ in range(N)]
    used = []
    for i, j in product(range(N), range(D)):
        if is_number(S[i][j]) and is_number(C[i][j]) and is_number(top[i]):
            used.append((i, j))
            change[i][j] = S[i][j] - C[i][j]
            below[i][j] = top[i] - C[i][j] if line["against"] is None else top[i]
    R, z = literal_ratio(change, below)
    seen = [(i, j) for i, j in product(range(N), range(D)) if is_number(A[i])]
    both = [i for i in range(N) if is_number(A[i]) and is_number(between[i])]
    return {
        "R": R,
        "z": z,
        "interval": (math.nan,) * 5 if z is None else interval_of(z, is_fixed=is_fixed),
        "S": average(S[i][j] for i, j in used),
        "A": average(A[i] for i, _ in used if is_number(A[i])),
        "C": average(C[i][j] for i, j in used),
        "n_used": len(used),
        "n_images": len({i for i, _ in used}),
        "n_draws": len({j for _, j in used}),
        "planned": (N, D),
        "share": len(used) / (N * D) if N * D else 0.0,
        "alive": average(1.0 if is_number(a) else 0.0 for a in A),
        "blank": average(0.0 if is_number(S[i][j]) else 1.0 for i, j in seen),
        "between": average(between[i] for i in both),
        "between_ceiling": average(A[i] for i in both),
    }


# the verdict


def literal_method(rows, record, method, *, is_control=False, gates=(), alpha=0.05):
    """The decided cells of one method, as dicts with outcome, decisive line and measurements; in any order."""
    lines = [dict(line) for line in record["lines"]]
    if is_control:
        for line in lines:
            line.update(against=None, caveat="")
        gates = ()
    stages = {line["stage"] for line in lines} | {line["against"] for line in record["lines"]}
    own = [r for r in rows if r["method"] == method and r["stage"] in stages | {"self"}]
    cells = []
    for view, similarity in sorted({(r["view"], r["similarity"]) for r in own}):
        fixed = {"is_fixed": record["is_fixed"]}
        measured = [literal_measure(own, method, view, similarity, line, **fixed) for line in lines]
        for line, m in zip(lines, measured, strict=True):
            covers = [
                g
                for g in gates
                if (g.methods is None or method in g.methods)
                and (g.stages is None or line["stage"] in g.stages)
            ]
            m["line"] = line
            m["gated"] = any(g.forbids == "verdict" for g in covers)
            never = "" if is_control else record["never_pass"]
            m["no pass"] = bool(line["caveat"] or never or any(g.forbids == "pass" for g in covers))
            m["least draws"] = 1 if record["is_fixed"] else 2
            enough = m["n_images"] >= 4 and m["n_draws"] >= m["least draws"]
            m["enough"] = enough and not m["gated"]
            m["testable"] = m["enough"] and not math.isnan(m["R"])
            least = 0.25 if line["must"] == "change" else 0.8
            m["maps"] = m["alive"] >= 0.8 and m["share"] >= least
        cells.append({"view": view, "similarity": similarity, "at": measured})
    return [decide_literally(cell, cells, alpha) for cell in cells]


def decide_literally(cell, cells, alpha):
    """One cell among all cells of its method."""
    every = [m for c in cells for m in c["at"]]
    outcome = outcome_of(cell["at"], every, alpha)
    return {**cell, "outcome": outcome}


def p_of(m, *, fail):
    """The p value of a FAIL (or of a PASS) of a measurement."""
    above = (m["line"]["must"] == "change") == fail
    return literal_p(m["interval"], m["line"]["threshold"], above=above)


def outcome_of(own, every, alpha):
    """PASS, FAIL, INCONCLUSIVE or UNINFORMATIVE."""
    if all(m["gated"] for m in own):
        return "INCONCLUSIVE"
    if min((m["planned"][0] for m in own if m["planned"][0]), default=0) < 4:
        return "INCONCLUSIVE"
    asked = [m for m in every if m["line"]["nothing"] and m["enough"]]
    unmoved = all(
        m["A"] >= 0.5
        and m["S"] >= m["A"] - 0.01 - 1e-9
        and not m["S"] - m["C"] < 0.8 * abs(m["A"] - m["C"]) - 1e-9
        for m in asked
    )
    if unmoved and any(m is o for m in asked for o in own):
        return "FAIL"
    tests = [m for m in every if m["testable"]]
    rejected = literal_holm([p_of(m, fail=True) for m in tests], alpha)
    if any(r and any(m is o for o in own) for m, r in zip(tests, rejected, strict=True)):
        return "FAIL"
    open_ones = [m for m in own if not m["gated"]]
    told = [m for m in every if m["between_ceiling"] >= 0.1]
    if told and all(m["between"] >= 0.95 * m["between_ceiling"] for m in told):
        return "UNINFORMATIVE"
    for m in open_ones:
        if m["planned"][1] < m["least draws"] and not math.isnan(m["R"]):
            continue
        if not (m["testable"] and m["maps"]):
            return "UNINFORMATIVE"
    if any(m["gated"] for m in own):
        return "INCONCLUSIVE"
    if min(m["n_draws"] for m in own) < own[0]["least draws"]:
        return "INCONCLUSIVE"
    if all(not m["no pass"] and p_of(m, fail=False) < alpha for m in own):
        return "PASS"
    return "INCONCLUSIVE"


def literal_headline(cells):
    """The worst outcome of the informative cells; UNINFORMATIVE where there are none."""
    found = {cell["outcome"] for cell in cells}
    for outcome in ("FAIL", "INCONCLUSIVE", "PASS"):
        if outcome in found:
            return outcome
    return "UNINFORMATIVE"


# the randomisation test proper


def literal_exchange(similar, networks):
    """(own, dev, p) from similar[k, l] (k < l): a list over images, None for a hole; every pair is there."""
    own = []
    for k in range(networks):
        values = []
        for other in range(networks):
            if other != k:
                values += [s for s in similar[min(k, other), max(k, other)] if s is not None]
        own.append(average(values))
    dev = [abs(own[k] - median(own[j] for j in range(networks) if j != k)) for k in range(networks)]
    return own, dev, sum(1 for x in dev if x >= dev[0] - 1e-9) / networks

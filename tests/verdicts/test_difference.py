"""The difference of two runs on shared images and draws, beside literal formulas and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from salsanity.records import CheckRecord, Line, Words
from salsanity.verdicts import Side, difference

PLACE = ("gradient", "absolute", "spearman")
WORDS = Words("A check", "?", "was caught", "was not caught")


def record(test: str = "retained") -> CheckRecord:
    return CheckRecord(
        name="c",
        words=WORDS,
        lines=(Line("full", "all", 0.2, "after everything"),),
        controls={},
        stages=({"name": "all", "index": 1},),
        states=("trained", "all"),
        draws=6,
        measures=("spearman",),
        test=test,
    )


def side(value: np.ndarray, chance: float = 0.1, images: range | None = None, **about: str) -> Side:
    """A run whose maps are alike by `value` (N, D); its ceiling is 1."""
    names = images or range(value.shape[0])
    rows = [
        ("c", d, "all", 1, f"i{names[i]:03}", *PLACE, value[i, d], chance, None)
        for i in range(value.shape[0])
        for d in range(value.shape[1])
    ]
    rows += [("c", 0, "self", 0, f"i{name:03}", *PLACE, 1.0, 0.1, None) for name in names]
    columns = ["check", "draw", "stage", "stage_index", "image", "method", "view", "similarity"]
    frame = pd.DataFrame(rows, columns=[*columns, "value", "chance", "reason"])
    return Side(frame, record(**about))


def drawn(
    rng: np.random.Generator, n: int = 12, d: int = 6, shift: float = 0.0
) -> tuple[Side, Side]:
    """Two runs that share their images (which differ much) and have draws of their own."""
    image = rng.normal(0, 0.2, (n, 1))
    own = [rng.normal(0, 0.05, (1, d)) + rng.normal(0, 0.05, (n, d)) for _ in range(2)]
    return side(0.5 + image + own[0]), side(0.5 + shift + image + own[1])


def test_the_difference_is_that_of_the_retained_similarities() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.2, 0.9, (2, 8, 5))
    found = difference(side(a), side(b), PLACE, "full")
    assert found is not None
    assert found.value == pytest.approx((b - 0.1).mean() / 0.9 - (a - 0.1).mean() / 0.9)
    assert (found.n_images, found.n_draws) == (8, 5)


def test_the_interval_is_the_two_way_one_of_the_differences() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0.2, 0.9, (2, 8, 6))
    z = (b - a) / 0.9  # the line below is 0.9 in every cell
    n, d = z.shape
    rows, columns, mean = z.mean(1), z.mean(0), z.mean()
    rest = z - rows[:, None] - columns[None, :] + mean
    v_i, v_d = rows.var(ddof=1) / n, columns.var(ddof=1) / d
    v_e = (rest**2).sum() / ((n - 1) * (d - 1)) / (n * d)
    v = max(v_i + v_d - v_e, v_i, v_d)
    if v == v_i + v_d - v_e:
        parts = v_i**2 / (n - 1) + v_d**2 / (d - 1) + v_e**2 / ((n - 1) * (d - 1))
        df = v**2 / parts
    else:
        df = (n if v == v_i else d) - 1
    half = stats.t.ppf(0.95, max(df, min(n, d) - 1)) * math.sqrt(v)
    found = difference(side(a), side(b), PLACE, "full")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))


def test_what_images_have_in_common_falls_out() -> None:
    found = difference(*drawn(np.random.default_rng(2)), PLACE, "full")
    assert found is not None
    assert found.high - found.low < 0.2  # unpaired, images alone would give about 0.3


def test_bounds_miss_no_more_often_than_they_may() -> None:
    rng = np.random.default_rng(3)
    found = [difference(*drawn(rng), PLACE, "full") for _ in range(300)]
    above = np.mean([one is not None and one.low > 0 for one in found])
    below = np.mean([one is not None and one.high < 0 for one in found])
    assert max(above, below) <= 0.085  # 5 % and two and a half standard errors


def test_twin_a_shift_is_found() -> None:
    rng = np.random.default_rng(4)
    found = [difference(*drawn(rng, shift=0.15), PLACE, "full") for _ in range(40)]
    assert np.mean([one is not None and one.is_clear for one in found]) > 0.6


def test_only_what_both_runs_have_is_compared() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.uniform(0.2, 0.9, (2, 8, 5))
    other = side(b[:6, :4], images=range(2, 8))
    found = difference(side(a), other, PLACE, "full")
    assert found is not None
    assert (found.n_images, found.n_draws) == (6, 4)
    assert found.value == pytest.approx((b[:6, :4] - a[2:, :4]).mean() / 0.9)


def test_holes_of_either_run_are_left_out_of_both() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.uniform(0.2, 0.9, (2, 8, 5))
    a[0, 0], b[1, 1] = math.nan, math.nan
    found = difference(side(a), side(b), PLACE, "full")
    assert found is not None
    known = np.isfinite(a) & np.isfinite(b)
    assert found.value == pytest.approx((b - a)[known].mean() / 0.9)


def test_nothing_is_said_where_nothing_can_be_compared() -> None:
    value = np.full((4, 3), 0.5)
    assert difference(side(value), side(value, images=range(10, 14)), PLACE, "full") is None
    assert difference(side(value), side(value), PLACE, "half") is None
    assert difference(side(value), side(value), ("x", *PLACE[1:]), "full") is None
    assert difference(side(value), side(value, test="statistic"), PLACE, "full") is None
    assert difference(side(value, chance=0.95), side(value), PLACE, "full") is None

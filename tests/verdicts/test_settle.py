"""The advice on how many more images or draws would settle a question."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from salsanity.records import Line
from salsanity.verdicts import settle
from salsanity.verdicts.intervals import interval_of, spread_of
from salsanity.verdicts.retained import Retained, measured
from salsanity.verdicts.settle import FACTOR, More
from salsanity.verdicts.words import wanted


def crossed(R, n, d, *, image=0.0, draw=0.0, residual=0.0, seed=0):
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 1, (n, 1)) * image + rng.normal(0, 1, (1, d)) * draw
    table = table + rng.normal(0, 1, (n, d)) * residual
    return R + table - table.mean()


def retained_of(z):
    """What a table of linearised R (NaN: holes) stands for."""
    used = np.isfinite(z)
    m = measured(z[used], used)
    R = m.mean
    ends = {"top": 1, "floor": 0, "interval": m.interval, "spread": m.spread, "alone": m.alone}
    return Retained(S=R, C=0, A=1, R=R, used=used, **ends)


def more_needed(z, threshold, *, must="change", **levels):
    line = Line("full", "full", threshold, "after", must=must)
    return settle.more_needed(retained_of(z), line, **levels)


def test_draw_noise_asks_for_draws():
    more = more_needed(
        crossed(0.1, 20, 4, draw=0.15, residual=0.02), 0.2, alpha_pass=0.05, alpha_fail=0.01
    )
    assert more.images is None
    assert more.draws is not None


def test_image_noise_asks_for_images():
    more = more_needed(
        crossed(0.1, 8, 5, image=0.4, residual=0.02), 0.2, alpha_pass=0.05, alpha_fail=0.01
    )
    assert more.draws is None
    assert more.images is not None


def share_settled(factor):
    """How often the bound is past the threshold in a new experiment with the advised draws."""
    true = {"image": 0.02, "draw": 0.12, "residual": 0.05}
    settled = []
    for seed in range(200):
        z = crossed(0.14, 20, 5, **true, seed=seed)
        more = more_needed(z, 0.2, alpha_pass=0.05, alpha_fail=0.01)
        if interval_of(z).bounds()[1] > 0.2 and more.draws is not None:
            d = 5 + round(factor * more.draws)
            again = crossed(0.14, 20, d, **true, seed=1000 + seed)
            settled.append(interval_of(again).bounds()[1] < 0.2)
    assert len(settled) > 50
    return np.mean(settled)


def test_the_advice_probably_settles_the_question_and_half_of_it_does_so_less_often():
    assert share_settled(1) > 0.5
    assert share_settled(0.3) < 0.35


def test_fewer_are_needed_the_further_away_the_threshold():
    z = crossed(0.1, 10, 4, draw=0.1, residual=0.05)
    near = more_needed(z, 0.16, alpha_pass=0.05, alpha_fail=0.05)
    far = more_needed(z, 0.19, alpha_pass=0.05, alpha_fail=0.05)
    assert near.draws > far.draws


def test_on_the_threshold_nothing_helps():
    z = np.full((5, 4), 0.25)
    none = More(None, None, None)
    assert more_needed(z, 0.25, alpha_pass=0.05, alpha_fail=0.05) == none
    assert more_needed(z - 0.1, 0.25, alpha_pass=None, alpha_fail=0.05) == none
    assert wanted(none) == "too close to the threshold for more images or draws to settle it"


def test_advice_stays_within_reason():
    z = crossed(0.2001, 10, 4, draw=0.2, image=0.2)
    more = more_needed(z, 0.2, alpha_pass=0.05, alpha_fail=0.05)
    assert more == More(None, None, None)
    assert FACTOR == 20


def test_maps_that_must_stay_are_settled_from_the_other_side():
    """Above the line a map that must stay is about to PASS, at a level of its own."""
    z = crossed(0.25, 10, 5, draw=0.1, residual=0.05)
    change = more_needed(z, 0.2, alpha_pass=0.05, alpha_fail=0.001)
    stay = more_needed(z, 0.2, alpha_pass=0.05, alpha_fail=0.001, must="stay")
    assert stay.draws < change.draws
    assert more_needed(z, 0.2, alpha_pass=None, alpha_fail=0.05, must="stay") == More(
        None, None, None
    )


def test_holes_count_in_planned_images_and_draws():
    """A table with holes at random wants more of the same kind, about one draw in (1 - share)."""
    rng = np.random.default_rng(0)
    z = crossed(0.13, 12, 6, draw=0.05, residual=0.3)
    whole = more_needed(z, 0.2, alpha_pass=0.05, alpha_fail=0.01)
    holes = np.where(rng.random(z.shape) < 0.5, np.nan, z)
    parts = settle.Components.of(retained_of(holes))
    assert parts.planned == (12, 6)
    assert parts.variance(12, 6) == pytest.approx(parts.grown(12, 6).variance)
    spread = spread_of(holes)
    same = parts.grown(12, 6)
    assert same.n == spread.n
    assert same.effective == pytest.approx(spread.effective)
    assert whole.draws is not None


def test_the_variance_at_the_present_size_is_that_of_the_interval():
    """Where no component is cut off at 0."""
    z = crossed(0.13, 12, 6, image=0.1, draw=0.1, residual=0.1)
    z[0, 1] = z[3, 4] = np.nan
    parts = settle.Components.of(retained_of(z))
    assert parts.variance(12, 6) == pytest.approx(interval_of(z).variance, rel=1e-9)


def test_where_one_column_is_all_images_are_advised():
    """Of a mean over images: t(n - 1) sd / sqrt(n) must fall below the gap."""
    column = crossed(0.15, 12, 1, image=0.15)
    more = more_needed(column, 0.2, alpha_pass=0.05, alpha_fail=0.01)
    assert more.draws is None
    sd = column.std(ddof=1)

    def half(n):
        return t.ppf(0.95, n - 1) * sd / np.sqrt(n)

    n = 12 + more.images
    assert half(n) < 0.05 <= half(n - 1)


def test_the_cheaper_comes_first():
    """Draws cost a map of every image, images one of every draw and one of the trained network."""
    more = more_needed(
        crossed(0.13, 12, 6, image=0.08, draw=0.08, residual=0.1),
        0.2,
        alpha_pass=0.05,
        alpha_fail=0.01,
    )
    assert more.images_cost == pytest.approx(more.images * 7 / (more.draws * 12))


def test_words():
    assert wanted(More(None, 1, None)) == "1 more draw would probably settle it"
    assert wanted(More(30, 4, (9, 9), 2.5)) == (
        "4 more draws or, at 2.5 times the cost, 30 more images would probably settle it"
    )
    assert wanted(More(3, 4, (9, 9), 0.5)) == (
        "3 more images or, at 2.0 times the cost, 4 more draws would probably settle it"
    )
    assert wanted(More(3, 4, (9, 9), 1.01)) == (
        "4 more draws or 3 more images would probably settle it"
    )
    pairs = ("pair of networks", "pairs of networks")
    assert wanted(More(3, 4, (9, 9), 0.5), pairs) == (
        "3 more images or 4 more pairs of networks would probably settle it"
    )
    assert wanted(More(None, None, (9, 3))) == (
        "9 more images together with 3 more draws would probably settle it"
    )

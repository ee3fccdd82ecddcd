"""The two-way interval against a literal reference, closed forms, and twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reference.verdict_literal import literal_holm, literal_interval
from salsanity.verdicts.intervals import Interval, holm, interval_of, spread_of


def crossed(seed, n, d, image=0.1, draw=0.1, residual=0.1):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, image, (n, 1)) + rng.normal(0, draw, (1, d))
    return 0.3 + z + rng.normal(0, residual, (n, d))


def with_holes(z, share, kind, seed):
    """`z` with NaN in a share of the cells: at random, in whole draws, or in whole images."""
    rng = np.random.default_rng(seed)
    n, d = z.shape
    shape = {"cells": (n, d), "draws": (1, d), "images": (n, 1)}[kind]
    return np.where(np.broadcast_to(rng.random(shape) < share, (n, d)), np.nan, z)


def listed(z):
    """A table as lists, None for NaN."""
    return [[None if math.isnan(x) else x for x in row] for row in z.tolist()]


def check_against_literal(interval, z):
    mean, v, df, low, high = literal_interval(listed(z))
    found = interval(z)
    assert found.mean == pytest.approx(mean, rel=1e-12)
    assert found.variance == pytest.approx(v, rel=1e-9)
    assert found.df == pytest.approx(df, rel=1e-9)
    assert found.bounds() == pytest.approx((low, high), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(2, 2), (4, 2), (3, 5), (50, 5)])
@pytest.mark.parametrize("sds", [(0.1, 0.1, 0.1), (0, 0, 0.1), (0.2, 0, 0.1), (0, 0.2, 0.1)])
def test_interval_equals_the_literal_reference(seed, shape, sds):
    check_against_literal(interval_of, crossed(seed, *shape, *sds))


@given(
    st.integers(0, 10**6),
    st.integers(2, 9),
    st.integers(2, 9),
    st.sampled_from([0.05, 0.2, 0.5, 0.8]),
    st.sampled_from(["cells", "draws", "images"]),
)
@settings(deadline=None)
def test_an_interval_of_a_table_with_holes_equals_the_literal_reference(seed, n, d, share, kind):
    z = with_holes(crossed(seed, n, d), share, kind, seed)
    literal = literal_interval(listed(z))
    if math.isnan(literal[1]):
        assert math.isnan(interval_of(z).variance)
    else:
        check_against_literal(interval_of, z)


def test_a_diagonal_of_cells_leaves_nothing_for_the_residual():
    """n - N - D + 1 < 1: images and draws cannot be told apart, and both count in full."""
    z = np.full((6, 6), np.nan)
    np.fill_diagonal(z, np.arange(6) / 10)
    spread = spread_of(z)
    assert (spread.residual, spread.left) == (0.0, -5)
    assert spread.images == pytest.approx(np.arange(6).var(ddof=1) / 100 / 6)
    assert interval_of(z).variance == pytest.approx(2 * spread.images)


def test_the_residual_is_that_of_least_squares():
    """Against numpy's least squares in all N + D unknowns."""
    z = with_holes(crossed(3, 12, 7), 0.3, "cells", 1)
    cells = np.argwhere(np.isfinite(z))
    design = np.zeros((len(cells), 19))
    design[np.arange(len(cells)), cells[:, 0]] = 1
    design[np.arange(len(cells)), 12 + cells[:, 1]] = 1
    u = z[np.isfinite(z)] - np.nanmean(z)
    fit = design @ np.linalg.lstsq(design, u, rcond=None)[0]
    n = len(cells)
    expected = np.sum((u - fit) ** 2) / (n - 12 - 7 + 1) / n
    assert spread_of(z).residual == pytest.approx(expected, rel=1e-9)
    assert spread_of(z.T).residual == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("d", "df"), [(2, 1), (3, 2), (4, 3)])
def test_few_draws_have_the_fewest_degrees_of_freedom(d, df):
    assert interval_of(crossed(0, 24, d)).df == df
    assert interval_of(crossed(0, 3, d)).df == min(2, df)
    assert interval_of(crossed(0, 24, 5)).df >= 4


def test_draws_are_counted_where_they_have_cells():
    """Five draws of which one is blank are four."""
    z = crossed(0, 10, 5)
    z[:, 2] = np.nan
    assert interval_of(z).df == 3


def _images_only(z):
    """A twin that takes the draws for fixed, as a t interval over images does."""
    by_image = z.mean(axis=1)
    n = len(by_image)
    return Interval(float(z.mean()), float(by_image.var(ddof=1) / n), n - 1.0)


def _all_independent(z):
    return Interval(float(z.mean()), float(z.var(ddof=1) / z.size), z.size - 1.0)


@pytest.mark.parametrize("twin", [_images_only, _all_independent])
def test_twins_that_forget_that_draws_are_random_fail(twin):
    with pytest.raises(AssertionError):
        check_against_literal(twin, crossed(0, 10, 5))


def test_closed_form_two_by_two():
    # image means 1 and 3, draw means 0 and 4, no residual: MS_i = 4, MS_d = 16, MS_e = 0, each over N D = 4
    z = np.array([[-1.0, 3.0], [1.0, 5.0]])
    spread = spread_of(z)
    assert (spread.images, spread.draws, spread.residual) == (1.0, 4.0, 0.0)
    assert spread.effective == spread.counted == (2, 2)
    found = interval_of(z)
    assert (found.variance, found.df) == (5, 1)
    half = stats.t.ppf(0.95, 1) * math.sqrt(5)
    assert found.bounds() == pytest.approx((2 - half, 2 + half))


def test_closed_form_with_five_draws():
    """A complete table has the mean squares of an analysis of variance, each over N D."""
    z = crossed(2, 4, 5)
    by_image, by_draw = z.mean(axis=1), z.mean(axis=0)
    rest = z - by_image[:, None] - by_draw + z.mean()
    ms = 5 * by_image.var(ddof=1), 4 * by_draw.var(ddof=1), np.sum(rest**2) / 12
    spread = spread_of(z)
    found = np.array([spread.images, spread.draws, spread.residual]) * 20
    np.testing.assert_allclose(found, ms, rtol=1e-12)
    both = ms[0] + ms[1] - ms[2]
    expected = both**2 / (ms[0] ** 2 / 3 + ms[1] ** 2 / 4 + ms[2] ** 2 / 12)
    assert spread.df == pytest.approx(max(expected, 3))


def test_draws_alone_give_students_interval_of_the_draw_means():
    by_draw = np.array([0.1, 0.4, 0.2, 0.5])
    found = interval_of(np.tile(by_draw, (6, 1)))
    expected = stats.t.interval(0.9, 3, loc=0.3, scale=stats.sem(by_draw))
    assert found.df == pytest.approx(3)
    assert found.bounds() == pytest.approx(expected)


def test_without_variance_both_bounds_are_the_mean():
    assert interval_of(np.full((5, 3), 0.1)).bounds() == (0.1, 0.1)


def test_holes_change_nothing_else():
    """A table with a blank image and a blank draw is the table without them."""
    z = crossed(1, 6, 5)
    wider = np.full((7, 6), np.nan)
    wider[1:, :5] = z
    assert interval_of(wider) == interval_of(z)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (0, 0)])
def test_one_image_or_one_draw_has_no_interval(shape):
    found = interval_of(np.ones(shape))
    assert all(math.isnan(b) for b in found.bounds())
    assert math.isnan(found.p_above(0.2))
    assert math.isnan(found.p_below(0.2))


@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(2, 6), st.floats(-0.5, 1))
def test_a_bound_passes_the_threshold_exactly_when_the_p_value_is_below_alpha(seed, n, d, at):
    found = interval_of(crossed(seed, n, d))
    low, high = found.bounds(0.05)
    if min(abs(low - at), abs(high - at)) > 1e-9:
        assert (found.p_above(at) < 0.05) == (low > at)
        assert (found.p_below(at) < 0.05) == (high < at)
    assert found.p_above(at) + found.p_below(at) == pytest.approx(1)


def test_p_values_without_variance():
    found = interval_of(np.full((5, 3), 0.2))
    assert (found.p_above(0.1), found.p_below(0.1)) == (0.0, 1.0)
    assert (found.p_above(0.2), found.p_below(0.2)) == (1.0, 1.0)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-2, 2))
def test_bounds_follow_scale_and_shift(seed, scale, shift):
    z = crossed(seed, 6, 4)
    low, high = interval_of(z).bounds()
    expected = (scale * low + shift, scale * high + shift)
    assert interval_of(scale * z + shift).bounds() == pytest.approx(expected, abs=1e-9)


@given(st.permutations(range(5)), st.permutations(range(4)))
def test_the_order_of_images_and_draws_does_not_matter(images, draws):
    z = crossed(7, 5, 4)
    again = interval_of(z[np.ix_(images, draws)])
    assert again.bounds() == pytest.approx(interval_of(z).bounds())


@given(st.lists(st.floats(0, 0.2), max_size=8))
def test_holm_is_the_literal_rule(p_values):
    assert holm(p_values) == literal_holm(p_values)


def check_holm(correct):
    assert correct([0.04, 0.001, 0.02, 0.012]) == [True, True, True, True]
    assert correct([0.04, 0.03, 0.001]) == [False, False, True]
    assert correct([0.03, 0.03]) == [False, False]


def test_holm_by_hand_and_twins_without_correction_or_with_bonferroni_fail():
    check_holm(holm)
    for twin in (
        lambda ps: [p < 0.05 for p in ps],
        lambda ps: [p < 0.05 / len(ps) for p in ps],
    ):
        with pytest.raises(AssertionError):
            check_holm(twin)

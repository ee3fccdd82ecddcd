"""The two-way interval against a literal reference, closed forms, and twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reference.verdict_literal import literal_holm, literal_interval
from salsanity.verdicts.intervals import Interval, holm, interval_of, mean_squares


def crossed(seed, n, d, image=0.1, draw=0.1, residual=0.1):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, image, (n, 1)) + rng.normal(0, draw, (1, d))
    return 0.3 + z + rng.normal(0, residual, (n, d))


def check_against_literal(interval, z):
    mean, v, df, low, high = literal_interval(z.tolist())
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
    # image means 1 and 3, draw means 0 and 4, no residual: MS_i = 4, MS_d = 16, MS_e = 0
    z = np.array([[-1.0, 3.0], [1.0, 5.0]])
    squares = mean_squares(z)
    assert (squares.images, squares.draws, squares.residual) == (4.0, 16.0, 0.0)
    found = interval_of(z)
    assert found.variance == 20 / 4
    assert found.df == pytest.approx(20**2 / (4**2 + 16**2))
    half = stats.t.ppf(0.95, found.df) * math.sqrt(5)
    assert found.bounds() == pytest.approx((2 - half, 2 + half))


def test_draws_alone_give_students_interval_of_the_draw_means():
    by_draw = np.array([0.1, 0.4, 0.2, 0.5])
    found = interval_of(np.tile(by_draw, (6, 1)))
    expected = stats.t.interval(0.9, 3, loc=0.3, scale=stats.sem(by_draw))
    assert found.df == pytest.approx(3)
    assert found.bounds() == pytest.approx(expected)


def test_without_variance_both_bounds_are_the_mean():
    assert interval_of(np.full((5, 3), 0.1)).bounds() == (0.1, 0.1)


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

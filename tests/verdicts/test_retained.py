"""Retained similarity: what a hole is, against which line, and what is counted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.verdict_frames import around, ceiling_rows, cell_frame, joined, stage_rows
from reference.verdict_literal import literal_ratio
from salsanity.errors import StoreError
from salsanity.verdicts.intervals import interval_of
from salsanity.verdicts.retained import linearised, retained_similarity
from salsanity.verdicts.table import StageTable, read_scores

nan = math.nan


def table_of(value, chance, ceiling) -> StageTable:
    value = np.asarray(value, dtype=float)
    ceiling = np.broadcast_to(np.asarray(ceiling, dtype=float), value.shape[:1])
    nothing, draws = np.full(len(value), nan), np.arange(value.shape[1])
    return StageTable(value, np.broadcast_to(chance, value.shape), ceiling, {}, nothing, draws)


def read(frame, stage="full"):
    index = read_scores(frame, check="cascade")
    return index.table(("gradient", "signed", "spearman"), stage)


def check_a_hole_is_only_its_cell(measure):
    """One dead map in each draw, each of another image: nothing else is lost."""
    value = np.full((5, 5), 0.5)
    np.fill_diagonal(value, nan)
    value[0, 1] = 1.0
    kept = measure(table_of(value, 0.0, 1.0))
    assert (kept.n_used, kept.n_images, kept.n_draws) == (20, 5, 5)
    assert pytest.approx((19 * 0.5 + 1.0) / 20) == kept.R
    assert (kept.share, kept.blank, kept.alive) == (0.8, 0.2, 1.0)


def test_a_hole_is_only_its_cell_and_twins_that_drop_more_or_score_it_0_fail():
    check_a_hole_is_only_its_cell(retained_similarity)

    def listwise(table):
        whole = np.isfinite(table.value).all(axis=1)
        return retained_similarity(replace(table, value=np.where(whole[:, None], table.value, nan)))

    def zero(table):
        return retained_similarity(replace(table, value=np.nan_to_num(table.value)))

    for twin in (listwise, zero):
        with pytest.raises(AssertionError):
            check_a_hole_is_only_its_cell(twin)


def test_blank_maps_are_counted_where_the_trained_network_has_one():
    value = np.full((5, 4), 0.5)
    value[0] = nan  # the trained network has no map
    value[1, :2] = nan
    kept = retained_similarity(table_of(value, 0.0, [nan, 1, 1, 1, 1]))
    assert kept.alive == pytest.approx(0.8)
    assert kept.blank == pytest.approx(2 / 16)
    assert kept.n_used == 14


@pytest.mark.parametrize("where", ["value", "chance", "ceiling"])
@pytest.mark.parametrize("bad", [nan, math.inf])
def test_an_image_is_undefined_when_any_of_its_scores_is(where, bad):
    value, chance, ceiling = np.full((4, 2), 0.6), np.full((4, 2), 0.2), np.full(4, 1.0)
    {"value": value, "chance": chance, "ceiling": ceiling}[where][1] = bad
    kept = retained_similarity(table_of(value, chance, ceiling))
    assert (kept.n_images, kept.n_used) == (3, 6)
    np.testing.assert_allclose(kept.R, 0.5)


def check_same_images(measure):
    """The ceiling and chance of an image that was dropped must not count."""
    value = np.array([[0.4, 0.4], [0.4, 0.4], [nan, nan], [0.4, 0.4]])
    chance = np.array([[0.0, 0.0], [0.0, 0.0], [0.9, 0.9], [0.0, 0.0]])
    ceiling = np.array([0.8, 0.8, 0.1, 0.8])
    assert measure(value, chance, ceiling) == pytest.approx(0.5)


def test_S_C_and_A_use_the_same_images_and_a_twin_that_does_not_fails():
    check_same_images(lambda S, C, A: retained_similarity(table_of(S, C, A)).R)

    def careless(S, C, A):
        return (np.nanmean(S) - C.mean()) / (A.mean() - C.mean())

    with pytest.raises(AssertionError):
        check_same_images(careless)


def random_tables(seed, n=7, d=4):
    rng = np.random.default_rng(seed)
    A = rng.uniform(0.7, 1.0, n)
    return rng.uniform(0.2, 0.8, (n, d)), rng.uniform(0.0, 0.3, (n, d)), A


@pytest.mark.parametrize("seed", range(5))
def test_R_and_its_interval_equal_the_literal_reference(seed):
    S, C, A = random_tables(seed)
    S[seed, 1] = S[0, 2] = nan
    kept = retained_similarity(table_of(S, C, A))
    holes = ~np.isfinite(S)
    change, line = (
        [
            [None if h else x for x, h in zip(*rows, strict=True)]
            for rows in zip(t.tolist(), holes, strict=True)
        ]
        for t in (S - C, A[:, None] - C)
    )
    R, z = literal_ratio(change, line)
    np.testing.assert_allclose(kept.R, R, rtol=1e-12)
    table = np.array([[nan if x is None else x for x in row] for row in z])
    assert kept.interval.bounds() == pytest.approx(interval_of(table).bounds(), rel=1e-9)


def test_by_hand():
    kept = retained_similarity(table_of([[0.5, 0.7], [0.3, 0.1]], 0.2, [1.0, 0.8]))
    # S = .4, C = .2, A = .9: R = .2 / .7
    np.testing.assert_allclose(kept.R, 2 / 7)
    z = linearised(np.array([0.3, 0.5, 0.1, -0.1]), np.array([0.8, 0.8, 0.6, 0.6]))
    assert z[0] == pytest.approx(2 / 7 + (0.3 - 2 / 7 * 0.8) / 0.7)
    assert z.mean() == pytest.approx(2 / 7)


def test_with_a_hole_by_hand():
    kept = retained_similarity(table_of([[0.5, nan], [0.3, 0.1]], 0.2, [1.0, 0.8]))
    # sums over three cells: S - C = .3 + .1 - .1, A - C = .8 + .6 + .6
    np.testing.assert_allclose(kept.R, 0.3 / 2.0)
    assert pytest.approx((1.0 + 0.8 + 0.8) / 3) == kept.A


@given(st.floats(0.1, 5), st.floats(-1, 1))
def test_R_does_not_change_when_all_similarities_are_scaled_and_shifted(scale, shift):
    S, C, A = random_tables(3)
    change, line = S - C, A[:, None] - C
    moved = scale * S + shift - (scale * C + shift)
    moved_line = (scale * A + shift)[:, None] - (scale * C + shift)
    np.testing.assert_allclose(linearised(moved, moved_line), linearised(change, line), rtol=1e-9)


def test_R_is_nan_where_there_is_no_room_to_fall():
    kept = retained_similarity(table_of(np.full((4, 3), 0.95), 0.92, 1.0))
    assert math.isnan(kept.R)
    assert kept.spread is None
    assert all(math.isnan(b) for b in kept.interval.bounds())


def test_nothing_kept_is_nan_not_an_error():
    kept = retained_similarity(table_of(np.full((3, 2), nan), 0.0, 1.0))
    assert kept.n_images == kept.n_draws == 0
    assert math.isnan(kept.S)
    assert kept.share == 0
    assert (kept.blank, kept.alive) == (1, 1)


def test_undefined_scores_are_counted_with_their_reasons():
    full = np.full((5, 2), 0.5)
    full[0, 0] = full[3, 1] = nan
    frame = cell_frame(full, reason="constant map")
    frame.loc[(frame["stage"] == "full") & (frame["image"] == f"{4:064x}"), "chance"] = nan
    assert read(frame).undefined == {"constant map": 2, "undefined chance": 2}


def test_a_ceiling_that_is_undefined_counts_for_every_draw():
    frame = cell_frame(np.full((5, 3), 0.5), A=[1, 1, nan, 1, 1])
    assert read(frame).undefined == {"undefined ceiling": 3}


def test_likeness_to_other_images_is_the_chance_of_the_reference():
    frame = cell_frame(np.full((5, 3), 0.5), A=0.9, between=[0.2, 0.4, nan, 0.2, 0.4])
    assert retained_similarity(read(frame)).between == pytest.approx((0.3, 0.9))
    assert math.isnan(retained_similarity(read(cell_frame(np.full((5, 3), 0.5)))).between[0])


def test_missing_rows_are_undefined_and_said_to_be_missing():
    frame = cell_frame(np.full((5, 3), 0.5))
    gone = (frame["stage"] == "full") & (frame["image"] == f"{2:064x}") & (frame["draw"] == 1)
    table = read(frame[~gone])
    assert table.shape == (5, 3)
    assert table.undefined == {"missing score": 1}


def test_rows_missing_in_one_cell_only_are_undefined_there():
    other = stage_rows(np.full((6, 2), 0.1), 0.0, stage="full", view="absolute")
    frame = joined([cell_frame(np.full((4, 2), 0.5)), other, ceiling_rows(6, view="absolute")])
    assert read(frame).shape == (6, 2)
    assert read(frame).undefined == {"missing score": 4}


def test_the_order_of_rows_and_identical_doubles_change_nothing():
    S, C, A = random_tables(1)
    frame = cell_frame(S, chance=C, A=A)
    once = retained_similarity(read(frame))
    shuffled = joined([frame, frame.iloc[::3]]).sample(frac=1, random_state=5)
    again = retained_similarity(read(shuffled))
    assert again.R == once.R
    assert again.interval == once.interval


def test_two_different_scores_for_one_map_are_an_error():
    frame = cell_frame(np.full((4, 2), 0.5))
    other = frame.iloc[-1:].assign(value=0.6)
    with pytest.raises(StoreError, match="two different ones for gradient at stage full"):
        read(joined([frame, other]))


def test_absent_columns_are_named():
    frame = cell_frame(np.full((4, 2), 0.5)).drop(columns=["chance", "view"])
    with pytest.raises(StoreError, match="view, chance"):
        read(frame)


def test_rows_of_another_check_do_not_count():
    frame = cell_frame(np.full((4, 2), 0.5))
    other = frame.assign(check="labels", value=0.9)
    assert retained_similarity(read(joined([frame, other]))).S == 0.5


def test_categorical_columns_read_the_same():
    frame = cell_frame(around(0.3), half=around(0.6))
    names = ["check", "stage", "image", "method", "view", "similarity", "reason"]
    packed = frame.astype(dict.fromkeys(names, "category"))
    assert retained_similarity(read(packed)).interval == retained_similarity(read(frame)).interval

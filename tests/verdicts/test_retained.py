"""Retained similarity against a literal reading of SCIENCE, section 5."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reference.verdict_frames import around, ceiling_rows, cell_frame, joined, stage_rows
from reference.verdict_literal import literal_complete, literal_retained, literal_z
from salsanity.errors import StoreError
from salsanity.verdicts.retained import complete, linearised, retained_similarity
from salsanity.verdicts.table import StageTable, read_scores

nan = math.nan


def table_of(value, chance, ceiling) -> StageTable:
    value = np.asarray(value, dtype=float)
    return StageTable(
        value, np.broadcast_to(chance, value.shape), np.broadcast_to(ceiling, value.shape[:1]), {}
    )


def read(frame, stage="full"):
    return read_scores(frame, check="model_randomization").at(
        "gradient", stage, "signed", "spearman"
    )


@given(hnp.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 6))))
def test_complete_is_the_literal_rule(defined):
    images, draws = complete(defined)
    literal_images, literal_draws = literal_complete(defined.tolist())
    assert list(np.flatnonzero(images)) == literal_images
    assert list(np.flatnonzero(draws)) == literal_draws
    assert defined[np.ix_(images, draws)].all()


def check_half_undefined_draw_stays(choose):
    defined = np.array([[True, False], [True, False], [True, True], [True, True]])
    images, draws = choose(defined)
    assert draws.tolist() == [True, True]
    assert images.tolist() == [False, False, True, True]


def test_a_draw_with_exactly_half_of_the_images_stays_and_a_twin_that_drops_it_fails():
    check_half_undefined_draw_stays(complete)

    def strict(defined):
        draws = 2 * (~defined).sum(axis=0) < defined.shape[0]
        return defined[:, draws].all(axis=1), draws

    with pytest.raises(AssertionError):
        check_half_undefined_draw_stays(strict)


def test_the_bad_draw_goes_before_the_images():
    value = np.full((5, 3), 0.5)
    value[:3, 1] = nan  # draw 1 lacks 3 of 5 images
    value[4, 2] = nan  # image 4 lacks a remaining draw
    kept = retained_similarity(table_of(value, 0.0, 1.0))
    assert (kept.n_images, kept.n_draws) == (4, 2)
    assert kept.share == 8 / 15


@pytest.mark.parametrize("where", ["value", "chance", "ceiling"])
@pytest.mark.parametrize("bad", [nan, math.inf])
def test_an_image_is_undefined_when_any_of_its_scores_is(where, bad):
    value, chance, ceiling = np.full((4, 2), 0.6), np.full((4, 2), 0.2), np.full(4, 1.0)
    {"value": value, "chance": chance, "ceiling": ceiling}[where][1] = bad
    kept = retained_similarity(table_of(value, chance, ceiling))
    assert kept.n_images == 3
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
def test_R_and_z_equal_the_literal_reference(seed):
    S, C, A = random_tables(seed)
    kept = retained_similarity(table_of(S, C, A))
    np.testing.assert_allclose(
        kept.R, literal_retained(S.tolist(), C.tolist(), A.tolist()), rtol=1e-12
    )
    np.testing.assert_allclose(kept.z, literal_z(S.tolist(), C.tolist(), A.tolist()), rtol=1e-12)
    assert kept.z.mean() == pytest.approx(kept.R, rel=1e-12)


def test_by_hand():
    kept = retained_similarity(table_of([[0.5, 0.7], [0.3, 0.1]], 0.2, [1.0, 0.8]))
    # S = .4, C = .2, A = .9: R = .2 / .7
    np.testing.assert_allclose(kept.R, 2 / 7)
    assert kept.z[0, 0] == pytest.approx(2 / 7 + (0.3 - 2 / 7 * 0.8) / 0.7)


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
    assert not kept.informative
    assert np.isnan(kept.z).all()


def test_nothing_kept_is_nan_not_an_error():
    kept = retained_similarity(table_of(np.full((3, 2), nan), 0.0, 1.0))
    assert kept.n_images == kept.n_draws == 0
    assert math.isnan(kept.S)
    assert kept.share == 0
    assert not kept.informative


def test_undefined_scores_are_counted_with_their_reasons():
    full = np.full((5, 2), 0.5)
    full[0, 0] = full[3, 1] = nan
    frame = cell_frame(full, reason="constant map")
    frame.loc[(frame["stage"] == "full") & (frame["image"] == f"{4:064x}"), "chance"] = nan
    assert read(frame).undefined == {"constant map": 2, "undefined chance": 2}


def test_a_ceiling_that_is_undefined_counts_for_every_draw():
    frame = cell_frame(np.full((5, 3), 0.5), A=[1, 1, nan, 1, 1])
    assert read(frame).undefined == {"undefined ceiling": 3}


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
    np.testing.assert_array_equal(again.z, once.z)


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
    other = frame.assign(check="data_randomization", value=0.9)
    assert retained_similarity(read(joined([frame, other]))).S == 0.5


def test_categorical_columns_read_the_same():
    frame = cell_frame(around(0.3), half=around(0.6))
    names = ["check", "stage", "image", "method", "view", "similarity", "reason"]
    packed = frame.astype(dict.fromkeys(names, "category"))
    np.testing.assert_array_equal(
        retained_similarity(read(packed)).z, retained_similarity(read(frame)).z
    )

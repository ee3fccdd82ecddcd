"""Similarity by stage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reference.verdict_frames import (
    around,
    cascade_record,
    cell_frame,
    joined,
    label_frame,
    labels_record,
    stage_rows,
)
from salsanity.verdicts import curves, judge
from salsanity.verdicts.intervals import interval_of

RECORD = cascade_record()


def test_rows_follow_the_stages_and_repeat_the_verdicts_numbers():
    frame = cell_frame(around(0.1), around(0.5, seed=2), chance=0.05, A=0.9)
    found = curves(frame, RECORD)
    assert found["stage"].tolist() == ["half", "full"]
    assert found["stage_index"].tolist() == [2, 4]
    _, cell = judge(frame, RECORD, methods=["gradient"], controls=())
    full = found.iloc[1]
    assert (full["R"], full["low"], full["high"]) == (cell.retained, *cell.retained_ci)
    assert (full["S"], full["C"], full["A"]) == pytest.approx((0.1, 0.05, 0.9))


def test_raw_similarity_has_an_interval_too():
    table = around(0.3)
    row = curves(cell_frame(table), RECORD).iloc[0]
    assert (row["S_low"], row["S_high"]) == pytest.approx(interval_of(table).bounds())


def test_gallery_stages_of_one_draw_have_no_interval():
    gallery = stage_rows(np.full((4, 1), 0.7), 0.0, stage="conv1", stage_index=3)
    found = curves(joined([cell_frame(around(0.1)), gallery]), RECORD).set_index("stage")
    assert found.loc["conv1", "R"] == pytest.approx(0.7)
    assert math.isnan(found.loc["conv1", "low"])
    assert found.loc["conv1", "n_images"] == 4


def test_all_cells_are_there_once():
    frame = joined(
        cell_frame(around(0.1), around(0.2), method=m, view=v, similarity=s)
        for m in ("gradient", "vargrad")
        for v in ("signed", "absolute")
        for s in ("ssim", "spearman")
    )
    found = curves(frame.sample(frac=1, random_state=0), RECORD)
    assert len(found) == 2 * 2 * 2 * 2
    assert not found.duplicated(["method", "view", "similarity", "stage"]).any()
    assert found["similarity"].tolist()[:4] == ["spearman", "spearman", "ssim", "ssim"]


def test_labels_have_similarities_but_no_ratio_by_stage():
    frame = label_frame(around(0.2, d=4), around(0.6, d=1))
    found = curves(frame, labels_record()).set_index("stage")
    assert found.loc["TT", "S"] == pytest.approx(0.6)
    assert found.loc["TP", "S"] == pytest.approx(0.2)
    assert found["R"].isna().all()


def test_holes_are_left_out_of_the_raw_similarity_too():
    table = around(0.3)
    table[0, 1] = table[3, 2] = math.nan
    row = curves(cell_frame(table), RECORD).iloc[0]
    assert row["S"] == pytest.approx(np.nanmean(table))
    assert (row["S_low"], row["S_high"]) == pytest.approx(interval_of(table).bounds())
    assert row["n_undefined"] == 2


def test_no_rows_give_an_empty_frame_with_the_columns():
    assert len(curves(cell_frame(around(0.1)).iloc[:0], RECORD)) == 0

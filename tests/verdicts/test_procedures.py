"""Lines that maps must not cross the other way, and tests other than retained similarity."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from reference.verdict_frames import around, ceiling_rows, joined, record_of, stage_rows
from reference.verdict_literal import literal_interval
from salsanity.errors import StoreError
from salsanity.records import Line, Outcome, Words
from salsanity.verdicts import curves, distrust, judge

nan = math.nan
PASS, FAIL = Outcome.PASS, Outcome.FAIL
INCONCLUSIVE, UNINFORMATIVE = Outcome.INCONCLUSIVE, Outcome.UNINFORMATIVE


# maps that must stay

STAY = record_of(
    Line("shifted", "shift", 0.9, "after a constant is added and absorbed", must="stay"),
    name="shift",
    controls={"edge": PASS, "noise": FAIL},
)


def shift_frame(R, *, A=1.0, chance=0.1, **cell):
    table = R if np.ndim(R) else around(R, seed=3)
    cell = {"check": "shift", **cell}
    value = chance + table * (np.broadcast_to(A, (len(table),))[:, None] - chance)
    return joined(
        [ceiling_rows(len(table), A=A, **cell), stage_rows(value, chance, stage="shift", **cell)]
    )


def stay_cell(R, **options):
    _, cell = judge(shift_frame(R, **options), STAY, methods=["gradient"], controls=())
    return cell


@pytest.mark.parametrize(
    ("R", "outcome"), [(1.0, PASS), (0.95, PASS), (0.9, INCONCLUSIVE), (0.8, FAIL), (0.0, FAIL)]
)
def test_maps_that_must_stay_mirror_those_that_must_change(R, outcome):
    cell = stay_cell(R)
    assert cell.outcome is outcome
    assert cell.kept[0].must == "stay"
    mirrored = replace(STAY, lines=(replace(STAY.lines[0], must="change"),))
    _, other = judge(shift_frame(R), mirrored, methods=["gradient"], controls=())
    swap = {PASS: FAIL, FAIL: PASS}
    assert other.outcome is swap.get(outcome, outcome)


def test_maps_that_stay_are_equal_to_rounding():
    same = np.ones((6, 3))
    assert stay_cell(same).outcome is PASS
    assert stay_cell(np.ones((6, 1))).outcome is INCONCLUSIVE, "one draw"


def test_the_headline_of_maps_that_stay_names_the_least():
    frame = joined([shift_frame(0.99), shift_frame(0.96, view="absolute")])
    top = judge(frame, STAY, methods=["gradient"], controls=())[0]
    assert top.outcome is PASS
    assert top.reason.startswith("was not caught: all 2 cells pass; the least that stays: absolute")
    assert "noise" not in top.reason, "here pure noise fails"
    frame = joined([shift_frame(0.3), shift_frame(0.1, view="absolute")])
    top = judge(frame, STAY, methods=["gradient"], controls=())[0]
    assert top.reason.startswith(
        "absolute Spearman retains 0.10 of its similarity after a constant"
    )


def test_a_map_that_went_blank_did_not_stay():
    """Where maps must change a hole may be a chance; where they must stay it is the finding."""
    table = around(1.0)
    table[:, :2] = nan
    cell = stay_cell(table)
    assert cell.outcome is UNINFORMATIVE
    assert cell.blank_changed == pytest.approx(0.4)


def test_an_open_question_is_settled_from_its_own_side():
    wide = around(0.88, spread=0.1)
    assert "would probably settle it" in stay_cell(wide).reason
    barely = around(0.86, spread=0.05, n=8, d=5)
    cells = [shift_frame(0.97, similarity=s, view=v) for s in ("ssim", "hog") for v in ("signed", "absolute")]  # fmt: skip
    found = judge(joined([shift_frame(barely), *cells]), STAY, methods=["gradient"], controls=())
    (cell,) = (v for v in found if v.similarity == "spearman")
    if cell.outcome is INCONCLUSIVE and cell.retained_ci[1] < 0.9:
        assert "below the threshold alone but not after Holm's correction" in cell.reason


def test_controls_of_maps_that_must_stay():
    frame = joined([shift_frame(np.ones((8, 4)), method="edge"), shift_frame(around(0.0), method="noise")])  # fmt: skip
    found = judge(frame, STAY, methods=[], controls=["edge", "noise"])
    assert distrust(found, STAY) == []


# a statistic of one map

ENTROPY = record_of(
    Line("full", "full", 0.0, "after all layers are randomised"),
    name="entropy",
    test="statistic",
    measures=("entropy",),
    controls={},
)


def statistic_frame(changed, reference, check="entropy"):
    cell = {"check": check, "similarity": "entropy", "view": "absolute"}
    rows = stage_rows(changed, nan, stage="full", stage_index=4, **cell)
    return joined([ceiling_rows(len(changed), A=reference, **cell), rows])


def entropies(seed=0, n=8, d=5):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(2.0, 3.0, n)
    return reference[:, None] * (1.2 + 0.05 * rng.normal(size=(n, d))), reference


def check_relative_change(measure):
    changed, reference = entropies()
    changed[2, 3] = nan
    z = [
        [None if math.isnan(v) else (v - r) / r for v in row]
        for row, r in zip(changed.tolist(), reference.tolist(), strict=True)
    ]
    mean, _, _, low, high = literal_interval(z)
    found = measure(statistic_frame(changed, reference))
    assert found.retained == pytest.approx(mean, rel=1e-12)
    assert found.retained_ci == pytest.approx((low, high), rel=1e-9)


def statistic_cell(frame):
    return judge(frame, ENTROPY, methods=["gradient"], controls=())[1]


def test_a_statistic_is_measured_and_never_judged():
    check_relative_change(statistic_cell)
    as_similarity = replace(ENTROPY, test="retained")
    with pytest.raises(AssertionError):
        check_relative_change(
            lambda frame: judge(frame, as_similarity, methods=["gradient"], controls=())[1]
        )
    changed, reference = entropies()
    top, cell = judge(statistic_frame(changed, reference), ENTROPY, methods=["gradient"], controls=())  # fmt: skip
    assert {top.outcome, cell.outcome} == {UNINFORMATIVE}
    assert cell.reason.startswith(
        "a measurement without a verdict: absolute entropy changes by +0.2"
    )
    assert (cell.n_undefined, cell.n_used) == (0, 40)


def test_undefined_statistics_are_counted():
    changed, reference = entropies()
    changed[0, 0], reference[3] = nan, nan
    cell = statistic_cell(statistic_frame(changed, reference))
    assert (cell.n_undefined, cell.n_used) == (1 + 5, 40 - 6)
    assert cell.blank_reference == pytest.approx(1 / 8)
    nothing = statistic_cell(statistic_frame(changed * nan, reference))
    assert "no map has one" in nothing.reason


# a planted cue

SHORTCUT = record_of(
    Line("cue", "cue", 0.1, "that the label follows", must="stay"),
    name="shortcut",
    test="cue",
    measures=("mass",),
    controls={"edge": FAIL, "noise": FAIL},
    words=Words(
        "", "", "", "", draw=("pair of networks", "pairs of networks"), scope="of these only"
    ),
)


def cue_frame(cue, plain, method="gradient"):
    cell = {"check": "shortcut", "similarity": "mass", "view": "absolute", "method": method}
    return stage_rows(cue, plain, stage="cue", stage_index=1, **cell)


def cue_cell(cue, plain):
    return judge(cue_frame(cue, plain), SHORTCUT, methods=["gradient"], controls=())[1]


@pytest.mark.parametrize(
    ("cue", "outcome"), [(0.5, PASS), (0.05, FAIL), (0.13, INCONCLUSIVE), (1.0, PASS)]
)
def test_a_map_must_show_the_cue(cue, outcome):
    q = around(cue, n=10, d=4, spread=0.02)
    cell = cue_cell(q, 0.04)
    assert cell.outcome is outcome
    assert cell.retained == pytest.approx((cue - 0.04) / (1 - 0.04))


def test_the_share_is_of_what_the_plain_network_leaves():
    rng = np.random.default_rng(0)
    cue, plain = rng.uniform(0.4, 0.6, (8, 4)), rng.uniform(0.0, 0.2, (8, 4))
    cue[1, 2] = plain[3, 0] = nan
    used = np.isfinite(cue) & np.isfinite(plain)
    cell = cue_cell(cue, plain)
    assert cell.retained == pytest.approx((cue - plain)[used].sum() / (1 - plain)[used].sum())
    assert (cell.n_used, cell.n_undefined) == (30, 2)
    assert cell.blank_changed == pytest.approx(1 / 32)
    assert cell.blank_reference == pytest.approx(1 / 32)


def test_the_reason_gives_both_shares_so_that_edges_are_seen():
    reason = cue_cell(np.full((6, 4), 0.6), np.full((6, 4), 0.2)).reason
    assert reason.startswith("absolute mass shows 0.50 of the cue that the label follows")
    assert "0.60 of the map lies on it, 0.20 where it means nothing" in reason


def test_controls_hide_the_cue():
    same = np.random.default_rng(0).uniform(0.1, 0.3, (8, 4))
    noise = around(0.05, n=8, d=4)
    frame = joined([cue_frame(same, same, "edge"), cue_frame(noise, noise[::-1], "noise")])
    found = judge(frame, SHORTCUT, methods=[], controls=["edge", "noise"])
    assert distrust(found, SHORTCUT) == []


def test_it_speaks_of_these_networks_only():
    top = judge(cue_frame(np.full((6, 4), 0.6), 0.1), SHORTCUT, methods=["gradient"], controls=())[0]  # fmt: skip
    assert top.reason.startswith("was not caught: absolute mass shows")
    assert top.reason.endswith("; of these only")


# any test


def test_an_unknown_test_is_refused():
    record = replace(STAY, test="astrology")
    with pytest.raises(StoreError, match="expected a test among retained, exchange"):
        judge(shift_frame(0.5), record, methods=["gradient"], controls=())


def test_curves_measure_what_the_test_does():
    changed, reference = entropies()
    row = curves(statistic_frame(changed, reference), ENTROPY).iloc[0]
    assert row["R"] == pytest.approx(0.2, abs=0.05)
    assert row["A"] == pytest.approx(reference.mean())
    row = curves(cue_frame(np.full((6, 4), 0.6), 0.2), SHORTCUT).iloc[0]
    assert (row["S"], row["C"], row["R"]) == pytest.approx((0.6, 0.2, 0.5))

"""Every outcome of a check whose maps must change, and the reasons."""

from __future__ import annotations

import math
import re
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from reference.verdict_frames import CONTROLS, around, cascade_record, cell_frame, joined, record_of
from salsanity.records import Line, Outcome
from salsanity.verdicts import Gate, accuracy_gate, collapse_gates, distrust, judge, words
from salsanity.verdicts.answers import Answer
from salsanity.verdicts.retained import retained_similarity
from salsanity.verdicts.table import read_scores

nan = math.nan
PASS, FAIL = Outcome.PASS, Outcome.FAIL
INCONCLUSIVE, UNINFORMATIVE = Outcome.INCONCLUSIVE, Outcome.UNINFORMATIVE


def verdicts_of(frame, *, record=None, methods=("gradient",), controls=(), **options):
    record = record or cascade_record()
    return judge(frame, record, methods=methods, controls=controls, **options)


def cell_of(frame, **options):
    """The only cell of the only method."""
    _, cell = verdicts_of(frame, **options)
    return cell


def two_stages(full, half=0.1, **options):
    return cell_frame(
        full if np.ndim(full) else around(full, seed=1),
        half=half if np.ndim(half) else around(half, seed=2),
        **options,
    )


@pytest.mark.parametrize(
    ("full", "half", "outcome"),
    [
        (0.05, 0.30, PASS),
        (0.50, 0.30, FAIL),
        (0.05, 0.95, FAIL),
        (0.20, 0.30, INCONCLUSIVE),
        (0.05, 0.75, INCONCLUSIVE),
        (0.20, 0.95, FAIL),
    ],
)
def test_outcomes_of_planted_retained_similarities(full, half, outcome):
    assert cell_of(two_stages(full, half)).outcome is outcome


def test_the_numbers_of_a_verdict():
    cell = cell_of(two_stages(0.05, 0.3), record=cascade_record(init="module"))
    assert (cell.check, cell.method, cell.view) == ("cascade", "gradient", "signed")
    full, half = cell.kept
    assert (full.line, full.stage, full.threshold, full.must) == ("full", "full", 0.2, "change")
    assert full.retained == cell.retained == pytest.approx(0.05)
    assert half.retained == pytest.approx(0.3)
    low, high = cell.retained_ci
    assert low < 0.05 < high < 0.2
    assert (cell.ceiling, cell.n_images, cell.n_draws, cell.n_undefined) == (1.0, 10, 5, 0)
    assert (cell.n_used, cell.blank_reference, cell.blank_changed) == (50, 0, 0)
    assert cell.init == "module"


def test_reasons_are_the_words_of_the_lines():
    full = cell_of(two_stages(0.33, 0.3, view="absolute"))
    half = cell_of(two_stages(0.05, 0.9, similarity="ssim"))
    assert full.reason == (
        "absolute Spearman retains 0.33 of its similarity after all layers are randomised"
    )
    assert half.reason == (
        "signed SSIM retains 0.90 of its similarity after the top half of the network, down to "
        "half, is randomised"
    )


def test_without_a_half_the_full_stage_decides_alone():
    frame = cell_frame(around(0.05))
    cell = cell_of(frame, record=cascade_record(half=None))
    assert cell.outcome is PASS
    assert [kept.line for kept in cell.kept] == ["full"]


def test_thresholds_are_options():
    assert cell_of(two_stages(0.33), record=cascade_record(d_full=0.5)).outcome is PASS
    assert cell_of(two_stages(0.05, 0.3), record=cascade_record(d_half=0.1)).outcome is FAIL


def check_the_sign_of_the_inequalities(outcome_of):
    """Exactly on the threshold, without any spread, is neither PASS nor FAIL."""
    on = np.full((6, 3), 0.2)
    assert outcome_of(two_stages(on, np.full((6, 3), 0.1))) is INCONCLUSIVE


def test_on_the_threshold_and_a_twin_threshold_fails():
    check_the_sign_of_the_inequalities(lambda f: cell_of(f).outcome)
    with pytest.raises(AssertionError):
        above = cascade_record(d_full=0.2 + 1e-6)
        check_the_sign_of_the_inequalities(lambda f: cell_of(f, record=above).outcome)


# nothing changed


def test_an_explainer_that_ignores_model_and_image_fails_whatever_chance_is():
    same = np.full((6, 3), 1.0)
    cell = cell_of(two_stages(same, same, chance=1.0))
    assert cell.outcome is FAIL
    assert cell.reason.startswith("nothing changed: signed Spearman is still 1.00")
    assert math.isnan(cell.retained)


def test_nothing_changed_needs_a_ceiling_of_a_half_and_a_twin_fails(monkeypatch):
    low = np.full((6, 3), 0.45)
    assert cell_of(two_stages(low, low, chance=0.4, A=0.45)).outcome is UNINFORMATIVE
    assert cell_of(two_stages(low + 0.1, low + 0.1, chance=0.5, A=0.55)).outcome is FAIL
    monkeypatch.setattr("salsanity.verdicts.answers.LEAST_CEILING", 0.35)
    assert cell_of(two_stages(low, low, chance=0.4, A=0.45)).outcome is FAIL


def test_a_fall_of_more_than_a_hundredth_is_a_change():
    still, moved = np.full((6, 3), 0.991), np.full((6, 3), 0.985)
    assert "nothing changed" in cell_of(two_stages(still, still, chance=0.95)).reason
    assert cell_of(two_stages(moved, moved, chance=0.95)).outcome is UNINFORMATIVE


def test_an_offset_that_makes_all_maps_alike_is_no_sign_that_nothing_changed(monkeypatch):
    """Masks weighted by a probability, say: maps of other images are as like the reference as the changed ones."""
    alike = np.full((6, 5), 0.995)
    assert cell_of(two_stages(alike, alike, chance=0.9949)).outcome is UNINFORMATIVE
    monkeypatch.setattr("salsanity.verdicts.answers.NEARLY_ALL", -1e9)
    assert cell_of(two_stages(alike, alike, chance=0.9949)).outcome is FAIL


def check_nothing_changed_is_said_of_the_method(outcome_of):
    """Ties lift one cell of a map that is confined to a mask; another cell changed."""
    unmoved = np.full((6, 5), 0.995)
    lifted = two_stages(unmoved, unmoved, chance=0.92)
    assert outcome_of(lifted) is FAIL
    assert outcome_of(joined([lifted, two_stages(0.05, 0.3, view="absolute")])) is PASS


def test_nothing_changed_in_every_cell_or_not_at_all_and_a_twin_fails(monkeypatch):
    check_nothing_changed_is_said_of_the_method(lambda f: headline_of(f).outcome)
    monkeypatch.setattr("salsanity.verdicts.cells.all", any, raising=False)
    with pytest.raises(AssertionError):
        check_nothing_changed_is_said_of_the_method(lambda f: headline_of(f).outcome)


def test_a_cell_without_maps_does_not_contradict():
    unmoved, dead = np.full((6, 5), 1.0), np.full((6, 5), nan)
    frame = joined([two_stages(unmoved, unmoved, chance=1.0), two_stages(dead, view="absolute")])
    assert headline_of(frame).outcome is FAIL
    assert [v.outcome for v in verdicts_of(frame)] == [FAIL, FAIL, UNINFORMATIVE]


# the same for every image


def test_maps_that_ignore_the_image_never_pass():
    """One map for all images that depends on the weights: by its numbers it would pass."""
    seen = cell_of(two_stages(0.05, 0.3, between=0.4))
    same = cell_of(two_stages(0.05, 0.3, between=0.96))
    assert seen.outcome is PASS
    assert same.outcome is UNINFORMATIVE
    assert same.reason == (
        "the trained network's maps are the same for every image, so that no change of them could be told from one of the "
        "image: signed Spearman of different images' maps is 0.96, where 1.00 is no change at all"
    )
    assert headline_of(two_stages(0.05, 0.3, between=0.96)).reason == same.reason


def test_maps_that_ignore_the_image_can_fail():
    assert cell_of(two_stages(0.6, 0.3, between=1.0)).outcome is FAIL


def test_likeness_is_set_against_the_ceiling():
    assert cell_of(two_stages(0.01, 0.02, between=0.29, A=0.3)).outcome is UNINFORMATIVE
    assert cell_of(two_stages(0.01, 0.02, between=0.28, A=0.3)).outcome is PASS


def test_one_cell_that_tells_images_apart_is_enough():
    frame = joined(
        [two_stages(0.05, 0.3, between=1.0), two_stages(0.05, 0.3, view="absolute", between=0.5)]
    )
    assert headline_of(frame).outcome is PASS


# uninformative


def test_no_room_between_chance_and_ceiling():
    cell = cell_of(two_stages(0.3, 0.3, chance=0.25, A=0.32))
    assert cell.outcome is UNINFORMATIVE
    assert "chance gives 0.25 and no change 0.32" in cell.reason


def test_too_many_undefined_scores():
    full = around(0.05, n=10)
    full[:3] = nan
    cell = cell_of(two_stages(full, 0.3, reason="constant map"))
    assert cell.outcome is PASS
    assert (cell.n_undefined, cell.n_used, cell.n_images) == (15, 35, 7)
    assert cell.blank_changed == pytest.approx(0.3)
    full[:8] = nan
    cell = cell_of(two_stages(full, 0.3, reason="constant map"))
    assert cell.outcome is UNINFORMATIVE
    assert "has only 20% of its scores at stage full (40 x constant map)" in cell.reason


def random_holes(share, seed=0):
    full = around(0.05, n=10, d=8)
    rng = np.random.default_rng(seed)
    full[rng.permutation(80).reshape(10, 8) < round(share * 80)] = nan
    return full


@pytest.mark.parametrize(
    ("share", "outcome"), [(0.05, PASS), (0.5, PASS), (0.75, PASS), (0.8, UNINFORMATIVE)]
)
def test_a_pass_needs_a_quarter_of_the_cells(share, outcome):
    cell = cell_of(two_stages(random_holes(share), around(0.3, d=8)))
    assert cell.outcome is outcome
    assert cell.blank_changed == pytest.approx(share)
    if outcome is PASS:
        blank = f"{share:.0%}".replace("%", " %")
        assert cell.reason.endswith(
            f"(blank in {blank} of the changed maps, never in the trained network's)"
        )


@pytest.mark.parametrize("share", [0.05, 0.5, 0.85])
def test_an_edge_detector_that_blanks_its_maps_fails(share):
    """FAIL needs four images and two draws only; the maps that exist are the trained network's."""
    full = np.where(np.isnan(random_holes(share)), nan, 1.0)
    assert cell_of(two_stages(full, full)).outcome is FAIL
    dead = np.full((10, 8), nan)
    assert cell_of(two_stages(dead, dead)).outcome is UNINFORMATIVE


def test_a_pass_needs_four_of_five_maps_of_the_trained_network():
    A = np.ones(10)
    A[:2] = nan
    assert cell_of(two_stages(0.05, 0.3, A=A)).outcome is PASS
    A[2] = nan
    cell = cell_of(two_stages(0.05, 0.3, A=A))
    assert cell.outcome is UNINFORMATIVE
    assert "only 70% of the trained network's maps are not blank" in cell.reason
    assert cell.blank_reference == pytest.approx(0.3)
    assert cell_of(two_stages(0.6, 0.3, A=A)).outcome is FAIL


def test_maps_that_never_exist_cannot_tell():
    dead = np.full((10, 5), nan)
    found = verdicts_of(two_stages(dead, dead, A=nan, reason="constant map"))
    assert {v.outcome for v in found} == {UNINFORMATIVE}


def test_three_images_with_maps_cannot_tell():
    full = around(0.6)
    full[3:] = nan
    assert cell_of(two_stages(full, 0.3)).outcome is UNINFORMATIVE


def test_a_stage_that_cannot_tell_never_passes_but_the_other_may_fail():
    dead = np.full((10, 5), nan)
    assert cell_of(two_stages(dead, 0.1)).outcome is UNINFORMATIVE
    assert cell_of(two_stages(0.05, dead)).outcome is UNINFORMATIVE
    assert cell_of(two_stages(dead, 0.95)).outcome is FAIL


def test_a_stage_without_scores_is_named():
    frame = cell_frame(around(0.05))
    assert cell_of(frame).reason == "there are no scores at stage half"
    assert cell_of(frame).outcome is UNINFORMATIVE


# inconclusive


@pytest.mark.parametrize("n", [1, 3])
def test_fewer_than_four_images(n):
    table = np.full((n, 5), 0.9)
    cell = cell_of(two_stages(table, table))
    assert cell.outcome is INCONCLUSIVE
    assert f"{n} image" in cell.reason


def test_four_images_and_two_draws_are_enough():
    assert cell_of(two_stages(np.full((4, 2), 0.9), np.full((4, 2), 0.9))).outcome is FAIL
    assert cell_of(two_stages(np.full((4, 2), 0.0), np.full((4, 2), 0.0))).outcome is PASS


@pytest.mark.parametrize("level", [0.05, 0.9, 1.0])
def test_one_draw(level):
    table = np.full((10, 1), level)
    cell = cell_of(two_stages(table, table))
    assert cell.outcome is INCONCLUSIVE
    assert cell.reason == "1 draw: a verdict needs at least 2 (8 are recommended)"
    assert cell.retained == pytest.approx(level)
    assert all(math.isnan(b) for b in cell.retained_ci)


def test_an_open_question_says_what_would_settle_it():
    cell = cell_of(two_stages(around(0.15, spread=0.1), 0.3))
    assert cell.outcome is INCONCLUSIVE
    assert "more draws" in cell.reason
    assert "would probably settle it" in cell.reason
    assert "threshold 0.2" in cell.reason


def test_few_draws_need_a_wide_margin():
    """At two draws one degree of freedom is left: what 8 draws settle, 2 do not."""
    assert cell_of(two_stages(around(0.1, d=8), around(0.3, d=8))).outcome is PASS
    two = two_stages(around(0.1, d=2, spread=0.05), around(0.3, d=2))
    assert cell_of(two).outcome is INCONCLUSIVE


# gates


def test_a_gate_is_the_reason():
    gate = Gate("the trained network is no better than chance")
    for full in (0.05, 0.9):
        cell = cell_of(two_stages(full), gates=[gate])
        assert cell.outcome is INCONCLUSIVE
        assert cell.reason == gate.reason


def test_a_collapsed_stage_gives_no_verdict_but_the_other_may_fail():
    health = [
        {"draw": 0, "stage": "full", "collapsed": False, "finite": True},
        {"draw": 3, "stage": "full", "collapsed": True, "finite": True},
        {"draw": 4, "stage": "full", "collapsed": False, "finite": False},
    ]
    gates = collapse_gates(health, init="module")
    cell = cell_of(two_stages(0.05, 0.1), gates=gates)
    assert cell.outcome is INCONCLUSIVE
    assert "collapsed at stage full in draws 3, 4" in cell.reason
    assert "try --init he" in cell.reason
    assert cell_of(two_stages(0.9, 0.1), gates=gates).outcome is INCONCLUSIVE
    assert cell_of(two_stages(1.0, 0.1), gates=gates).outcome is INCONCLUSIVE
    assert cell_of(two_stages(0.05, 0.95), gates=gates).outcome is FAIL


def test_collapse_under_he_advises_something_else():
    (gate,) = collapse_gates([{"draw": 0, "stage": "fc", "collapsed": True}], init="he")
    assert "try --init matched" in gate.reason
    assert not gate.covers("gradient", "conv1")


def test_a_gate_may_forbid_a_pass_alone():
    gate, wide = Gate("half of the weights were kept", forbids="pass"), around(0.23, spread=0.1)
    cell = cell_of(two_stages(0.05), gates=[gate])
    assert cell.outcome is INCONCLUSIVE
    assert cell.reason.endswith(f": {gate.reason}")
    assert "retains 0.05" in cell.reason
    assert cell_of(two_stages(0.6), gates=[gate]).outcome is FAIL
    assert "would probably settle it" in cell_of(two_stages(wide), gates=[gate]).reason


def test_a_record_may_forbid_every_pass():
    wide = around(0.23, spread=0.1)
    record = cascade_record(never_pass="40 % of the learned values were not randomised")
    frame = joined([two_stages(0.05), two_stages(0.05, method="noise")])
    found = verdicts_of(frame, record=record, controls=("noise",))
    by = {v.method: v for v in found if v.view is None}
    assert by["gradient"].outcome is INCONCLUSIVE
    assert record.never_pass in by["gradient"].reason
    assert by["noise"].outcome is PASS, "controls test the pipeline"
    assert headline_of(two_stages(0.6), record=record).outcome is FAIL
    assert record.never_pass in headline_of(two_stages(wide), record=record).reason


def test_accuracy_gate():
    assert accuracy_gate(None) == ()
    assert accuracy_gate({"trained": math.nan, "chance": 0.1, "n": 0}) == ()
    assert accuracy_gate({"trained": 0.9, "chance": 0.1, "n": 50}) == ()
    (gate,) = accuracy_gate({"trained": 0.1, "chance": 0.1, "n": 50})
    assert "accuracy on 50 labelled images is 0.10, chance is 0.10" in gate.reason
    assert "learned nothing" in gate.reason
    (few,) = accuracy_gate({"trained": 1.0, "chance": 0.5, "n": 4})
    assert "exact binomial p = 0.06" in few.reason
    assert "more labelled images" in few.reason


@pytest.mark.parametrize("chance", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("n", [1, 5, 24])
def test_the_accuracy_gate_is_the_exact_binomial_test(chance, n):
    for correct in range(n + 1):
        p = binomtest(correct, n, chance, alternative="greater").pvalue
        is_open = not accuracy_gate({"trained": correct / n, "chance": chance, "n": n})
        assert is_open == (p < 0.05), correct


def test_gates_cover_the_methods_that_they_name_and_never_controls():
    frame = joined([two_stages(0.05), two_stages(0.05, method="noise")])
    for gate in (Gate("no"), Gate("no", methods=("vargrad",)), Gate("no", methods=("gradient",))):
        found = verdicts_of(frame, controls=("noise",), gates=(gate,))
        by = {v.method: v.outcome for v in found if v.view is None}
        assert by["noise"] is PASS
        assert by["gradient"] is (PASS if gate.methods == ("vargrad",) else INCONCLUSIVE)


# headlines


def method_frame(levels, method="gradient", half=0.1):
    """Cells with the given R at full, by (view, similarity)."""
    return joined(
        two_stages(
            around(R, seed=hash_of(cell)), half, method=method, view=cell[0], similarity=cell[1]
        )
        for cell, R in levels.items()
    )


def hash_of(cell):
    return sum(map(ord, "".join(cell)))


def headline_of(frame, **options):
    return next(v for v in verdicts_of(frame, **options) if v.view is None)


def test_one_failing_cell_fails_the_method():
    frame = method_frame({("signed", "spearman"): 0.05, ("absolute", "hog"): 0.6})
    top = headline_of(frame)
    assert (top.outcome, top.view, top.similarity) == (FAIL, None, None)
    assert top.reason == (
        "absolute HOG retains 0.60 of its similarity after all layers are randomised"
    )
    assert top.retained == pytest.approx(0.6)


def test_PASS_needs_every_informative_cell():
    frame = method_frame({("signed", "spearman"): 0.05, ("absolute", "ssim"): 0.2})
    assert headline_of(frame).outcome is INCONCLUSIVE
    frame = method_frame({("signed", "spearman"): 0.05, ("absolute", "ssim"): 0.1})
    top = headline_of(frame)
    assert top.outcome is PASS
    assert top.reason.startswith(
        "was not caught (pure noise passes too): all 2 cells pass; the most that stays: absolute SSIM retains"
    )


def test_a_pass_claims_nothing():
    reason = headline_of(two_stages(0.05)).reason
    assert "not caught" in reason
    assert "noise" in reason
    assert not any(word in reason for word in ("depends", "faithful", "sound", "good"))
    quiet = headline_of(two_stages(0.05), record=cascade_record(controls={"edge": FAIL}))
    assert "noise" not in quiet.reason, "where noise need not pass, nothing is said of it"


def test_FAIL_is_worse_than_INCONCLUSIVE():
    frame = method_frame({("signed", "spearman"): 0.2, ("absolute", "hog"): 0.6})
    assert [v.outcome for v in verdicts_of(frame)] == [FAIL, INCONCLUSIVE, FAIL]


def test_uninformative_cells_neither_pass_nor_hide_the_others():
    blind = two_stages(0.3, 0.3, chance=0.29, A=0.32, similarity="ssim")
    top = headline_of(joined([two_stages(0.05), blind]))
    assert top.outcome is PASS
    assert top.reason.startswith("was not caught (pure noise passes too): signed Spearman")
    top = headline_of(blind)
    assert top.outcome is UNINFORMATIVE
    assert headline_of(joined([blind, two_stages(0.2)])).outcome is INCONCLUSIVE


def test_a_method_without_scores_is_uninformative():
    (only,) = verdicts_of(two_stages(0.05), methods=("gradcam",))
    assert only.outcome is UNINFORMATIVE
    assert only.reason == "there are no scores of this method"


def test_the_worst_cell_gives_the_reason():
    frame = method_frame({("signed", "spearman"): 0.4, ("absolute", "ssim"): 0.7})
    assert headline_of(frame).reason == (
        "absolute SSIM retains 0.70 of its similarity after all layers are randomised "
        "(2 of 2 cells fail)"
    )


def test_headline_comes_before_the_cells_and_signed_before_absolute():
    frame = method_frame(
        {("absolute", "spearman"): 0.05, ("signed", "ssim"): 0.05, ("signed", "spearman"): 0.05}
    )
    found = verdicts_of(frame)
    assert [(v.view, v.similarity) for v in found] == [
        (None, None),
        ("signed", "spearman"),
        ("signed", "ssim"),
        ("absolute", "spearman"),
    ]


def barely_above():
    """p = .008 at full: enough for two questions, not for ten."""
    return around(0.315, spread=0.08, seed=0)


def check_holm_over_the_cells(outcome_of):
    """One cell barely above its threshold fails alone, but not as the best of six."""
    barely = barely_above()
    cells = [(v, s) for v in ("signed", "absolute") for s in ("spearman", "ssim", "hog")]
    alone = two_stages(barely)
    others = [two_stages(0.1, 0.3, view=v, similarity=s) for v, s in cells if (v, s) != cells[0]]
    assert outcome_of(alone) is FAIL
    assert outcome_of(joined([alone, *others])) is INCONCLUSIVE


def test_FAIL_is_corrected_for_the_number_of_cells_and_a_twin_without_fails(monkeypatch):
    def outcome_of(frame):
        return next(v.outcome for v in verdicts_of(frame) if v.view == "signed")

    check_holm_over_the_cells(outcome_of)
    monkeypatch.setattr("salsanity.verdicts.cells.holm", lambda ps, alpha: [p < alpha for p in ps])
    with pytest.raises(AssertionError):
        check_holm_over_the_cells(outcome_of)


def test_a_cell_that_Holm_spares_says_so():
    cells = [two_stages(0.1, 0.3, similarity=s) for s in ("ssim", "hog", "pearson", "cosine")]
    frame = joined([two_stages(barely_above()), *cells])
    cell = next(v for v in verdicts_of(frame) if v.similarity == "spearman")
    assert "not after Holm's correction" in cell.reason


def test_the_advice_is_for_the_corrected_level():
    """Among five cells, ten questions, more is needed than the cell alone would need."""
    barely = around(0.27, spread=0.08, seed=0)
    others = [two_stages(0.1, 0.3, similarity=s) for s in ("ssim", "hog", "pearson", "cosine")]

    def draws_wanted(frame):
        cell = next(v for v in verdicts_of(frame) if v.similarity == "spearman")
        return int(re.search(r"(\d+) more draws", cell.reason)[1])

    alone = draws_wanted(two_stages(barely))
    assert draws_wanted(joined([two_stages(barely), *others])) > alone


# dominated by the input


def input_frame(method_R, control_R, signed=0.05):
    absolute = {"view": "absolute"}
    return joined(
        [
            two_stages(signed, 0.1, method="integrated_gradients"),
            two_stages(method_R, 0.1, method="integrated_gradients", **absolute),
            two_stages(0.02, 0.02, method="noise_x_input"),
            two_stages(control_R, 0.1, method="noise_x_input", **absolute),
        ]
    )


def ig_verdicts(frame, multiplied=("integrated_gradients",)):
    return verdicts_of(
        frame,
        methods=("integrated_gradients",),
        controls=("noise_x_input",),
        multiplied=multiplied,
    )


def dominated(frame):
    found = ig_verdicts(frame)
    top, _, cell = found[:3]
    assert top.outcome is FAIL
    assert cell.outcome is FAIL
    assert top.reason == cell.reason
    return "dominated by the input" in cell.reason


def test_dominated_by_the_input():
    assert dominated(input_frame(0.9, 0.86))
    assert not dominated(input_frame(0.9, 0.84))


def test_dominated_needs_signed_Spearman_to_pass():
    assert not dominated_anywhere(input_frame(0.9, 0.95, signed=0.5))
    assert not dominated_anywhere(input_frame(0.9, 0.95, signed=0.2))


def dominated_anywhere(frame):
    return any("dominated" in v.reason for v in ig_verdicts(frame))


def test_dominated_gives_the_advice_and_the_control():
    found = ig_verdicts(input_frame(0.9, 0.88))
    assert found[0].reason == (
        "dominated by the input: absolute Spearman retains 0.90 of its similarity after all "
        "layers are randomised, and noise times the input retains 0.88; run it without the "
        "multiplier (Kokhlikyan et al. 2021)"
    )


def test_without_a_multiplier_the_finding_points_to_the_network():
    reason = ig_verdicts(input_frame(0.9, 0.88), multiplied=())[0].reason
    assert reason.startswith("dominated by the input: ")
    assert "without the multiplier" not in reason
    assert "points to the network (weights that were never randomised" in reason


def test_dominated_holds_for_maps_that_did_not_change_at_all():
    assert dominated(input_frame(0.995, 0.99))


# controls


def control_frame(edge=1.0, noise=0.0):
    same = np.full((8, 3), edge)
    return joined(
        [
            two_stages(same, same, method="edge", chance=0.2),
            two_stages(around(noise, n=8, d=3), 0.0, method="noise"),
        ]
    )


def test_edge_must_fail_and_noise_must_pass():
    found = verdicts_of(control_frame(), methods=(), controls=("edge", "noise"))
    assert distrust(found, cascade_record()) == []


def test_what_a_control_must_be_belongs_to_the_check():
    found = verdicts_of(control_frame(), methods=(), controls=("edge", "noise"))
    assert distrust(found, cascade_record(controls={})) == []
    (sentence,) = distrust(found, cascade_record(controls={"noise": FAIL}))
    assert "`noise` must be FAIL but is PASS" in sentence
    other = record_of(name="class", controls=CONTROLS)
    assert len(distrust(found, other)) == 2, "verdicts of another check say nothing"


@pytest.mark.parametrize(("edge", "noise"), [(0.2, 0.0), (1.0, 0.9), (1.0, 0.2)])
def test_a_control_that_comes_out_otherwise_is_named(edge, noise):
    found = verdicts_of(control_frame(edge, noise), methods=(), controls=("edge", "noise"))
    (sentence,) = distrust(found, cascade_record())
    assert ("`edge` must be FAIL" if edge < 1 else "`noise` must be PASS") in sentence


def test_a_control_that_did_not_run_is_not_trusted():
    found = verdicts_of(control_frame(), methods=(), controls=("edge",))
    assert distrust(found, cascade_record()) == ["the control `noise` must be PASS but was not run"]


# properties


def test_the_order_of_rows_does_not_matter():
    frame = method_frame({("signed", "spearman"): 0.05, ("absolute", "hog"): 0.2})
    assert verdicts_of(frame.sample(frac=1, random_state=1)) == verdicts_of(frame)


def test_the_other_methods_of_a_run_do_not_matter():
    alone = two_stages(0.1)
    other = two_stages(0.9, method="guided_backprop")
    both = verdicts_of(joined([alone, other]), methods=("gradient", "guided_backprop"))
    assert both[:2] == verdicts_of(alone)


def test_methods_are_read_cell_by_cell_with_the_same_verdicts(monkeypatch):
    """Rows of a large run are never held as a whole; a method may have none."""
    names = ("gradient", "absent", "vargrad", "noise_x_input")
    frame = joined(two_stages(0.1 * i, method=n) for i, n in enumerate(names, 1) if n != "absent")
    whole = verdicts_of(frame, methods=names[:3], controls=names[3:])
    monkeypatch.setattr("salsanity.rows._Bucket.read", None)
    assert repr(verdicts_of(frame, methods=names[:3], controls=names[3:])) == repr(whole)
    assert len(whole) == 3 * 2 + 1


def test_more_images_for_one_method_do_not_make_the_others_incomplete():
    """A method that left the run early keeps its own rectangle of images and draws."""
    long = two_stages(around(0.1, n=20), around(0.3, n=20), method="vargrad")
    found = verdicts_of(joined([two_stages(0.05), long]), methods=("gradient", "vargrad"))
    assert [v.outcome for v in found] == [PASS] * 4
    assert [v.n_images for v in found] == [10, 10, 20, 20]


def test_gallery_rows_of_other_stages_are_ignored():
    frame = two_stages(0.05)
    gallery = frame[(frame["stage"] == "full") & (frame["draw"] == 0)].assign(
        stage="conv1", value=0.99
    )
    assert verdicts_of(joined([frame, gallery])) == verdicts_of(frame)


def test_full_and_half_have_their_own_holes():
    full, half = around(0.05), around(0.3)
    full[0], half[1] = nan, nan
    cell = cell_of(two_stages(full, half))
    assert (cell.outcome, cell.n_images, cell.n_undefined) == (PASS, 9, 10)


def test_excess_orders_nothing_changed_above_everything():
    frame = two_stages(np.full((6, 3), 0.995), chance=0.9)
    index = read_scores(frame, check="cascade")
    table = index.table(("gradient", "signed", "spearman"), "full")
    line = Line("full", "full", 0.2, "after", nothing=True)
    assert Answer(line, retained_similarity(table), words.retains).excess == 1.0


def test_a_large_run_is_judged_in_seconds():
    """14 methods, 6 cells, 200 images, 10 draws: 336,000 scores."""
    shape = (14, 2, 3, 2, 200, 10)
    rng = np.random.default_rng(0)
    at = np.indices(shape).reshape(6, -1)
    names = np.array
    rows = pd.DataFrame(
        {
            "check": "cascade",
            "method": names([f"m{i}" for i in range(14)])[at[0]],
            "view": names(["signed", "absolute"])[at[1]],
            "similarity": names(["spearman", "ssim", "hog"])[at[2]],
            "stage": names(["half", "full"])[at[3]],
            "stage_index": at[3] + 1,
            "image": names([f"{i:064x}" for i in range(200)])[at[4]],
            "draw": at[5],
            "value": rng.normal(0.1, 0.05, at.shape[1]),
            "chance": rng.normal(0.0, 0.05, at.shape[1]),
            "reason": None,
        }
    )
    own = rows[rows["draw"] == 0].drop_duplicates(["method", "view", "similarity", "image"])
    own = own.assign(stage="self", stage_index=0, value=1.0, chance=nan)
    frame = pd.concat([rows, own], ignore_index=True)
    start = time.perf_counter()
    found = verdicts_of(frame, methods=[f"m{i}" for i in range(14)])
    assert time.perf_counter() - start < 20
    assert len(found) == 14 * 7

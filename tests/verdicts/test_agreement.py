"""Lines set against another stage: what two honest networks agree on, as in the data randomisation test."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from reference.verdict_frames import LOWER_BOUND, around, joined, label_frame, labels_record
from reference.verdict_literal import literal_measure
from salsanity.records import Outcome
from salsanity.verdicts import Gate, distrust, headline, judge
from salsanity.verdicts.retained import NO_HONEST_PAIR

nan = math.nan
PASS, FAIL = Outcome.PASS, Outcome.FAIL
INCONCLUSIVE, UNINFORMATIVE = Outcome.INCONCLUSIVE, Outcome.UNINFORMATIVE


def verdicts_of(frame, *, methods=("gradient",), controls=(), true_networks=2, **options):
    record = labels_record(true_networks)
    return judge(frame, record, methods=methods, controls=controls, **options)


def cell_of(frame, **options):
    _, cell = verdicts_of(frame, **options)
    return cell


def honest_table(level=0.6, n=10):
    """One pair of true networks."""
    return around(level, n=n, d=1, seed=9)


def mixed_table(level, n=10):
    """Four pairs of a true and a permuted network."""
    return around(level, n=n, d=4, seed=3)


@pytest.mark.parametrize(
    ("mixed", "outcome"), [(0.1, PASS), (0.55, FAIL), (0.3, INCONCLUSIVE), (0.6, FAIL)]
)
def test_outcomes(mixed, outcome):
    cell = cell_of(label_frame(mixed_table(mixed), honest_table()))
    assert cell.outcome is outcome
    assert [kept.line for kept in cell.kept] == ["permuted"]
    assert cell.retained == pytest.approx(mixed / 0.6)
    assert cell.ceiling == pytest.approx(0.6)
    assert (cell.n_images, cell.n_draws, cell.n_undefined) == (10, 4, 0)


def random_tables(seed, n=6, pairs=4, honest_pairs=3):
    rng = np.random.default_rng(seed)
    return (
        rng.uniform(0.1, 0.5, (n, pairs)),
        rng.uniform(0.0, 0.2, (n, pairs)),
        rng.uniform(0.5, 0.9, (n, honest_pairs)),
        rng.uniform(0.0, 0.2, (n, honest_pairs)),
    )


def with_holes(tables):
    """A dead permuted network's map, two dead honest ones, and an image whose honest networks are both dead."""
    S_TP, C_TP, S_TT, C_TT = tables
    S_TP[1, 2] = C_TP[2, 0] = S_TT[3, 1] = C_TT[4, 2] = nan
    S_TT[5] = nan
    return S_TP, C_TP, S_TT, C_TT


def check_against_literal(measure):
    for seed in range(3):
        for tables in (random_tables(seed), with_holes(random_tables(seed))):
            S_TP, C_TP, S_TT, C_TT = tables
            frame = label_frame(S_TP, S_TT, chance=C_TP, honest_chance=C_TT)
            line = labels_record().to_json()["lines"][0]
            rows = frame.to_dict("records")
            expected = literal_measure(rows, "gradient", "signed", "spearman", line)
            found = measure(frame)
            assert found.retained == pytest.approx(expected["R"], rel=1e-12)
            assert found.retained_ci == pytest.approx(expected["interval"][3:], rel=1e-9)
            assert found.n_used == expected["n_used"]


def test_R_and_its_interval_equal_the_literal_reference_and_twins_fail():
    check_against_literal(cell_of)

    def forgets_chance(frame):
        return cell_of(frame.assign(chance=frame["chance"] * 0))

    def ceiling(frame):
        return cell_of(frame, true_networks=1)

    def listwise(frame):
        lost = frame.loc[frame["value"].isna() | frame["chance"].isna(), "image"]
        inside = frame["stage"] != "self"
        return cell_of(frame[~(inside & frame["image"].isin(lost))])

    for twin in (forgets_chance, ceiling, listwise):
        with pytest.raises(AssertionError):
            check_against_literal(twin)


def test_an_image_counts_where_both_kinds_of_pairs_have_a_score():
    mixed, honest = mixed_table(0.2), honest_table()
    mixed[0], honest[1] = nan, nan
    cell = cell_of(label_frame(mixed, honest, reason="constant map"))
    assert (cell.n_images, cell.n_undefined) == (8, 5)
    rest = label_frame(mixed[2:], honest[2:])
    assert cell.retained == pytest.approx(cell_of(rest).retained)


def test_a_hole_is_only_its_cell():
    mixed = mixed_table(0.2)
    mixed[0, 1] = mixed[1, 2] = nan
    cell = cell_of(label_frame(mixed, honest_table()))
    assert (cell.n_used, cell.n_images, cell.n_draws, cell.n_undefined) == (38, 10, 4, 2)


def test_too_many_undefined_scores():
    mixed = mixed_table(0.2)
    mixed[:8] = nan
    cell = cell_of(label_frame(mixed, honest_table(), reason="constant map"))
    assert cell.outcome is UNINFORMATIVE
    assert "has only 20% of its scores" in cell.reason


def test_honest_networks_that_do_not_agree_cannot_tell():
    cell = cell_of(label_frame(mixed_table(0.02), honest_table(0.09)))
    assert cell.outcome is UNINFORMATIVE
    assert "chance gives 0.00 and no change 0.09" in cell.reason
    assert math.isnan(cell.retained)


def test_two_true_networks_that_were_never_compared_cannot_tell():
    cell = cell_of(label_frame(mixed_table(0.02)))
    assert cell.outcome is UNINFORMATIVE
    assert NO_HONEST_PAIR in cell.reason


def test_an_explainer_that_ignores_model_and_image_fails():
    same = np.ones((6, 4))
    cell = cell_of(label_frame(same, same[:, :1], chance=1.0, honest_chance=1.0))
    assert cell.outcome is FAIL
    assert "nothing changed" in cell.reason


# one network on true labels


@pytest.mark.parametrize(
    ("mixed", "outcome"), [(0.0, INCONCLUSIVE), (0.3, INCONCLUSIVE), (0.8, FAIL)]
)
def test_one_true_network_can_fail_but_never_pass(mixed, outcome):
    cell = cell_of(label_frame(mixed_table(mixed)), true_networks=1)
    assert cell.outcome is outcome
    assert cell.retained == pytest.approx(mixed)
    if outcome is INCONCLUSIVE:
        assert LOWER_BOUND in cell.reason
        assert "retains at least" in cell.reason


def test_one_true_network_is_set_against_its_own_ceiling():
    cell = cell_of(label_frame(mixed_table(0.3), A=0.4), true_networks=1)
    assert cell.retained == pytest.approx(0.75)
    assert cell.outcome is FAIL
    cell = cell_of(label_frame(mixed_table(0.05), A=0.09), true_networks=1)
    assert cell.outcome is UNINFORMATIVE


def test_one_pair_of_networks_is_one_draw():
    cell = cell_of(label_frame(mixed_table(0.9)[:, :1]), true_networks=1)
    assert cell.outcome is INCONCLUSIVE
    assert cell.reason == "1 pair of networks: a verdict needs at least 2"


# controls


def controls_frame():
    same = np.ones((10, 4))
    return joined(
        [
            label_frame(same, same[:, :1], chance=0.3, honest_chance=0.3, method="edge"),
            label_frame(mixed_table(0.0), around(0.0, n=10, d=1), method="noise"),
        ]
    )


@pytest.mark.parametrize("true_networks", [1, 2])
def test_controls_are_set_against_one(true_networks):
    """Noise agrees with nobody: against two honest networks it would be uninformative."""
    found = verdicts_of(
        controls_frame(), methods=(), controls=("edge", "noise"), true_networks=true_networks
    )
    assert distrust(found, labels_record(true_networks)) == []
    assert [v.ceiling for v in found] == [1.0] * 4


def test_noise_as_a_method_cannot_tell():
    found = verdicts_of(controls_frame(), methods=("noise",))
    assert {v.outcome for v in found} == {UNINFORMATIVE}


# headlines


def test_headline_speaks_of_these_networks_only():
    frame = joined(
        [
            label_frame(mixed_table(0.55), honest_table(), view="absolute"),
            label_frame(mixed_table(0.05), honest_table()),
        ]
    )
    top = verdicts_of(frame)[0]
    assert (top.view, top.similarity, top.outcome) == (None, None, FAIL)
    assert top.reason == (
        "absolute Spearman retains 0.92 of two honest networks' agreement when the training "
        "labels are permuted; this speaks of these networks only"
    )


def test_dominated_by_the_input():
    frame = joined(
        [
            label_frame(mixed_table(0.9), honest_table(0.95), view="absolute"),
            label_frame(mixed_table(0.05), honest_table()),
            label_frame(
                mixed_table(0.93), honest_table(0.9), view="absolute", method="noise_x_input"
            ),
        ]
    )
    found = verdicts_of(frame, controls=("noise_x_input",))
    assert "dominated by the input" in found[0].reason


def check_dominated_on_the_methods_line(dominated):
    """Both keep .53 where chance is .16; two honest networks agree to .53, a control's line is 1."""
    absolute = {"view": "absolute", "similarity": "hog", "chance": 0.16, "honest_chance": 0.16}
    frame = joined(
        [
            label_frame(mixed_table(0.53), honest_table(0.53), **absolute),
            label_frame(mixed_table(0.05), honest_table()),
            label_frame(mixed_table(0.53), honest_table(0.53), method="noise_x_input", **absolute),
        ]
    )
    found = verdicts_of(frame, controls=("noise_x_input",))
    assert found[0].outcome is FAIL
    assert dominated(found[0])


def test_noise_times_input_is_set_against_the_methods_line_and_a_twin_with_its_own_fails(
    monkeypatch,
):
    check_dominated_on_the_methods_line(lambda v: "dominated by the input" in v.reason)
    check_dominated_on_the_methods_line(lambda v: "noise times the input retains 1.00" in v.reason)
    own = headline._dominated

    def on_its_own_line(decision, controls, *, has_multiplier):
        line = replace(decision.answer.line, against=None)
        answer = replace(decision.answer, line=line)
        return own(replace(decision, answer=answer), controls, has_multiplier=has_multiplier)

    monkeypatch.setattr(headline, "_dominated", on_its_own_line)
    with pytest.raises(AssertionError):
        check_dominated_on_the_methods_line(lambda v: "dominated by the input" in v.reason)


def test_a_gate_is_the_reason_but_not_for_controls():
    frame = joined([controls_frame(), label_frame(mixed_table(0.05), honest_table())])
    found = verdicts_of(frame, controls=("edge", "noise"), gates=[Gate("not memorised")])
    by = {v.method: v for v in found if v.view is None}
    assert by["gradient"].outcome is INCONCLUSIVE
    assert by["gradient"].reason == "not memorised; this speaks of these networks only"
    assert by["edge"].outcome is FAIL


def test_a_method_without_scores():
    (only,) = verdicts_of(controls_frame(), methods=("gradcam",))
    assert (only.outcome, only.reason) == (UNINFORMATIVE, "there are no scores of this method")


def test_ceilings_of_several_true_networks_are_averaged():
    frame = label_frame(mixed_table(0.2))
    second = frame[frame["stage"] == "self"].assign(draw=1, value=0.6)
    cell = cell_of(joined([frame, second]), true_networks=1)
    assert cell.retained == pytest.approx(0.2 / 0.8)
    assert cell.ceiling == pytest.approx(0.8)

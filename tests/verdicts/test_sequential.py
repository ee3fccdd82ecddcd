"""Growing rounds: the schedule, who leaves when, and the price of looking repeatedly."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from itertools import pairwise
from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.verdict_frames import around, cascade_record, cell_frame, joined
from salsanity.records import Outcome
from salsanity.verdicts import Gate, futility, judge
from salsanity.verdicts.intervals import interval_of
from salsanity.verdicts.sequential import (
    Look,
    judge_until_decided,
    plan_looks,
    settled_at,
    share_of_scores,
)

RECORD, D_FULL = cascade_record(), 0.2
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
N, D = 24, 5
IMAGES = [f"{i:064x}" for i in range(N)]
LOOKS = (Look(8, D, 0.01), Look(16, D, 0.02), Look(N, D, 0.02))


def frame_of(R, method="gradient", *, n=N, d=D, spread=0.02, **options):
    full = around(R, n=n, d=d, spread=spread, seed=4)
    half = around(min(R + 0.1, 1), n=n, d=d, spread=spread, seed=5)
    return cell_frame(full, half, method=method, **options)


def settled(frame, *, methods=("gradient",), looks=LOOKS, **options):
    return settled_at(
        frame, RECORD, methods=methods, controls=(), images=IMAGES, looks=looks, **options
    )


def verdicts_of(frame, *, methods=("gradient",), looks=LOOKS, **options):
    return judge_until_decided(
        frame, RECORD, methods=methods, controls=(), images=IMAGES, looks=looks, **options
    )


@given(st.integers(1, 500), st.integers(1, 20), st.integers(1, 6))
def test_the_schedule_grows_to_everything_and_spends_alpha(images, draws, looks):
    planned = plan_looks(images, draws, looks=looks)
    assert 1 <= len(planned) <= looks
    assert (planned[-1].images, planned[-1].draws) == (images, draws)
    assert sum(look.alpha for look in planned) == pytest.approx(0.05)
    assert all(look.alpha > 0 for look in planned)
    for a, b in pairwise(planned):
        assert a.images <= b.images
        assert a.draws <= b.draws
        assert a.size < b.size
        assert a.images % 8 == 0


def test_the_schedule_of_the_defaults():
    planned = plan_looks(32, 8)
    assert [(x.images, x.draws) for x in planned] == [(8, 5), (16, 5), (24, 6), (32, 8)]
    assert planned[0].alpha == pytest.approx(0.05 * (40 / 256) ** (2 / 3))


@pytest.mark.parametrize(("R", "look"), [(0.02, 0), (0.6, 0)])
def test_clear_methods_leave_at_the_first_look(R, look):
    assert settled(frame_of(R)) == {"gradient": look}


@pytest.fixture
def patient(monkeypatch):
    """Nothing is given up before the last look."""
    monkeypatch.setattr(futility, "FUTILE", 0.0)


@pytest.mark.usefixtures("patient")
def test_a_method_on_the_threshold_never_leaves_with_a_verdict():
    assert settled(frame_of(0.2, spread=0.1)) == {}


def test_a_method_on_the_threshold_leaves_where_the_rest_would_hardly_settle_it():
    frame = frame_of(0.2, spread=0.1)
    assert settled(frame) == {"gradient": 0}
    top, cell = verdicts_of(frame)
    assert (top.outcome, cell.n_images) == (Outcome.INCONCLUSIVE, 8)
    assert top.reason.endswith(
        "(look 1 of 3: 8 images, 5 draws; the others would hardly settle it)"
    )


@given(st.floats(0, 1), st.floats(0.01, 0.2), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_giving_up_early_makes_no_verdict_and_changes_none(R, spread, seed):
    """Who passes or fails does so with what patience would have said, at the same look."""
    frame = cell_frame(
        around(R, n=N, d=D, spread=spread, seed=seed),
        around(min(R + 0.1, 1), n=N, d=D, spread=spread, seed=seed + 1),
    )
    hasty, _ = verdicts_of(frame)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(futility, "FUTILE", 0.0)
        waited, _ = verdicts_of(frame)
    if hasty.outcome in (Outcome.PASS, Outcome.FAIL):
        assert hasty == waited


def test_a_method_without_maps_leaves_as_uninformative():
    """No map of eight images: the other sixteen would hardly bring the share to a quarter."""
    frame = frame_of(0.02)
    dead = frame["stage"] == "full"
    frame = frame.assign(value=frame["value"].where(~dead))
    assert settled(frame) == {"gradient": 0}
    assert verdicts_of(frame)[0].outcome is Outcome.UNINFORMATIVE


def test_a_method_in_between_leaves_later():
    found = settled(frame_of(0.12, spread=0.06))
    assert found.get("gradient", 9) > 0


def test_the_verdict_is_that_of_the_look_at_which_the_method_left():
    """What came later is not looked at: a method that left stays out."""
    frame = frame_of(0.02)
    late = (frame["stage"] == "full") & frame["image"].isin(IMAGES[8:])
    turned = frame.assign(value=frame["value"].where(~late, 0.9))
    top, cell = verdicts_of(turned)
    assert top.outcome is Outcome.PASS
    assert (cell.n_images, cell.n_draws) == (8, 5)
    assert top.reason.endswith("(look 1 of 3: 8 images, 5 draws)")


def test_intervals_are_at_the_level_of_the_look():
    frame = frame_of(0.02)
    first = frame[frame["image"].isin(IMAGES[:8])]
    _, cell = verdicts_of(frame)
    _, plain = judge(first, RECORD, methods=["gradient"], controls=(), alpha=0.01)
    assert cell.kept == plain.kept


@pytest.mark.usefixtures("patient")
def test_rounds_that_ran_give_the_same_answer_as_a_replay_of_everything():
    frame = joined([frame_of(0.02), frame_of(0.2, "vargrad", spread=0.1)])
    ran = frame[(frame["method"] == "vargrad") | frame["image"].isin(IMAGES[:8])]
    methods = ("gradient", "vargrad")
    assert settled(ran, methods=methods) == settled(frame, methods=methods) == {"gradient": 0}
    assert verdicts_of(ran, methods=methods) == verdicts_of(frame, methods=methods)


def test_an_unfinished_round_settles_nothing():
    frame = frame_of(0.02)
    last = (frame["image"] == IMAGES[7]) & (frame["draw"] == D - 1)
    assert settled(frame[~last & frame["image"].isin(IMAGES[:8])]) == {}
    assert settled(frame[frame["image"].isin(IMAGES[:8])]) == {"gradient": 0}


@pytest.mark.usefixtures("patient")
def test_a_method_that_was_never_settled_is_judged_on_everything():
    frame = frame_of(0.2, spread=0.1)
    _, cell = verdicts_of(frame)
    assert (cell.outcome, cell.n_images) == (Outcome.INCONCLUSIVE, N)


def test_blank_maps_keep_a_passing_method_in_the_run():
    """Two blank maps of the trained network of eight may be two of fifty."""
    good = frame_of(0.02)
    patchy = frame_of(0.02, view="absolute", A=[nan, nan, *[1.0] * (N - 2)])
    assert settled(joined([good, patchy])) == {"gradient": 1}


def test_blank_changed_maps_keep_nobody_in_the_run():
    """Holes are not made up for by more images: R speaks of the maps that exist."""
    frame = frame_of(0.02)
    dead = frame["image"].isin(IMAGES[:3]) & (frame["stage"] == "full")
    assert settled(frame.assign(value=frame["value"].where(~dead))) == {"gradient": 0}


def test_maps_that_ignore_the_image_never_settle_as_a_pass():
    frame = frame_of(0.02, between=1.0)
    top, cell = verdicts_of(frame)
    assert top.outcome is Outcome.UNINFORMATIVE
    assert "the same for every image" in top.reason
    assert cell.n_images == 8, "nor would the rest make one of it"


def test_an_estimate_alone_settles_no_failure():
    """Nothing changed, where chance is as high as the ceiling: no test can be made of it."""
    same = np.full((N, D), 1.0)
    frame = cell_frame(same, same, chance=0.95)
    assert settled(frame) == {}
    assert verdicts_of(frame)[0].outcome is Outcome.FAIL


def test_a_gate_over_everything_settles():
    assert settled(frame_of(0.02), gates=[Gate("broken")]) == {"gradient": 0}
    assert verdicts_of(frame_of(0.02), gates=[Gate("broken")])[0].outcome is Outcome.INCONCLUSIVE
    half_gone = [Gate("broken", stages=("full",))]
    assert settled(frame_of(0.02), gates=half_gone) == {"gradient": 0}, "it can no longer pass"
    assert settled(frame_of(0.8, spread=0.1), gates=half_gone).get("gradient") != 0, "it may fail"


def test_controls_are_judged_on_everything():
    frame = joined([frame_of(0.02), frame_of(0.02, "noise")])
    found = judge_until_decided(
        frame, RECORD, methods=("gradient",), controls=("noise",), images=IMAGES, looks=LOOKS
    )
    assert [(v.method, v.n_images) for v in found if v.view] == [("gradient", 8), ("noise", N)]


def test_share_of_scores():
    assert share_of_scores({"a": 0, "b": 1}, ["a", "b", "c"], LOOKS) == pytest.approx(
        (8 + 16 + 24) / (3 * 24)
    )


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("until_decided", BENCHMARKS / "until_decided.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before
    sys.modules.pop("error_rates", None)


def planted(benchmark, R, *, cells, repeats):
    planting = benchmark.planting
    scores = planting.planted(
        np.random.default_rng(1),
        repeats=repeats,
        cells=cells,
        R=R,
        size=(32, 5),
        spread=planting.SPREADS[2],
    )
    return planting.frame_of(scores)


def rate_of_any_false_pass(looks, *, repeats=1500, image=0.15, draw=0.03, residual=0.1):
    """The rate at which some look finds R below .2 where it is .2."""
    rng = np.random.default_rng(0)
    n, d, wrong = looks[-1].images, looks[-1].draws, 0
    for _ in range(repeats):
        z = D_FULL + rng.normal(0, image, (n, 1)) + rng.normal(0, draw, (1, d))
        z = z + rng.normal(0, residual, (n, d))
        parts = ((z[: look.images, : look.draws], look.alpha) for look in looks)
        wrong += any(interval_of(part).p_below(D_FULL) < alpha for part, alpha in parts)
    return wrong / repeats


def check_false_verdicts(looks):
    """True rate .035, standard error .005."""
    assert rate_of_any_false_pass(looks) < 0.05


def test_repeated_looks_err_rarely_and_a_twin_without_the_correction_too_often():
    looks = plan_looks(50, 5)
    check_false_verdicts(looks)
    with pytest.raises(AssertionError):
        check_false_verdicts([replace(look, alpha=0.05) for look in looks])


def test_without_the_correction_more_planted_methods_on_the_threshold_are_settled(benchmark):
    scores = planted(benchmark, (D_FULL, 0.02), cells=1, repeats=60)
    looks = plan_looks(32, 5)
    corrected, _, _ = benchmark.outcomes(scores, looks)
    careless, _, _ = benchmark.outcomes(scores, benchmark.uncorrected(looks))
    assert corrected[Outcome.PASS] < careless[Outcome.PASS]
    assert corrected[Outcome.PASS] + corrected[Outcome.FAIL] <= 0.15


def test_clear_methods_leave_early_and_save_most_of_the_scores(benchmark):
    """The first of three looks has 8 of 32 images."""
    for R, outcome in (((0.02, 0.2), Outcome.PASS), ((0.95, 0.95), Outcome.FAIL)):
        scores = planted(benchmark, R, cells=2, repeats=20)
        rates, early, share = benchmark.outcomes(scores, plan_looks(32, 5))
        assert rates[outcome] > 0.9
        assert early > 0.9
        assert share < 0.5


def test_effects_of_recorded_scores_keep_their_spread(benchmark):
    z = around(0.3, n=40, d=8, spread=0.1)
    image, draw, residual = benchmark.split(z)
    assert image.std(ddof=0) == pytest.approx(z.mean(axis=1).std(ddof=1))
    assert draw.std(ddof=0) == pytest.approx(z.mean(axis=0).std(ddof=1))
    assert residual.mean() == pytest.approx(0, abs=1e-12)
    (pool,) = benchmark.effects_of(cell_frame(z), ["full"], check="cascade")
    frame = benchmark.resampled(
        np.random.default_rng(0), [pool], repeats=3, cells=1, R=(0.2, 0.02), size=(6, 3)
    )
    assert len(frame) == 3 * 2 * 6 * 3 + 3 * 6

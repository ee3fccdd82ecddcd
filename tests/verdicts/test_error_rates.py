"""Planted scores whose retained similarity is known: verdicts are wrong about 5 % of the time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from salsanity.records import Outcome

D_FULL, D_HALF = 0.2, 0.75
PATH = Path(__file__).parents[2] / "benchmarks" / "error_rates.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("error_rates", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["error_rates"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["error_rates"]


def rates(benchmark, R, *, cells, repeats, size=(8, 5), spread=0, dead=(0.0, "at random"), seed=0):
    scores = benchmark.planted(
        np.random.default_rng(seed),
        repeats=repeats,
        cells=cells,
        R=R,
        size=size,
        spread=benchmark.SPREADS[spread],
        dead=benchmark.Dead(*dead),
    )
    said = benchmark.judged(scores)
    return {outcome: said.count(outcome) / len(said) for outcome in Outcome}


def check_on_the_threshold(found):
    """300 repeats: three standard errors of .05 are .038."""
    assert 0.012 < found[Outcome.PASS] < 0.088
    assert found[Outcome.FAIL] < 0.088


@pytest.mark.parametrize(
    ("share", "kind"), [(0.0, "at random"), (0.5, "at random"), (0.5, "by draw"), (0.5, "by value")]
)
def test_on_the_threshold_each_error_is_near_its_nominal_rate(benchmark, share, kind):
    """Also with half of the maps blank; where whole draws are, many cells cannot pass."""
    found = rates(benchmark, (D_FULL, 0.02), cells=1, repeats=300, dead=(share, kind))
    assert found[Outcome.PASS] < 0.088
    assert found[Outcome.FAIL] < 0.088
    if not share:
        check_on_the_threshold(found)


def sampled(benchmark, size, dead):
    """A few methods near their lines."""
    rng = np.random.default_rng(3)
    known = {"size": size, "spread": benchmark.SPREADS[1], "dead": dead}
    return [
        benchmark.planted(rng, repeats=3, cells=3, R=R, **known)
        for R in ((0.2, 0.75), (0.35, 0.6), (0.06, 0.3))
    ]


def check_the_simulation_judges_as_the_product(benchmark):
    said = set()
    for size in benchmark.SIZES:
        for dead in benchmark.DEAD:
            for scores in sampled(benchmark, size, dead):
                found = benchmark.headlines(scores)
                assert found == benchmark.judged(scores), (size, dead)
                said |= set(found)
    assert said == set(Outcome)


def test_the_simulation_judges_as_the_product(benchmark):
    check_the_simulation_judges_as_the_product(benchmark)


@pytest.mark.parametrize(
    ("name", "value"), [("MANY_DRAWS", 2), ("holm", lambda ps, alpha: [p < alpha for p in ps])]
)
def test_a_product_with_another_rule_differs_from_the_simulation(
    benchmark, monkeypatch, name, value
):
    from salsanity.verdicts import cells, intervals

    monkeypatch.setattr(cells if name == "holm" else intervals, name, value)
    with pytest.raises(AssertionError):
        check_the_simulation_judges_as_the_product(benchmark)


def test_a_twin_that_takes_draws_for_fixed_errs_far_more_often(benchmark, monkeypatch):
    from salsanity.verdicts import retained
    from salsanity.verdicts.intervals import Interval

    def images_only(z, spread=None):
        by_image = z.mean(axis=1)
        n = len(by_image)
        return Interval(float(z.mean()), float(by_image.var(ddof=1)) / n, n - 1.0)

    monkeypatch.setattr(retained, "interval_of", images_only)
    with pytest.raises(AssertionError):
        check_on_the_threshold(rates(benchmark, (D_FULL, 0.02), cells=1, repeats=300))


def check_a_method_rarely_fails(found):
    """150 repeats: three standard errors of .05 are .053."""
    assert found[Outcome.FAIL] <= 0.103
    assert found[Outcome.PASS] <= 0.05


@pytest.mark.parametrize("size", [(16, 2), (24, 3), (8, 5), (32, 8)])
def test_a_method_with_every_cell_on_its_thresholds_rarely_fails(benchmark, size):
    check_a_method_rarely_fails(
        rates(benchmark, (D_FULL, D_HALF), cells=6, repeats=150, size=size, spread=1)
    )


def test_a_twin_with_Satterthwaite_at_two_draws_fails_methods_that_do_not(benchmark, monkeypatch):
    from salsanity.verdicts import intervals

    monkeypatch.setattr(intervals, "MANY_DRAWS", 2)
    with pytest.raises(AssertionError):
        check_a_method_rarely_fails(
            rates(benchmark, (D_FULL, D_HALF), cells=6, repeats=150, size=(16, 2), spread=1)
        )


def test_insensitive_and_sensitive_methods_are_told_apart(benchmark):
    insensitive = rates(benchmark, (0.9, 0.9), cells=6, repeats=40, size=(20, 5))
    sensitive = rates(benchmark, (0.02, 0.02), cells=6, repeats=40, size=(20, 5))
    assert insensitive[Outcome.FAIL] >= 0.9
    assert insensitive[Outcome.PASS] == 0
    assert sensitive[Outcome.PASS] >= 0.5
    assert sensitive[Outcome.FAIL] <= 0.05

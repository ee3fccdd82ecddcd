"""Planted scores whose retained similarity is known: verdicts are wrong about 5 % of the time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from salsanity.records import Outcome
from salsanity.verdicts.judge import D_FULL, D_HALF

PATH = Path(__file__).parents[2] / "benchmarks" / "error_rates.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("error_rates", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["error_rates"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["error_rates"]


def rates(benchmark, R, *, cells, repeats, seed=0, images=8, draws=4):
    scores = benchmark.planted(
        np.random.default_rng(seed),
        repeats=repeats,
        cells=cells,
        R=R,
        images=images,
        draws=draws,
        spread=benchmark.SPREADS[0],
    )
    return benchmark.outcomes(scores)


def check_on_the_threshold(found):
    """300 repeats: three standard errors of .05 are .038."""
    assert 0.012 < found[Outcome.PASS] < 0.088
    assert found[Outcome.FAIL] < 0.088


def test_on_the_threshold_each_error_is_near_its_nominal_rate(benchmark):
    check_on_the_threshold(rates(benchmark, (D_FULL, 0.02), cells=1, repeats=300))


def test_a_twin_that_takes_draws_for_fixed_errs_far_more_often(benchmark, monkeypatch):
    from salsanity.verdicts import cells
    from salsanity.verdicts.intervals import Interval

    def images_only(z):
        by_image = z.mean(axis=1)
        n = len(by_image)
        return Interval(float(z.mean()), float(by_image.var(ddof=1)) / n, n - 1.0)

    monkeypatch.setattr(cells, "interval_of", images_only)
    with pytest.raises(AssertionError):
        check_on_the_threshold(rates(benchmark, (D_FULL, 0.02), cells=1, repeats=300))


def test_a_method_with_every_cell_on_its_thresholds_rarely_fails(benchmark):
    found = rates(benchmark, (D_FULL, D_HALF), cells=6, repeats=100)
    assert found[Outcome.FAIL] <= 0.11
    assert found[Outcome.PASS] <= 0.05


def test_insensitive_and_sensitive_methods_are_told_apart(benchmark):
    insensitive = rates(benchmark, (0.9, 0.9), cells=6, repeats=40, images=20, draws=5)
    sensitive = rates(benchmark, (0.02, 0.02), cells=6, repeats=40, images=20, draws=5)
    assert insensitive[Outcome.FAIL] >= 0.9
    assert insensitive[Outcome.PASS] == 0
    assert sensitive[Outcome.PASS] >= 0.5
    assert sensitive[Outcome.FAIL] <= 0.05

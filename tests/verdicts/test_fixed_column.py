"""A check with nothing to draw: its one column is no sample, and intervals are those of a mean over images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from salsanity.records import CheckRecord, Line, Outcome, Words
from salsanity.verdicts import judge

RECORD = CheckRecord(
    name="still",
    words=Words("Still", "Does it stay?", "it moves", "was not caught"),
    lines=(Line("still", "moved", 0.9, "when it is moved", must="stay"),),
    controls={},
    stages=({"name": "moved", "index": 1},),
    states=("trained", "moved"),
    draws=1,
    measures=("spearman",),
    is_fixed=True,
)


def scores_of(values: np.ndarray) -> pd.DataFrame:
    """Rows of one column: chance 0 and ceiling 1, so that R is the mean of the values."""
    rows = []
    for i, value in enumerate(values):
        about = {
            "check": "still",
            "draw": 0,
            "image": f"{i:02}",
            "method": "m",
            "view": "signed",
            "similarity": "spearman",
            "reason": None,
        }
        rows.append({**about, "stage": "moved", "stage_index": 1, "value": value, "chance": 0.0})
        rows.append({**about, "stage": "self", "stage_index": 0, "value": 1.0, "chance": 0.0})
    return pd.DataFrame(rows)


def headline(values: np.ndarray, record: CheckRecord = RECORD):
    return judge(scores_of(values), record, methods=["m"], controls=[])[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_the_t_interval_of_a_mean_over_images(seed: int) -> None:
    values = np.random.default_rng(seed).uniform(0.2, 1.0, 12)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert headline(values).retained_ci == pytest.approx((low, high), abs=1e-12)


def test_outcomes() -> None:
    spread = np.linspace(-0.01, 0.01, 12)
    assert headline(0.97 + spread).outcome is Outcome.PASS
    assert headline(0.6 + spread).outcome is Outcome.FAIL
    assert headline(0.9 + spread).outcome is Outcome.INCONCLUSIVE
    assert headline(np.ones(12)).outcome is Outcome.PASS
    assert headline(np.ones(3)).outcome is Outcome.INCONCLUSIVE


def test_a_column_that_is_a_sample_of_one_decides_nothing() -> None:
    assert headline(np.ones(12), replace(RECORD, is_fixed=False)).outcome is Outcome.INCONCLUSIVE

"""Verdicts as JSON."""

from __future__ import annotations

import json
import math

import pytest

from salsanity.errors import StoreError
from salsanity.records import LabelVerdict, Outcome, Verdict
from salsanity.verdicts import from_json, to_json

nan = math.nan
VERDICT = Verdict(
    "model_randomization",
    "gradient",
    "signed",
    "ssim",
    Outcome.INCONCLUSIVE,
    "1 draw",
    retained_full=0.25,
    retained_half=0.5,
    ceiling=1.0,
    n_images=10,
    n_draws=1,
    n_undefined=2,
    init="module",
)
LABELS = LabelVerdict("data_randomization", "vargrad", None, None, Outcome.PASS, "passes")


def same(a, b):
    """Equality with NaN equal to NaN."""
    return repr(a) == repr(b) and type(a) is type(b)


@pytest.mark.parametrize("verdict", [VERDICT, LABELS])
def test_json_and_back(verdict):
    text = json.dumps(to_json(verdict), allow_nan=False)
    assert same(from_json(json.loads(text)), verdict)


def test_nan_is_null_and_the_outcome_a_string():
    value = to_json(VERDICT)
    assert value["outcome"] == "INCONCLUSIVE"
    assert type(value["outcome"]) is str
    assert value["retained_full_ci"] == [None, None]
    assert value["retained_full"] == 0.25


COMMON = {"check", "method", "view", "similarity", "ceiling", "n_images", "n_draws"}
COMMON |= {"n_undefined", "init", "outcome", "reason"}


def test_the_keys_are_the_promised_ones():
    full, half = {"retained_full", "retained_full_ci"}, {"retained_half", "retained_half_ci"}
    assert set(to_json(VERDICT)) == COMMON | full | half
    assert set(to_json(LABELS)) == COMMON | {"retained", "retained_ci"}


@pytest.mark.parametrize(
    "change", [{"outcome": "MAYBE"}, {"surprise": 1}, {"ceiling": "high"}, {"outcome": None}]
)
def test_what_is_no_verdict_is_refused(change):
    with pytest.raises(StoreError, match="expected a verdict"):
        from_json({**to_json(VERDICT), **change})

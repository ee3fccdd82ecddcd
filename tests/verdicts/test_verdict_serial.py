"""Verdicts as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from salsanity.errors import StoreError
from salsanity.records import Kept, Outcome, Verdict
from salsanity.verdicts import from_json, to_json

nan = math.nan
VERDICT = Verdict(
    "cascade",
    "gradient",
    "signed",
    "ssim",
    Outcome.INCONCLUSIVE,
    "1 draw",
    kept=(Kept("full", "conv1", 0.2, 0.25), Kept("half", "fc", 0.75, 0.5, (0.4, 0.6), "stay")),
    ceiling=1.0,
    n_images=10,
    n_draws=1,
    n_used=9,
    n_undefined=2,
    blank_reference=0.0,
    blank_changed=0.1,
    init="module",
)
BARE = Verdict("labels", "vargrad", None, None, Outcome.PASS, "was not caught", p=0.05)


def same(a, b):
    """Equality with NaN equal to NaN."""
    return repr(a) == repr(b) and type(a) is type(b)


@pytest.mark.parametrize("verdict", [VERDICT, BARE])
def test_json_and_back(verdict):
    text = json.dumps(to_json(verdict), allow_nan=False)
    assert same(from_json(json.loads(text)), verdict)


def test_nan_is_null_and_the_outcome_a_string():
    value = to_json(VERDICT)
    assert value["outcome"] == "INCONCLUSIVE"
    assert type(value["outcome"]) is str
    assert value["retained_full_ci"] == value["retained_ci"] == [None, None]
    assert value["retained_full"] == value["retained"] == 0.25
    assert (value["retained_half"], value["retained_half_ci"]) == (0.5, [0.4, 0.6])
    assert value["p"] is None
    assert to_json(BARE)["retained"] is None


def test_a_bound_without_end_is_null():
    """A draw with nearly all cells leaves next to no degrees of freedom."""
    endless = Kept("full", "full", 0.2, 0.1, (-math.inf, math.inf))
    value = to_json(replace(VERDICT, kept=(endless,)))
    assert value["retained_ci"] == [None, None]


COMMON = {"check", "method", "view", "similarity", "ceiling", "n_images", "n_draws", "n_used"}
COMMON |= {"n_undefined", "init", "outcome", "reason", "p", "blank_reference", "blank_changed"}
COMMON |= {"retained", "retained_ci", "kept"}


def test_the_keys_are_the_promised_ones():
    full, half = {"retained_full", "retained_full_ci"}, {"retained_half", "retained_half_ci"}
    assert set(to_json(VERDICT)) == COMMON | full | half
    assert set(to_json(BARE)) == COMMON
    kept = {"line", "stage", "threshold", "must", "retained", "retained_ci"}
    assert [set(k) for k in to_json(VERDICT)["kept"]] == [kept, kept]


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "MAYBE"},
        {"surprise": 1},
        {"ceiling": "high"},
        {"outcome": None},
        {"kept": [{}]},
        {"kept": None},
    ],
)
def test_what_is_no_verdict_is_refused(change):
    with pytest.raises(StoreError, match="expected a verdict"):
        from_json({**to_json(VERDICT), **change})

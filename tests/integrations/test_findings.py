"""What trackers are told is what the verdicts say, under names that they take."""

from __future__ import annotations

import math
import re

import pytest

from salsanity.integrations import findings as told
from salsanity.integrations.findings import Finding, findings, names, numbers, outcomes, settings
from salsanity.records import Outcome
from salsanity.suite.result import Result

SMOOTH = "smoothgrad(samples=2, sd=0.1)"


def finding(method: str) -> Finding:
    return Finding("cascade", method, Outcome.PASS, 0.1, 0.0, 0.2, "", True)


def test_every_check_and_method_is_told_once_and_no_control(result: Result) -> None:
    found = {(one.check, one.method): one for one in findings(result)}
    assert {method for _, method in found} == {"gradient", SMOOTH, "odd"}
    assert {check for check, _ in found} == {"cascade", "repeat"}
    for row in result.headlines.itertuples():
        assert found[row.check, row.method].outcome == row.outcome


def test_the_number_is_that_of_a_cell_of_the_verdicts_with_its_interval(result: Result) -> None:
    for one in findings(result):
        rows = result.verdicts
        rows = rows[(rows.check == one.check) & (rows.method == one.method) & rows["view"].notna()]
        kept = [k for cell in rows["kept"] for k in cell]
        assert any(
            k["retained"] == pytest.approx(one.number)
            and k["retained_ci"][0] == pytest.approx(one.low)
            for k in kept
        ), one


def test_numbers_are_finite_and_their_names_are_taken_by_trackers(result: Result) -> None:
    made = numbers(result, prefix="salsanity")
    assert "salsanity/cascade/gradient/retained" in made
    assert "salsanity/cascade/smoothgrad_samples_2_ sd_0.1/low" in made
    assert all(math.isfinite(value) for value in made.values())
    assert all(re.fullmatch(r"[\w.: /-]+", name) for name in made)
    assert outcomes(result, prefix="s")["s/cascade/odd"] == result.outcome("odd", "cascade")


def test_settings_say_the_sizes(result: Result) -> None:
    made = settings(result, prefix="salsanity")
    assert made["salsanity.images"] == 6
    assert made["salsanity.trusted"] is result.trusted


def test_names_that_would_be_the_same_are_numbered() -> None:
    made = names([finding("a(b)"), finding("a[b]"), finding("a{b}")], prefix="s")
    assert made == ("s/cascade/a_b", "s/cascade/a_b_2", "s/cascade/a_b_3")
    long = names([finding("x" * 400), finding("x" * 400 + "y")], prefix="s")
    assert len(set(long)) == 2
    assert max(map(len, long)) < 240


def test_twin_names_cut_only_are_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "_unlike_others", iter)
    assert len(set(names([finding("a(b)"), finding("a[b]")], prefix="s"))) == 1

"""Folders of format 1 as folders of today: what old files left unsaid, and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from salsanity.errors import StoreError
from salsanity.records import CheckRecord, Outcome
from salsanity.store.directory import DirectoryStore, all_scores
from salsanity.store.upgrade import (
    FORMAT_VERSION,
    renamed,
    upgraded,
    upgraded_gates,
    upgraded_verdicts,
)
from salsanity.verdicts import from_json, judge

ASSETS = Path(__file__).resolve().parent.parent / "assets"
OLD = {"check-format-1": "cascade", "labels-format-1": "labels"}


@pytest.fixture(params=OLD)
def store(request: pytest.FixtureRequest) -> DirectoryStore:
    return DirectoryStore(ASSETS / request.param)


def raw(store: DirectoryStore, name: str) -> Any:
    return json.loads((store.folder / name).read_text())


def record_of(store: DirectoryStore) -> CheckRecord:
    (value,) = upgraded(raw(store, "spec.json"))["checks"]
    return CheckRecord.from_json(value)


def test_all_that_format_1_said_stays(store: DirectoryStore) -> None:
    old, new = raw(store, "spec.json"), upgraded(raw(store, "spec.json"))
    changed = {"format_version", "check"}
    assert {k: v for k, v in new.items() if k in old and k not in changed} == {
        k: v for k, v in old.items() if k not in changed
    }
    assert new["format_version"] == FORMAT_VERSION == 2
    assert new["check"] == record_of(store).name == OLD[store.folder.name]
    assert new["partners"] == 1


def test_nothing_is_written(store: DirectoryStore) -> None:
    before = {p: p.read_bytes() for p in store.folder.rglob("*") if p.is_file()}
    store.read_spec(), store.read_gates(), store.read_verdicts(), list(store.records())
    assert {p: p.read_bytes() for p in store.folder.rglob("*") if p.is_file()} == before


def test_the_lines_of_the_cascade_are_what_decided_then() -> None:
    record = record_of(DirectoryStore(ASSETS / "check-format-1"))
    assert [(x.name, x.stage, x.threshold, x.nothing) for x in record.lines] == [
        ("full", "conv1", 0.2, True),
        ("half", "conv2", 0.75, False),
    ]
    assert (
        record.lines[1].words == "after the top half of the network, down to conv2, is randomised"
    )
    assert record.states == ("trained", "fc", "conv2", "conv1")
    assert record.is_course
    assert (record.draws, record.init) == (2, "module")
    assert record.controls == {"edge": Outcome.FAIL, "noise": Outcome.PASS}


def test_a_single_honest_network_gives_a_lower_bound_and_two_an_agreement() -> None:
    spec = raw(DirectoryStore(ASSETS / "labels-format-1"), "spec.json")
    (line,) = CheckRecord.from_json(upgraded(spec)["checks"][0]).lines
    assert line.against is None
    assert "lower bound" in line.caveat
    two = spec | {"networks": [*spec["networks"], spec["networks"][0]]}
    (line,) = CheckRecord.from_json(upgraded(two)["checks"][0]).lines
    assert (line.stage, line.against, line.caveat) == ("TP", "TT", "")
    assert line.of == "two honest networks' agreement"


def test_verdicts_say_what_was_kept_at_each_line(store: DirectoryStore) -> None:
    old, record = raw(store, "verdicts.json"), record_of(store)
    new = [from_json(row) for row in store.read_verdicts()]
    assert len(new) == len(old) > 0
    for before, after in zip(old, new, strict=True):
        assert (after.method, after.view, str(after.outcome)) == (
            before["method"],
            before["view"],
            before["outcome"],
        )
        assert after.reason == before["reason"]
        assert [k.line for k in after.kept] == [line.name for line in record.lines]
        one = before.get("retained", before.get("retained_full"))
        assert after.retained == one or (one is None and math.isnan(after.retained))
        assert math.isnan(after.blank_changed)


def test_gates_are_those_of_the_one_check(store: DirectoryStore) -> None:
    old, new, check = raw(store, "gates.json"), store.read_gates(), record_of(store).name
    assert new["controls"] == {check: old["controls"]}
    assert [row["check"] for row in new["health"]] == [check] * len(old["health"])
    assert {k: v for k, v in new.items() if k not in ("controls", "health")} == {
        k: v for k, v in old.items() if k not in ("controls", "health")
    }


def test_what_is_of_today_stays_as_it_is(store: DirectoryStore) -> None:
    spec, gates, rows = store.read_spec(), store.read_gates(), store.read_verdicts()
    assert spec is not None
    assert upgraded(spec) == spec
    assert upgraded_gates(gates, spec) == gates
    assert upgraded_verdicts(rows, spec) == rows


def test_gates_without_controls_are_upgraded_too(store: DirectoryStore) -> None:
    spec = store.read_spec()
    assert spec is not None
    new = upgraded_gates({"failed_units": ["draw 1: no memory", {"unit": "u", "draw": 0}]}, spec)
    assert new["failed_units"] == [
        {"check": spec["check"], "reason": "draw 1: no memory"},
        {"check": spec["check"], "unit": "u", "draw": 0},
    ]
    assert upgraded_gates({}, spec) == {}


def test_scores_bear_todays_name_and_their_files_stay_whole(store: DirectoryStore) -> None:
    records = list(store.records())
    assert {c for r in records for c in r.scores["check"]} == {record_of(store).name}
    assert all(record.key.check not in OLD.values() for record in records)
    assert len(records) == len(list((store.folder / "scores").iterdir()))


def test_old_scores_are_judged_by_the_record(store: DirectoryStore) -> None:
    spec, record = store.read_spec(), record_of(store)
    assert spec is not None
    scores = all_scores(store.records_of(spec))
    found = judge(scores, record, methods=spec["methods"], controls=spec["controls"])
    headlines = {v.method: v for v in found if v.view is None}
    assert set(headlines) == {*spec["methods"], *spec["controls"]}
    assert str(headlines["edge"].outcome) == ("FAIL" if record.is_course else "INCONCLUSIVE")
    by_cell = {(v.method, v.view, v.similarity): v for v in found}
    for row in (
        store.read_verdicts()
    ):  # no score is undefined, so that the ratio of sums is the old ratio of means
        new = by_cell[row["method"], row["view"], row["similarity"]]
        if row["view"] is not None:
            assert new.retained == pytest.approx(row["retained"], abs=1e-9)


def test_twin_scores_by_their_old_name_are_not_found(store: DirectoryStore) -> None:
    spec, record = store.read_spec(), record_of(store)
    assert spec is not None
    scores = all_scores(store.records_of(spec)).assign(check=raw(store, "spec.json")["check"])
    found = judge(scores, record, methods=spec["methods"], controls=())
    assert {v.outcome for v in found} <= {Outcome.UNINFORMATIVE, Outcome.INCONCLUSIVE}
    again = judge(renamed(scores), record, methods=spec["methods"], controls=())
    assert len(again) > len(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 3}, "version 2 or 1, got 3"),
        ({"format_version": None}, "version 2 or 1"),
        ({"check": "pixel_flipping"}, "with a check among"),
    ],
)
def test_what_cannot_be_read_is_refused(
    store: DirectoryStore, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(StoreError, match=words):
        upgraded(raw(store, "spec.json") | change)


def test_a_missing_key_is_named(store: DirectoryStore) -> None:
    spec = raw(store, "spec.json")
    del spec["stages"]
    with pytest.raises(StoreError, match="stages"):
        upgraded(spec)

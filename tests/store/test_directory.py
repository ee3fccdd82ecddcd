"""The store: whole units or none, and damage that is recognised."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pandas as pd
import pytest

from salsanity.errors import StoreError, UsageError
from salsanity.records import UnitKey, UnitResult
from salsanity.store.directory import (
    DirectoryStore,
    UnitRecord,
    all_scores,
    plain,
    replacing,
    table_of,
)
from salsanity.store.folder import locked


def key(draw: int = 0) -> UnitKey:
    return UnitKey(
        "model_randomization", draw, ("a", "b"), ("fc",), ("gradient#1",), ("ssim#2",), "base"
    )


def result(draw: int = 0) -> UnitResult:
    n = 2
    columns = {
        "check": ["model_randomization"] * n,
        "draw": [draw] * n,
        "stage": ["fc"] * n,
        "stage_index": [1] * n,
        "image": ["a", "b"],
        "method": ["gradient"] * n,
        "view": ["signed"] * n,
        "similarity": ["ssim"] * n,
        "value": [0.25 + draw, math.nan],
        "chance": [0.1, math.nan],
        "reason": [None, "constant map"],
    }
    return UnitResult(key(draw), columns, {"health": [], "batch_size": 4})


def record(draw: int) -> UnitRecord:
    return UnitRecord(key(draw), table_of(result(draw).columns))


def test_what_is_put_is_read_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(result())
    (found,) = store.records()
    assert found.key == key()
    assert found.notes == {"health": [], "batch_size": 4}
    assert found.scores["value"].iloc[0] == 0.25
    assert math.isnan(found.scores["value"].iloc[1])
    assert found.scores["reason"].tolist()[1] == "constant map"


def test_a_file_cut_at_any_length_counts_as_absent(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(result())
    path = store.unit_path(key())
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        assert store.get(path) is None
    path.write_bytes(whole)
    assert store.get(path) is not None


def test_a_flipped_byte_in_the_scores_is_recognised(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(result())
    path = store.unit_path(key())
    whole = path.read_bytes()
    original = store.get(path)
    for position in range(4, len(whole), 5):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        found = store.get(path)
        if found is not None:  # a byte that no one reads, such as a statistic
            pd.testing.assert_frame_equal(found.scores, original.scores, check_dtype=False)


def test_a_unit_under_another_name_is_not_trusted(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(result())
    path = store.unit_path(key())
    other = path.with_name("0" * 64 + ".parquet")
    path.rename(other)
    assert store.get(other) is None


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = DirectoryStore(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space"):
        store.put(result())
    assert [p.name for p in (tmp_path / "scores").iterdir()] == []


def test_replacing_keeps_the_old_file_when_the_body_raises(tmp_path: Path) -> None:
    target = tmp_path / "verdicts.json"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(target) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_scores_do_not_depend_on_the_order_of_units() -> None:
    forward = all_scores([record(0), record(1)])
    backward = all_scores([record(1), record(0)])
    pd.testing.assert_frame_equal(forward, backward)


def test_damaged_json_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(StoreError, match=r"spec\.json"):
        DirectoryStore(tmp_path).read_json("spec.json")


def test_numbers_that_json_lacks_become_null() -> None:
    assert plain({"a": (math.nan, 1.5, math.inf), "b": {"c": True}}) == {
        "a": [None, 1.5, None],
        "b": {"c": True},
    }


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(UsageError, match="another salsanity process"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        pass

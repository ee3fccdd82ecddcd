"""Compact rows of scores are the table that they were made of, in memory or in files; and what the store keeps in mind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from salsanity.errors import StoreError
from salsanity.records import UnitKey, UnitResult
from salsanity.rows import PLAIN, Rows
from salsanity.store import directory
from salsanity.store.directory import SCHEMA, Brief, DirectoryStore, arrow_of
from salsanity.verdicts.table import read_scores

TEXTS = ("check", "method", "image", "reason", "stage", "view", "similarity")
NUMBERS = (*PLAIN, "stage_index")
METHODS, STAGES = ("b", "a"), (("self", 0), ("late", 2), ("early", 1))


def table(seed: int, draws: int = 3) -> pd.DataFrame:
    """Two checks, some reasons, rows in any order."""
    chance = np.random.default_rng(seed)
    cells = (
        (m, s, i, d, v)
        for m in METHODS
        for s in STAGES
        for i in range(4)
        for d in range(draws)
        for v in ("signed", "absolute")
    )
    rows = [
        {
            "check": "cascade" if k % 5 else "class",
            "method": m,
            "image": f"image{i}",
            "reason": None if k % 7 else f"why {k % 2}",
            "stage": stage,
            "view": view,
            "similarity": "spearman",
            "value": chance.normal(),
            "chance": chance.normal(),
            "draw": draw,
            "stage_index": index,
        }
        for k, (m, (stage, index), i, draw, view) in enumerate(cells)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed)


def plainly(frame: pd.DataFrame) -> pd.DataFrame:
    whole = frame.assign(**{name: frame[name].astype(object) for name in TEXTS})
    whole = whole[[*TEXTS, *NUMBERS]].assign(
        reason=whole["reason"].where(whole["reason"].notna(), "")
    )
    order = ["check", "method", "stage", "view", "image", "draw", "value"]
    found = whole.astype({"draw": "int64", "stage_index": "int64"}).sort_values(order)
    return found.reset_index(drop=True)


def coded(column: pd.Series) -> Any:
    codes, texts = pd.factorize(column)
    return list(texts), codes.astype(np.int32)


def collected(frames: list[pd.DataFrame], folder: Path, most: int) -> Rows:
    """As units come: the texts of each have places of their own."""
    rows = Rows(folder=folder, most=most)
    for frame in frames:
        rows.add({n: coded(frame[n]) for n in TEXTS}, {n: frame[n].to_numpy() for n in NUMBERS})
    return rows


@pytest.mark.parametrize("most", [0, 200, 10**9])
def test_rows_are_the_table_in_memory_and_in_files(most: int, tmp_path: Path) -> None:
    frames = [table(seed) for seed in range(3)]
    rows = collected(frames, tmp_path, most)
    assert len(rows) == sum(map(len, frames))
    found = pd.concat([rows.frame(check) for check in ("cascade", "class")])
    pd.testing.assert_frame_equal(plainly(found), plainly(pd.concat(frames)), check_dtype=False)
    assert any(bucket.file for bucket in rows.buckets.values()) == (most < 10**9)


def test_twin_a_row_that_was_lost_in_a_file_is_noticed(tmp_path: Path) -> None:
    rows = collected([table(0)], tmp_path, 0)
    bucket = next(iter(rows.buckets.values()))
    assert bucket.file is not None
    assert len(bucket.read()) == bucket.count
    bucket.file.truncate(bucket.file.seek(0, 2) - 32)
    assert len(bucket.read()) == bucket.count - 1


@pytest.mark.parametrize("most", [0, 200, 10**9])
def test_a_cell_has_its_rows_in_the_order_in_which_they_came(most: int, tmp_path: Path) -> None:
    frames = [table(seed) for seed in range(3)]
    rows, whole = collected(frames, tmp_path, most), pd.concat(frames)
    own = whole[(whole["check"] == "cascade") & (whole["method"] == "a")]
    assert sorted(rows.cells("cascade", "a")) == [(v, "spearman") for v in ("absolute", "signed")]
    for view in ("signed", "absolute"):
        found = rows.read_cell("cascade", "a", view, "spearman")
        assert found["value"].tolist() == own.loc[own["view"] == view, "value"].tolist()
    assert not len(rows.read_cell("cascade", "a", "signed", "ssim"))
    assert rows.cells("cascade", "c") == []
    assert rows.views("cascade") == {"signed", "absolute"}


def test_twin_a_cell_that_was_cut_in_a_file_is_refused(tmp_path: Path) -> None:
    rows = collected([table(0)], tmp_path, 0)
    bucket = rows.buckets["cascade", "a"]
    assert bucket.file is not None
    bucket.file.truncate(bucket.file.seek(0, 2) - 32)
    with pytest.raises(StoreError, match="their file was cut"):
        for cell in bucket.spans:
            bucket.read_cell(cell)


def test_an_index_of_rows_is_the_index_of_their_table(tmp_path: Path) -> None:
    frame = table(4)
    own = frame[(frame["check"] == "cascade") & (frame["method"] == "a")]
    cells = own[(own["stage"] == "late") & (own["view"] == "signed")]
    for rows in (collected([frame], tmp_path, 0), Rows.of(frame), frame):
        found = read_scores(rows, check="cascade", stages=["late"])
        assert found.stages == {"late": 2}
        assert found.cells("a") == [("signed", "spearman"), ("absolute", "spearman")]
        at = found.table(("a", "signed", "spearman"), "late")
        assert sorted(at.value[np.isfinite(at.value)]) == sorted(cells["value"])


KEY = UnitKey("cascade", 0, ("x" * 64,), ("late",), ("a#1",), ("spearman#1",), "base")
COLUMNS: Mapping[str, Any] = {
    "check": ["cascade"] * 2,
    "draw": [0, 0],
    "stage": ["late", "self"],
    "stage_index": [1, 0],
    "image": ["é" * 3, "b"],
    "method": ['a "quoted"'] * 2,
    "view": ["signed"] * 2,
    "similarity": ["spearman"] * 2,
    "value": [0.5, float("nan")],
    "chance": [1.0, 2.0],
    "reason": [None, "why"],
}


def written_out(name: str) -> bytes:
    values = COLUMNS[name]
    if name in ("value", "chance"):
        return np.array(values, "<f8").tobytes()
    if name in ("draw", "stage_index"):
        return np.array(values, "<i8").tobytes()
    return json.dumps([None if v is None else str(v) for v in values]).encode()


def test_checksums_are_those_of_every_text_written_out() -> None:
    digests = {name: hashlib.sha256(written_out(name)).hexdigest() for name in SCHEMA.names}
    about = {"unit": KEY.to_json(), "notes": {}}
    assert directory._checksum(about, arrow_of(COLUMNS)) == directory.digest([about, digests])


def test_a_file_that_changed_since_it_was_found_whole_is_looked_at_again(tmp_path: Path) -> None:
    store, other = DirectoryStore(tmp_path), replace(KEY, draw=1)
    for key in (KEY, other):
        store.put(UnitResult(key, COLUMNS, {}))
    assert set(store.finished()) == {Brief.of(KEY), Brief.of(other)}
    assert store.finished(lost=KEY.images[:1]) == [Brief.of(other)]  # which draws no pictures
    path = store.unit_path(other)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    assert store.finished() == [Brief.of(KEY)]
    assert store.discard_damaged() == 1


def test_where_images_lie_is_no_part_of_a_unit() -> None:
    placed = replace(KEY, at=((3, 1),))
    assert placed == KEY
    assert placed.digest == KEY.digest
    assert UnitKey.from_json(json.loads(json.dumps(placed.to_json()))) == KEY


def test_what_is_kept_in_mind_of_a_finished_unit_names_no_image(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(UnitResult(replace(KEY, at=((3, 1),)), COLUMNS, {}))
    (kept,) = store.finished()
    assert kept.place == KEY.place
    assert (kept.check, kept.draw) == (KEY.check, KEY.draw)
    assert (kept.methods, kept.similarities) == (KEY.methods, KEY.similarities)
    assert not any(image in repr(kept) for image in KEY.images)


def test_rows_come_when_they_are_asked_for_and_a_fault_comes_again() -> None:
    asked = []

    def fill(rows: Rows) -> None:
        asked.append(rows)
        directory.add_rows(rows, arrow_of(COLUMNS), None, None)
        if len(asked) == 1:
            raise StoreError("damaged")

    late, now = Rows(fill=fill), Rows()
    directory.add_rows(now, arrow_of(COLUMNS), None, None)
    assert not asked
    with pytest.raises(StoreError, match="damaged"):
        late.texts("method")
    assert late.texts("method") == now.texts("method")
    assert len(late) == len(now)
    assert len(asked) == 2

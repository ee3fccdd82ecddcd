"""A folder of an older format is continued: what it finished is not computed again, and its scores stay."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from salsanity.data.tensors import TensorSource
from salsanity.store.directory import DirectoryStore, all_scores
from salsanity.store.upgrade import renamed
from salsanity.suite import run

ASSETS = Path(__file__).parents[1] / "assets"
sys.path.insert(0, str(ASSETS.parent / "stress"))

import subject  # noqa: E402 - the network that made the assets

GIVEN = {
    "methods": ["gradient", "smoothgrad"],
    "similarities": ["spearman"],
    "samples": 2,
    "steps": 2,
    "batch_size": 8,
    "memory_format": "contiguous",
    "gallery": 1,
    "max_images": 8,
    "name": "subject.py:honest_float32",
}
BY = ["method", "view", "similarity", "stage", "draw", "image"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ASSETS / "check-format-1", tmp_path / "run"))


def continued(folder: Path, **changed: object):
    spec = json.loads((ASSETS / "check-format-1" / "spec.json").read_text())
    asked = {**GIVEN, "draws": spec["draws"], **changed}
    return run(
        "cascade",
        subject.honest_float32(),
        TensorSource(subject.plain_images(), name="plain_images", prefix="plain_images"),
        make_model=subject.honest_float32,
        out=folder,
        **asked,
    )


def rows(scores):
    return renamed(scores).set_index(BY)[["value"]].sort_index()


def test_finished_units_are_taken_over_with_their_scores(old: Path, monkeypatch) -> None:
    before = all_scores([*DirectoryStore(old).records()])
    monkeypatch.setattr(
        "salsanity.units.work.Worker.compute", lambda *_: pytest.fail("computed again")
    )
    result = continued(old)
    assert rows(result.scores).equals(rows(before))
    assert result.spec["partners"] == 1, "chance is by as many partners as the folder began with"
    assert not result.gates["failed_units"]


def test_a_method_more_is_computed_and_the_others_are_kept(old: Path) -> None:
    before = rows(all_scores([*DirectoryStore(old).records()]))
    result = continued(old, methods=["gradient", "smoothgrad", "input_x_gradient"])
    after = rows(result.scores)
    assert set(result.headlines.method) == {"gradient", "smoothgrad", "input_x_gradient"}
    assert after.loc[before.index].equals(before)

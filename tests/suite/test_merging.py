"""Run folders that become one: the same verdicts as one run over all, and refusals of what does not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import salsanity
from networks import chain
from salsanity.cli import app
from salsanity.errors import StoreError, UsageError
from salsanity.records import UnitResult
from salsanity.store import merging
from salsanity.store.directory import SCHEMA, DirectoryStore, units_asked
from salsanity.suite import judging

X = torch.randn(16, 2, 12, 12, generator=torch.Generator().manual_seed(5))
FAST: dict[str, Any] = {
    "similarities": ["spearman"],
    "draws": 4,
    "gallery": 1,
    "batch_size": 8,
    "memory_format": "contiguous",
}
METHODS = ["gradient", "input_x_gradient"]


@pytest.fixture(autouse=True, scope="module")
def no_drawing() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "draw_report", lambda *_: None)
        yield


def run(out: Path, images: Tensor = X, **options: Any) -> salsanity.Result:
    asked = {"methods": METHODS, **FAST, **options}
    return salsanity.run(["cascade", "class"], chain().float(), images, out=out, **asked)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> salsanity.Result:
    return run(tmp_path_factory.mktemp("whole") / "run")


def part_of(
    whole: salsanity.Result, out: Path, images: list[str] | None = None, draws: range | None = None
) -> Path:
    """Write the folder that a run of some images, or of some draws under another seed, would have left."""
    shutil.copytree(whole.folder, out, ignore=shutil.ignore_patterns("scores", ".lock"))
    store, spec, keys = DirectoryStore(out), whole.spec, []
    for record in DirectoryStore(whole.folder).records_of(spec):
        if images is not None and not set(record.key.images) <= set(images):
            continue
        if draws is not None and record.key.draw not in draws:
            continue
        first = draws.start if draws else 0
        scores = record.scores.assign(draw=record.scores["draw"] - first)
        key = replace(record.key, draw=record.key.draw - first)
        store.put(UnitResult(key, {n: list(scores[n]) for n in SCHEMA.names}, record.notes))
        keys.append(key)
    spec["settings"] = {**spec["settings"], "units": units_asked(keys)}
    if images is not None:
        spec["images"] = [image for image in spec["images"] if image["id"] in images]
    if draws is not None:
        spec["seed"] = draws.start
        spec["checks"] = [{**check, "draws": len(draws)} for check in spec["checks"]]
    store.write_json("spec.json", spec)
    return out


def assert_same_verdicts(found: salsanity.Result, whole: salsanity.Result) -> None:
    numbers = ["outcome", "reason", "retained", "retained_low", "retained_high", "n_used"]
    keys = ["check", "method", "view", "similarity"]
    a, b = (r.verdicts.set_index(keys)[numbers].sort_index() for r in (found, whole))
    pd.testing.assert_frame_equal(a, b)
    assert found.trusted == whole.trusted


def test_disjoint_images_give_the_verdicts_of_one_run(
    whole: salsanity.Result, tmp_path: Path
) -> None:
    ids = [image["id"] for image in whole.spec["images"]]
    parts = [part_of(whole, tmp_path / "a", ids[:8]), part_of(whole, tmp_path / "b", ids[8:])]
    found = salsanity.merge(parts, tmp_path / "out")
    assert_same_verdicts(found, whole)
    assert [image["id"] for image in found.spec["images"]] == ids
    assert found.spec["settings"]["merged"]["of"] == "images"


def test_other_draws_give_the_verdicts_of_one_run(whole: salsanity.Result, tmp_path: Path) -> None:
    parts = [
        part_of(whole, tmp_path / "a", draws=range(2)),
        part_of(whole, tmp_path / "b", draws=range(2, 4)),
    ]
    found = salsanity.merge(parts, tmp_path / "out")
    assert_same_verdicts(found, whole)
    assert [check["draws"] for check in found.spec["checks"]] == [4, 4]


def test_runs_of_different_images_are_merged_as_a_user_makes_them(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, part) for name, part in (("a", X[:8]), ("b", X[8:]))]
    found = salsanity.merge([one.folder for one in runs], tmp_path / "out")
    assert len(found.spec["images"]) == 16
    assert len(found.scores) == sum(len(one.scores) for one in runs)
    cells = found.verdicts[found.verdicts["view"].notna() & (found.verdicts["check"] == "class")]
    assert (cells["n_images"] == 16).all()
    assert len(list((tmp_path / "out" / "gallery").iterdir())) == 2
    assert found.run.parts[0].gallery


def test_runs_of_different_seeds_are_merged_as_a_user_makes_them(tmp_path: Path) -> None:
    runs = [run(tmp_path / str(seed), X[:8], seed=seed) for seed in (0, 1)]
    found = salsanity.merge([one.folder for one in runs], tmp_path / "out")
    cells = found.verdicts[found.verdicts["view"].notna() & (found.verdicts["check"] == "class")]
    assert set(cells["n_draws"]) == {8}
    both = [s[(s["check"] == "class") & (s["stage"] != "self")] for s in (r.scores for r in runs)]
    rows = pd.concat(both)
    rows = rows[(rows["method"] == "gradient") & (rows["view"] == "signed")]
    literal = (rows["value"] - rows["chance"]).sum() / (1 - rows["chance"]).sum()
    one = cells[(cells["method"] == "gradient") & (cells["view"] == "signed")]
    assert one["retained"].item() == pytest.approx(literal)


def test_twin_draws_that_keep_their_numbers_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run(tmp_path / str(seed), X[:8], seed=seed) for seed in (0, 1)]
    monkeypatch.setattr(merging, "_renumbered", lambda record, _: RENUMBERED(record, 0))
    with pytest.raises(StoreError, match="two different ones"):
        salsanity.merge([one.folder for one in runs], tmp_path / "out")


RENUMBERED = merging._renumbered


def edited(folder: Path, change: Callable[[dict[str, Any]], None], name: str = "spec.json") -> Path:
    value = json.loads((folder / name).read_text())
    change(value)
    (folder / name).write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("network differ", lambda s: s["model"].update(fingerprint="0")),
        ("methods differ", lambda s: s.update(methods=["gradient"])),
        ("explainers' code", lambda s: s["settings"]["units"].update(methods=["gradient#1"])),
        ("options of the run", lambda s: s["settings"]["identity"].update(precision="tf32")),
        ("checks differ", lambda s: s["checks"][0]["lines"][0].update(threshold=0.3)),
        ("version of torch", lambda s: s["versions"].update(torch="1.0")),
        ("partners of chance", lambda s: s.update(partners=1)),
        ("left some out", lambda s: s.update(until_decided=True)),
        ("the same draws", lambda s: s["checks"][0].update(draws=5)),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    whole: salsanity.Result, tmp_path: Path, words: str, change: Callable[[dict[str, Any]], None]
) -> None:
    ids = [image["id"] for image in whole.spec["images"]]
    parts = [part_of(whole, tmp_path / "a", ids[:8]), part_of(whole, tmp_path / "b", ids[8:])]
    edited(parts[1], change)
    with pytest.raises(StoreError, match=words):
        salsanity.merge(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_and_seeds_must_fit(whole: salsanity.Result, tmp_path: Path) -> None:
    ids = [image["id"] for image in whole.spec["images"]]
    a, b = part_of(whole, tmp_path / "a", ids[:8]), part_of(whole, tmp_path / "b", ids[8:])
    with pytest.raises(StoreError, match="images that several hold"):
        salsanity.merge([a, whole.folder], tmp_path / "out")
    edited(b, lambda spec: spec.update(seed=1))
    with pytest.raises(StoreError, match="different seeds with the same images"):
        salsanity.merge([a, b], tmp_path / "out")
    with pytest.raises(StoreError, match="at least two"):
        salsanity.merge([a], tmp_path / "out")


def test_unfinished_and_older_folders_are_refused(whole: salsanity.Result, tmp_path: Path) -> None:
    ids = [image["id"] for image in whole.spec["images"]]
    a, b = part_of(whole, tmp_path / "a", ids[:8]), part_of(whole, tmp_path / "b", ids[8:])
    edited(b, lambda gates: gates.pop("beforehand"), "gates.json")
    with pytest.raises(StoreError, match="an older version"):
        salsanity.merge([a, b], tmp_path / "out")
    (b / "gates.json").unlink()
    with pytest.raises(StoreError, match="a finished run"):
        salsanity.merge([a, b], tmp_path / "out")


def test_checks_without_draws_of_chance_are_not_merged_by_draws(tmp_path: Path) -> None:
    folders = []
    for seed in (0, 1):
        folders.append(tmp_path / str(seed))
        asked = {"methods": METHODS, **FAST, "seed": seed}
        salsanity.run("exchange", chain().float(), X[:8], out=folders[-1], **asked | {"draws": 3})
    with pytest.raises(StoreError, match="draws are a sample, got exchange"):
        salsanity.merge(folders, tmp_path / "out")


def test_a_folder_that_holds_something_is_left_alone(
    whole: salsanity.Result, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="a new folder"):
        salsanity.merge([whole.folder, whole.folder], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_the_command_line_merges(
    whole: salsanity.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [image["id"] for image in whole.spec["images"]]
    parts = [part_of(whole, tmp_path / "a", ids[:8]), part_of(whole, tmp_path / "b", ids[8:])]
    code = app.run(["merge", str(tmp_path / "out"), *map(str, parts)])
    assert code == whole.exit_code
    assert "input_x_gradient" in capsys.readouterr().out
    assert app.run(["merge", str(tmp_path / "new"), str(parts[0]), str(tmp_path)]) == 2


def test_merging_needs_no_torch() -> None:
    code = "import sys, salsanity.store.merging; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_accuracies_are_pooled_over_images() -> None:
    known = [{"trained": 1.0, "chance": 0.1, "n": 10}, {"trained": 0.5, "chance": 0.1, "n": 30}]
    assert merging.pooled_accuracy(known) == {"trained": 0.625, "chance": 0.1, "n": 40}
    assert merging.pooled_accuracy([known[0], None]) is None
    assert merging.pooled_accuracy([]) is None

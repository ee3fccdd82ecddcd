from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_run import SCRIPT, Recipe, kept, write_cascade

from salsanity.errors import StoreError
from salsanity.records import Outcome
from salsanity.report import read_run
from salsanity.report.summary import distrust
from salsanity.rows import Rows


@pytest.fixture
def damaged(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "run"))


def test_a_run_holds_what_was_asked_measured_and_concluded(cascade: Path) -> None:
    (run,) = read_run(cascade).parts
    assert run.stages == ("fc2", "fc1", "conv2", "conv1")
    assert run.states == ("trained", *run.stages)
    assert run.headlines["guided_backprop"].outcome is Outcome.FAIL
    assert len(run.cells("gradient")) == 6
    assert len(run.cells("gradient", "signed")) == 3
    assert len(run.scores) == 14 * 6 * (8 + 3 * 4 * 8)
    assert run.trusted
    assert run.record.name == "cascade"


def test_what_was_kept_stands_at_the_lines_of_the_check(labels: Path, cascade: Path) -> None:
    (part,) = read_run(labels).parts
    cell = part.cells("guided_backprop", "absolute")[0]
    assert cell.retained == pytest.approx(kept("guided_backprop", "absolute", 1.0))
    assert [k.line for k in cell.kept] == ["permuted"]
    assert part.states == ("true:0", "true:1", "permuted:0", "permuted:1")
    (other,) = read_run(cascade).parts
    assert [k.line for k in other.cells("gradient")[0].kept] == ["full", "half"]


def test_every_check_of_a_run_is_a_part_with_its_own(several: Path) -> None:
    run = read_run(several)
    assert [part.record.name for part in run.parts] == ["cascade", "turned", "moved"]
    for part in run.parts:
        assert set(part.scores["check"]) == {part.record.name}
        assert {v.check for v in part.verdicts} == {part.record.name}
        assert set(part.gates["controls"]) == set(part.record.controls)
        assert {row["check"] for row in part.gates["health"]} <= {part.record.name}
    assert run.parts[0].gates["health"]
    assert not run.parts[1].gates["health"]


def test_a_check_is_distrusted_for_its_own_reasons(several: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(several, tmp_path / "run"))
    gates = json.loads((folder / "gates.json").read_text())
    gates |= {"trusted": False, "reasons": ["the control `edge` failed"]}
    gates["checks"] = {"cascade": [], "turned": ["the control `edge` failed"], "moved": []}
    gates["failed_units"] = [{"unit": "u" * 64, "check": "moved", "draw": 1, "reason": "no memory"}]
    (folder / "gates.json").write_text(json.dumps(gates))
    run = read_run(folder)
    assert not run.trusted
    assert [part.trusted for part in run.parts] == [True, False, False]
    assert distrust(run.parts[0]) == []
    assert distrust(run) == [
        "The turned check: the control `edge` failed",
        "failed (draw 1, unit uuuuuuuuuuuu): no memory",
    ]
    del gates["checks"]
    (folder / "gates.json").write_text(json.dumps(gates))
    assert [part.trusted for part in read_run(folder).parts] == [False, False, False]


def test_maps_of_one_check_do_not_stand_for_those_of_another(several: Path, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = Path(shutil.copytree(several, tmp_path / "run"))
    image = read_run(folder).parts[0].gallery[0]
    tensors = {"photo": image.photo()}
    tensors |= {f"maps/gradient/{s}": np.zeros((1, 8, 8), np.float32) for s in ("trained", "conv1")}
    tensors["maps/turned/gradient/conv1"] = np.ones((1, 8, 8), np.float32)
    save_file(tensors, image.path, metadata={"image": image.image})
    cascade, turned, _ = (part.gallery[0] for part in read_run(folder).parts)
    assert cascade.map("gradient", "conv1").max() == 0
    assert turned.map("gradient", "conv1").min() == 1
    assert turned.map("gradient", "trained").max() == 0


def test_a_run_of_format_1_is_read_as_one_of_today(old: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        stages=("fc2", "fc1", "conv2", "conv1"), images=8, gallery=1, side=20, hostile=False
    )
    new = read_run(write_cascade(tmp_path, recipe)).parts[0]
    (part,) = read_run(old).parts
    assert part.record.lines == new.record.lines
    assert part.record.stages == new.record.stages
    assert part.record.controls == new.record.controls
    assert [v.kept for v in part.verdicts] == [v.kept for v in new.verdicts]
    assert part.gates["controls"] == new.gates["controls"]
    pd.testing.assert_frame_equal(part.scores, new.scores)


def test_a_method_that_raised_everywhere_is_broken_and_no_other(plain: Path) -> None:
    (part,) = read_run(plain).parts
    rows = part.scores["method"] == "vargrad"
    said = "vargrad raised ModuleNotFoundError: No module named 'nowhere'"
    assert part.broken == {}
    scores = part.scores.assign(
        value=part.scores["value"].mask(rows),
        reason=part.scores["reason"].astype(object).mask(rows, said),
    )
    assert replace(part, verdicts=(), rows=Rows.of(scores)).broken == {"vargrad": said}
    some = scores.assign(value=scores["value"].where(scores.index != scores.index[rows][0], 0.5))
    assert replace(part, verdicts=(), rows=Rows.of(some)).broken == {}
    blank = scores.assign(reason=scores["reason"].mask(rows, "constant map"))
    assert replace(part, verdicts=(), rows=Rows.of(blank)).broken == {}


def test_the_gallery_is_in_the_order_of_the_run(cascade: Path) -> None:
    (run,) = read_run(cascade).parts
    assert [g.image for g in run.gallery] == [i["id"] for i in run.spec["images"][:3]]
    first = run.gallery[0]
    assert first.target == SCRIPT
    assert first.photo().shape == (3, 28, 28)
    assert first.has("gradient", "trained")
    assert not first.has("gradient", "nowhere")
    assert first.map("edge", "conv1").dtype == np.float32


def test_inputs_that_are_no_images_have_no_pictures(damaged: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"photo": np.zeros((3, 7), np.float32)}, damaged / "gallery" / "flat.safetensors")
    assert len(read_run(damaged).parts[0].gallery) == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("spec.json", "{", "readable spec.json"),
        ("spec.json", "[]", "JSON dict"),
        ("spec.json", '{"format_version": 3}', "format version 2 or 1"),
        ("spec.json", '{"format_version": 2}', "expected the keys"),
        ("spec.json", '{"format_version": 1}', "expected the keys"),
        ("verdicts.json", "{}", "JSON list"),
        ("verdicts.json", '[{"outcome": "MAYBE"}]', "expected a verdict"),
        ("coverage.json", "nonsense", "readable coverage.json"),
    ],
)
def test_a_damaged_folder_is_named(damaged: Path, name: str, text: str, words: str) -> None:
    (damaged / name).write_text(text)
    with pytest.raises(StoreError, match=words):
        read_run(damaged)


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ([], "at least one check"),
        ([{"name": "x"}], "as this version writes them"),
        ([7], "as this"),
    ],
)
def test_checks_that_cannot_be_read_are_named(damaged: Path, checks: list, words: str) -> None:
    spec = json.loads((damaged / "spec.json").read_text()) | {"checks": checks}
    (damaged / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(StoreError, match=words):
        read_run(damaged)


def test_a_view_of_another_name_is_refused(damaged: Path) -> None:
    spec = json.loads((damaged / "spec.json").read_text()) | {"views": ["../../up"]}
    (damaged / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(StoreError, match="views among"):
        read_run(damaged)


@pytest.mark.parametrize("where", ["scores/x.parquet", "gallery/x.safetensors"])
def test_damaged_binary_files_are_named(damaged: Path, where: str) -> None:
    (damaged / where).write_bytes(b"not what it says")
    with pytest.raises(StoreError, match=r"x\.(parquet|safetensors)"):
        read_run(damaged)


def test_a_damaged_map_is_named(damaged: Path) -> None:
    image = read_run(damaged).parts[0].gallery[0]
    with pytest.raises(StoreError, match="maps/gradient/nowhere"):
        image.map("gradient", "nowhere")


@pytest.mark.parametrize("where", ["spec.json", "gallery/x.safetensors", "scores/x.parquet"])
def test_links_out_of_the_folder_are_refused(damaged: Path, tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("{}")
    (damaged / where).unlink(missing_ok=True)
    (damaged / where).symlink_to(outside)
    with pytest.raises(StoreError, match="leads out of it"):
        read_run(damaged)


def test_a_folder_that_is_no_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="salsanity check"):
        read_run(tmp_path)


def test_a_run_without_gallery_gates_and_coverage_can_be_read(tmp_path: Path) -> None:
    folder = write_cascade(tmp_path, Recipe(stages=("fc",), images=4, gallery=0, side=8))
    (folder / "gates.json").unlink()
    (folder / "coverage.json").unlink()
    (run,) = read_run(folder).parts
    assert run.gallery == ()
    assert run.trusted


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys; import salsanity.report.html, salsanity.report.figures, "
        "salsanity.report.tables, salsanity.report.notebook, salsanity.report.card, "
        "salsanity.report.junit; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

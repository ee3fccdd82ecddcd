from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import SCRIPT, Recipe, kept, write_cascade

from salsanity.errors import StoreError
from salsanity.records import Outcome
from salsanity.report import read_run


@pytest.fixture
def damaged(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "run"))


def test_a_run_holds_what_was_asked_measured_and_concluded(cascade: Path) -> None:
    run = read_run(cascade)
    assert run.stages == ("fc2", "fc1", "conv2", "conv1")
    assert run.states == ("trained", *run.stages)
    assert run.headlines["guided_backprop"].outcome is Outcome.FAIL
    assert len(run.cells("gradient")) == 6
    assert len(run.cells("gradient", "signed")) == 3
    assert len(run.scores) == 14 * 6 * (8 + 3 * 4 * 8)
    assert run.trusted
    assert not run.is_labels


def test_label_verdicts_take_the_place_of_full(labels: Path) -> None:
    run = read_run(labels)
    cell = run.cells("guided_backprop", "absolute")[0]
    assert cell.retained_full == pytest.approx(kept("guided_backprop", "absolute", 1.0))
    assert math.isnan(cell.retained_half)
    assert run.is_labels
    assert run.states == ("true:0", "true:1", "permuted:0", "permuted:1")


def test_the_gallery_is_in_the_order_of_the_run(cascade: Path) -> None:
    run = read_run(cascade)
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
    assert len(read_run(damaged).gallery) == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("spec.json", "{", "readable spec.json"),
        ("spec.json", "[]", "JSON dict"),
        ("spec.json", '{"format_version": 2}', "format version 1"),
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
    image = read_run(damaged).gallery[0]
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
    run = read_run(folder)
    assert run.gallery == ()
    assert run.trusted


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys; import salsanity.report.html, salsanity.report.figures, "
        "salsanity.report.tables, salsanity.report.notebook; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The shortcut check from Python and the command line: training, verification, pictures, and resumption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import salsanity
from salsanity.cli.app import run as command
from salsanity.errors import DataError, SpecError, TrainingError, UsageError
from salsanity.report import read_run
from salsanity.suite import judging
from salsanity.training.settings import TrainingSettings

FAST: dict[str, Any] = {"samples": 2, "steps": 2, "max_images": 12, "gallery": 2, "batch_size": 8}
METHODS = ["gradient", "input_x_gradient"]
SIDE = 16
SETTINGS = TrainingSettings(epochs=60, batch_size=20, learning_rate=5e-3, l2=0.0, stop_at=0.99)


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * SIDE**2, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )


def bars(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images with a bar in the middle, away from the border; its place and direction are the class."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.5 * torch.rand(count, 1, SIDE, SIDE, generator=generator)
    y = torch.randint(0, 4, (count,), generator=generator)
    for image, label in zip(x[:, 0, 5:11, 5:11], y.tolist(), strict=True):
        rows, columns = divmod(label, 2)
        bar = image[3 * columns : 3 * columns + 2] if rows else image[:, 3 * columns :][:, :2]
        bar += 0.5
    return x, y


def run(out: Path, **options: Any) -> salsanity.Result:
    asked = {"methods": METHODS, "training": SETTINGS, **FAST, **options}
    return salsanity.shortcut_test(build, bars(200, 0), bars(100, 1), out=out, **asked)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> salsanity.Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "draw_report", lambda *_: None)
        return run(tmp_path_factory.mktemp("shortcut") / "run")


def test_two_networks_of_each_kind_are_trained_verified_and_compared(
    first: salsanity.Result,
) -> None:
    networks = first.spec["networks"]
    assert [n["kind"] for n in networks] == ["plain", "plain", "cue", "cue"]
    for network in networks:
        lost = network["right"] - network["wrong"]
        assert network["wrong"] < 0.35 if network["kind"] == "cue" else lost <= 0.05
        assert network["right"] > 0.9
    assert len({n["fingerprint"] for n in networks}) == 4
    scores = first.scores
    assert scores[scores.stage == "cue"]["draw"].nunique() == 4
    assert set(scores["similarity"]) == {"mass"}
    assert set(scores["view"]) == {"absolute"}
    assert first.gates["trusted"], first.gates["reasons"]
    assert set(first.headlines["outcome"]) <= {"PASS", "FAIL", "INCONCLUSIVE"}
    (record,) = first.spec["checks"]
    assert record["states"] == ["plain:0", "plain:1", "cue:0", "cue:1"]
    assert "cue:" in record["facts"]["Accuracy with a wrong mark"]


def test_controls_do_not_see_the_network(first: salsanity.Result) -> None:
    scores = first.scores[first.scores.stage == "cue"]
    for control in ("edge", "input"):
        rows = scores[scores.method == control]
        np.testing.assert_allclose(rows["value"], rows["chance"], rtol=1e-12)
        assert first.outcome(control) == "FAIL"
    assert first.outcome("noise") == "FAIL"


def test_maps_are_of_the_true_label(first: salsanity.Result) -> None:
    labels = bars(100, 1)[1]
    for entry in first.spec["images"]:
        assert entry["target"] == int(labels[int(entry["name"].rpartition("/")[2])])


def test_the_gallery_shows_the_mark_and_the_maps_of_every_network(first: salsanity.Result) -> None:
    x, labels = bars(100, 1)
    corners = [(0, 0), (0, 11), (11, 11), (11, 0)]
    gallery = read_run(first.folder).parts[0].gallery
    assert len(gallery) == 2
    for image in gallery:
        position = int(image.name.rpartition("/")[2])
        top, left = corners[int(labels[position])]
        photo = image.photo()
        patch = photo[0, top : top + 5, left : left + 5]
        assert set(np.unique(np.round(patch, 3))) == {
            0.0,
            np.round(float(bars(200, 0)[0].max()), 3),
        }
        photo[:, top : top + 5, left : left + 5] = x[position, :, top : top + 5, left : left + 5]
        np.testing.assert_allclose(photo, x[position], atol=1e-6)
        for state in ("plain:0", "plain:1", "cue:0", "cue:1"):
            assert image.has("gradient", state)


def files(folder: Path, suffixes: tuple[str, ...]) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.suffix in suffixes}


def test_the_same_call_trains_nothing_again_and_another_line_judges_anew(
    first: salsanity.Result,
) -> None:
    before = files(first.folder, (".safetensors", ".parquet"))
    again = run(first.folder)
    pd.testing.assert_frame_equal(again.verdicts, first.verdicts)
    strict = run(first.folder, d_shortcut=0.999)
    assert strict.outcome("gradient") == "FAIL"
    assert files(first.folder, (".safetensors", ".parquet")) == before
    with pytest.raises(SpecError, match="another training"):
        run(first.folder, training=replace(SETTINGS, learning_rate=1e-3))


def test_an_interrupted_training_continues(first: salsanity.Result, tmp_path: Path) -> None:
    slow = replace(SETTINGS, learning_rate=1e-3, wanted=0.999, stop_at=0.999)
    with pytest.raises(TrainingError, match=r"more epochs \(now 1\)"):
        run(tmp_path, training=replace(slow, epochs=1))
    assert [p.name for p in (tmp_path / "networks").iterdir()] == ["plain-0.checkpoint"]
    result = run(tmp_path, training=slow)
    assert len(result.spec["networks"]) == 4
    assert not list((tmp_path / "networks").glob("*.checkpoint"))


def test_a_mark_that_nobody_sees_is_refused_with_the_figures(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((1, 1), dtype=np.uint8)).save(tmp_path / "mark.png")
    with pytest.raises(TrainingError, match=r"cue:0 has accuracy \S+ with the right mark and \S+"):
        run(tmp_path / "run", mark=tmp_path / "mark.png")
    assert not (tmp_path / "run" / "verdicts.json").exists()


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label"):
        salsanity.shortcut_test(build, bars(20, 0)[0], bars(20, 1), out=tmp_path / "a", **FAST)
    with pytest.raises(UsageError, match="salsanity shortcut"):
        salsanity.run("shortcut", build(), bars(20, 1), out=tmp_path / "b", **FAST)
    for name, value in (("draws", 3), ("similarities", ["ssim"]), ("threshold", 0.5)):
        with pytest.raises(SpecError, match=name):
            run(tmp_path / "c", **{name: value})
    assert not list(tmp_path.rglob("*.safetensors"))


DATA = """
import torch
from test_shortcut_run import bars, build


def data(split):
    return bars(200, 0) if split == "train" else bars(100, 1)
"""


def test_from_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(DATA)
    given = ["--model", f"{file}:build", "--data", f"{file}:data", "--out", str(tmp_path / "run")]
    options = "--learning-rate .005 --epochs 60 --max-images 8 --batch-size 8 --method gradient"
    code = command(["shortcut", *given, *options.split(), "--device", "cpu", "--json"])
    told = capfd.readouterr()
    verdicts = json.loads(told.out)
    assert {v["check"] for v in verdicts} == {"shortcut"}
    assert code in (0, 1, 3)
    assert "with the right mark" in told.err
    assert command(["shortcut", *given, "--similarity", "ssim"]) == 2
    assert "'similarity' is no option of the check shortcut" in " ".join(
        capfd.readouterr().err.split()
    )


def test_a_folder_needs_images_to_test_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train").mkdir()
    assert command(["shortcut", "--model", "reference:cnn", "--data", str(tmp_path)]) == 2
    assert "the folders train and test" in " ".join(capfd.readouterr().err.split())

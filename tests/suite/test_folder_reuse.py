"""A folder that holds more than one run's units, or damage: each score counts once, and what is lost is made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import salsanity
from networks import chain
from salsanity.report import read_run
from salsanity.suite import judging

ROW = ["draw", "stage", "image", "method", "view", "similarity"]


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


def run(out: Path, **options: Any) -> salsanity.Result:
    pictures = torch.randn(14, 2, 12, 12, generator=torch.Generator().manual_seed(5))
    asked = {"methods": ["gradient"], "similarities": ["spearman"], "draws": 1, "gallery": 2}
    more = {"max_images": 9, "batch_size": 8, "memory_format": "contiguous"}
    return salsanity.model_randomization_test(
        chain().float(), pictures, out=out, **{**asked, **more, **options}
    )


def test_units_of_an_earlier_division_of_the_images_count_once(tmp_path: Path) -> None:
    run(tmp_path)
    before = set((tmp_path / "scores").iterdir())
    grown = run(tmp_path, max_images=14)
    assert before <= set((tmp_path / "scores").iterdir()), "finished units are kept"
    assert not grown.scores.duplicated(ROW).any()
    (part,) = read_run(tmp_path).parts
    assert not part.scores.duplicated(ROW).any()
    assert grown.scores["image"].nunique() == 14


def test_a_smaller_run_in_the_folder_reads_its_own_scores(tmp_path: Path) -> None:
    run(tmp_path, methods=["gradient", "input_x_gradient"])
    small = run(tmp_path, methods=["gradient"])
    assert "input_x_gradient" not in set(small.scores["method"])
    (part,) = read_run(tmp_path).parts
    assert "input_x_gradient" not in set(part.scores["method"])


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '"text"', "[" * 100_000])
def test_a_damaged_spec_is_set_aside_and_units_are_kept(content: str, tmp_path: Path) -> None:
    first = run(tmp_path).scores
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "scores").iterdir()}
    (tmp_path / "spec.json").write_text(content)
    again = run(tmp_path)
    assert again.scores.equals(first)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "scores").iterdir()} == stamps
    assert (tmp_path / "spec.json.damaged").read_text() == content
    assert json.loads((tmp_path / "spec.json").read_text())["format_version"] == 2


def test_a_damaged_picture_is_drawn_again_and_a_deleted_one_is_not(tmp_path: Path) -> None:
    run(tmp_path)
    one, other = sorted((tmp_path / "gallery").iterdir())
    whole = one.stat().st_size
    one.write_bytes(one.read_bytes()[:100])
    run(tmp_path)
    assert one.stat().st_size == whole
    one.unlink()
    run(tmp_path)
    assert not one.exists()
    assert other.exists()


def test_the_reason_of_the_initialiser_outlives_a_resume(tmp_path: Path) -> None:
    first = run(tmp_path).spec["settings"]["notes"]
    assert run(tmp_path, draws=2).spec["settings"]["notes"] == first


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_the_network_keeps_its_layout_and_an_explainer_that_spoils_it_spoils_nothing_else(
    memory_format: str, tmp_path: Path
) -> None:
    layouts: list[bool] = []

    def spoils(model: torch.nn.Module, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        kernel = next(p for p in model.parameters() if p.ndim == 4)
        layouts.append(kernel.is_contiguous(memory_format=torch.channels_last))
        model(x)
        for parameter in model.parameters():
            parameter.data.zero_()
        return x

    alone = run(tmp_path / "alone", memory_format=memory_format)
    beside = run(tmp_path / "beside", methods=["gradient", spoils], memory_format=memory_format)
    scores = beside.scores[beside.scores["method"] == "gradient"].reset_index(drop=True)
    expected = alone.scores[alone.scores["method"] == "gradient"].reset_index(drop=True)
    assert scores.equals(expected)
    assert beside.gates["failed_units"] == []
    assert layouts[-1] == (memory_format == "channels_last"), "in which it is when units are done"

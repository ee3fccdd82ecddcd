"""What people do first, and may do wrong: one image, no weights, `no_grad`, a text for a list, Ctrl-C."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import salsanity
from networks import chain
from salsanity.cli import app
from salsanity.data.images import for_classes, open_folder
from salsanity.errors import MethodError, ModelError

FAST: dict[str, Any] = {
    "methods": ["gradient"],
    "similarities": ["spearman"],
    "draws": 2,
    "gallery": 1,
    "batch_size": 4,
    "memory_format": "contiguous",
}
X = torch.randn(4, 2, 12, 12, generator=torch.Generator().manual_seed(5))

BUILDER = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))

def trained():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = build()
        model[0].weight.data *= 1.5
        return model
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "nets.py").write_text(BUILDER)
    random = np.random.default_rng(0)
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    return tmp_path


def check(model: str, *options: str) -> int:
    few = ["--draws", "2", "--gallery", "0", "--batch-size", "4", "--method", "gradient"]
    return app.run(
        ["check", "--model", model, "--images", "photos", "--size", "12", *few, *options]
    )


def test_one_image_gets_an_answer_and_a_report(tmp_path: Path) -> None:
    result = salsanity.model_randomization_test(chain().float(), X[:1], out=tmp_path / "r", **FAST)
    assert result.outcome("gradient") == "INCONCLUSIVE"
    assert "needs at least 4" in result.headlines["reason"].iloc[0]
    assert (tmp_path / "r" / "report.html").is_file()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_computed_where_the_caller_turned_them_off(
    mode: type[AbstractContextManager[None]], tmp_path: Path
) -> None:
    with mode():
        off = salsanity.model_randomization_test(chain().float(), X, out=tmp_path / "off", **FAST)
        assert not torch.is_grad_enabled()
    on = salsanity.model_randomization_test(chain().float(), X, out=tmp_path / "on", **FAST)
    assert off.scores.equals(on.scores)


def test_another_precision_is_said_in_the_advice(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"weights are torch\.float64 and the images torch\.float32"
    ):
        salsanity.model_randomization_test(chain().double(), X, out=tmp_path, **FAST)


def test_a_text_in_place_of_a_list_of_methods(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="expected a list of methods, got the text 'gradient'"):
        salsanity.model_randomization_test(
            chain().float(), X, out=tmp_path, **{**FAST, "methods": "gradient"}
        )


def test_an_explainer_that_cannot_be_called_is_refused_at_once(tmp_path: Path) -> None:
    def mine(network: nn.Module) -> Tensor:
        raise AssertionError(network)

    with pytest.raises(MethodError, match=r"expected an explainer \(model, inputs, targets\)"):
        salsanity.model_randomization_test(
            chain().float(), X, out=tmp_path, **{**FAST, "methods": [mine]}
        )
    assert not list(tmp_path.iterdir())


def test_subfolders_are_classes_where_there_are_as_many(place: Path) -> None:
    source = open_folder(place / "photos")
    assert for_classes(source, 2) == (source, None)
    other, note = for_classes(source, 3)
    assert (other[0].label, other.class_names, other.files) == (None, None, source.files)
    assert note is not None
    assert "2 subfolders and the network 3 classes" in note


def test_labels_of_a_file_stay(place: Path) -> None:
    (place / "photos" / "labels.json").write_text('{"a/1.png": 2}')
    source = open_folder(place / "photos")
    assert for_classes(source, 3) == (source, None)
    assert source[0].label == 2


def test_foreign_subfolders_do_not_make_a_network_look_untrained(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check("nets.py:trained", "--out", "run")
    said = " ".join(capfd.readouterr().err.split())
    assert "2 subfolders and the network 3 classes" in said
    assert "learned nothing" not in said
    assert "seems to be untrained" not in said
    assert "Warning" not in said


def test_a_network_without_weights_is_warned_of(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check("nets.py:build", "--out", "run")
    assert "Warning: no --weights were given" in capfd.readouterr().err


def test_an_interruption_ends_in_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("salsanity.models.load.load_model", interrupted)
    assert check("nets.py:build", "--out", "run") == 130
    assert "the same command continues" in capfd.readouterr().err


def test_a_folder_that_is_no_run(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.run(["report", "photos"]) == 2
    assert "expected a run folder, got photos" in capfd.readouterr().err


def test_a_folder_as_the_place_of_weights(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = app.run(["train", "--model", "reference:cnn", "--data", "digits", "--out", "photos"])
    assert code == 2
    assert "got the folder photos" in capfd.readouterr().err


class Stacked(nn.Module):
    """An ensemble by `vmap`, inside which torch takes no rule of guided backprop."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Parameter(torch.randn(2, *s) * 0.1) for s in ((36, 8), (8, 3))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def one(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return torch.relu(x.flatten(1) @ first) @ second

        found: torch.Tensor = torch.func.vmap(one)(self.first, self.second).mean(0)
        return found


def test_a_method_that_torch_refuses_on_a_network_is_left_out_with_a_sentence(
    tmp_path: Path,
) -> None:
    x = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {"similarities": ["spearman"], "draws": 2, "gallery": 0}
    with pytest.raises(salsanity.SalsanityError, match="guided_backprop does not run on this net"):
        salsanity.model_randomization_test(
            Stacked(), x, methods=["guided_backprop"], out=tmp_path / "a", **settings
        )
    result = salsanity.model_randomization_test(
        Stacked(), x, methods=["gradient"], out=tmp_path / "b", **settings
    )
    assert len(result.scores)

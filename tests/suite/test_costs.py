"""What a run says that it costs, and how its bar moves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from listening import Listening
from networks import chain
from salsanity.checks.cascade import Cascade
from salsanity.data.tensors import TensorSource
from salsanity.suite import judging
from salsanity.suite.running import Request, run_checks
from salsanity.suite.subject import Subject
from salsanity.units.spec import RunSpec

X = torch.randn(8, 2, 12, 12, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own."""
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


def told(out: Path, *methods: Any, network: nn.Module | None = None, **options: Any) -> Listening:
    """Run, and return who listened."""
    usual = {"draws": 2, "gallery": 0, "batch_size": 8, "memory_format": "contiguous"}
    narrator = Listening()
    request = Request(
        (Cascade(),),
        Subject(network or chain().float(), "chain"),
        TensorSource(X),
        RunSpec(**{**usual, "rerun": True, **options}),
        methods=list(methods),
        similarities=["spearman"],
        out=out,
    )
    run_checks(request, narrator=narrator)
    return narrator


def slow(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    time.sleep(0.05 * len(x))
    x.requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


def test_the_cost_and_the_bar_count_explainers_of_the_user_s(tmp_path: Path) -> None:
    narrator = told(tmp_path, slow)
    said = next(text for text in narrator.said if "maps to compare" in text)
    assert "passes" not in said, "there are none beside those of the explainer"
    # 8 images, the trained network twice and two states of each of two draws: 48 maps of 50 ms and more.
    each = float(said.split("(slow ")[1].split(" s a map")[0])
    seconds = float(said.split("libraries for about ")[1].split(" s")[0])
    assert each >= 0.05
    assert seconds == pytest.approx(48 * each, abs=0.6 + 48 * 0.005)
    assert narrator.total > 0
    assert sum(narrator.moves) == pytest.approx(narrator.total, rel=0.02)
    assert max(narrator.moves) < narrator.total / 2, "it moves within a unit"


def deep() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Sequential(nn.Linear(288, 288), nn.ReLU()) for _ in range(11)]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(288, 4)).eval()


def test_what_the_figures_cost_is_said_and_can_be_left_out(tmp_path: Path) -> None:
    narrator = told(tmp_path / "with", "gradient", network=deep(), gallery=8)
    said = next(text for text in narrator.said if "for the figures" in text)
    # 8 images: 4 stages of the first draw beside half and full; the trained network, and two states of two draws.
    assert said.startswith(f"Of this, {4 / (1 + 6 + 2):.0%} is for the figures")
    assert "--gallery 0" in said
    without = told(tmp_path / "without", "gradient", network=deep())
    assert not any("for the figures" in text for text in without.said)

"""Coarser arithmetic: only on request, with its error told, and torch's settings as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import salsanity
from networks import chain, images
from salsanity.errors import UsageError
from salsanity.models.network import prepare
from salsanity.passes.derivative import differentiate
from salsanity.passes.precision import computing_in
from salsanity.passes.request import Rule
from salsanity.suite import judging
from salsanity.units.speed import precision_error

X = images().float()
TARGETS = torch.tensor([0, 1, 2])


def test_bfloat16_changes_maps_a_little_and_results_stay_float32() -> None:
    network = prepare(chain().float(), X[:1])
    found = differentiate(
        network, X[None], TARGETS, rule=Rule.PLAIN, taps=(None, "4"), precision="bfloat16"
    )
    assert {found.logits.dtype, found.at[None][1].dtype, found.at["4"][0].dtype} == {torch.float32}
    likeness, largest = precision_error(network, X, TARGETS, "bfloat16")
    assert 0.9 < likeness < 1
    assert 0 < largest < 0.2


def test_twin_float32_has_no_error() -> None:
    assert precision_error(prepare(chain().float(), X[:1]), X, TARGETS, "float32") == (1.0, 0.0)


def test_the_settings_of_torch_are_as_before_whatever_happens() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with pytest.raises(ZeroDivisionError), computing_in("tf32", torch.device("cuda")):
        assert torch.backends.cuda.matmul.allow_tf32
        raise ZeroDivisionError
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert not torch.is_autocast_enabled("cpu")


def test_a_run_says_what_error_it_brings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    result = salsanity.model_randomization_test(
        chain().float(), X, methods=["gradient"], draws=1, precision="bfloat16", out=tmp_path
    )
    assert "Passes in bfloat16" in " ".join(result.spec["settings"]["notes"])


def test_tf32_without_a_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="CUDA"):
        salsanity.model_randomization_test(
            chain().float(), X, methods=["gradient"], precision="tf32", device="cpu", out=tmp_path
        )

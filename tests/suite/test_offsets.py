"""Maps with an offset: any two are alike for a similarity that sees the offset, and a method is not FAILed for that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import salsanity
from networks import chain
from salsanity.suite import judging

X = torch.randn(8, 2, 12, 12, generator=torch.Generator().manual_seed(5))
MASKS = (torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(6)) < 0.5).float()


def grad(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    x.requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


def with_offset(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    maps = grad(model, x, targets)
    return 50 + maps / maps.abs().amax((1, 2, 3), keepdim=True)


def rise(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Masks weighted by the probability that is left of the class (Petsiuk et al. 2018)."""
    total = torch.zeros(len(x), 1, *x.shape[2:])
    for mask in F.interpolate(MASKS, x.shape[2:], mode="bilinear"):
        with torch.no_grad():
            left = model(x * mask).softmax(1).gather(1, targets[:, None])
        total += left[:, :, None, None] * mask
    return total / len(MASKS)


def test_maps_with_an_offset_are_not_failed_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    result = salsanity.model_randomization_test(
        chain().float(),
        X,
        methods=[with_offset, rise],
        similarities=["spearman", "ssim"],
        draws=3,
        out=tmp_path,
        gallery=0,
        batch_size=8,
        memory_format="contiguous",
    )
    full = result.spec["full"]
    ssim = result.scores.query("similarity == 'ssim' and view == 'signed'").set_index("method")
    for method in ("with_offset", "rise"):
        changed = ssim.loc[method][lambda rows: rows["stage"] == full]
        assert changed["value"].mean() > 0.9, "the trap is there: nothing seems to have changed"
        assert changed["chance"].mean() > 0.9
        assert result.outcome(method) != "FAIL"
        assert "nothing changed" not in result.headlines.set_index("method")["reason"][method]

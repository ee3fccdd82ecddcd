"""How many samples a method would need to agree with itself: simulated maps, and a real SmoothGrad."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import salsanity
from salsanity.suite import judging
from salsanity.verdicts import samples as formula
from salsanity.verdicts import samples_wanted


def agreement(samples: int, *, noise: float, maps: int = 400, pixels: int = 400) -> float:
    """Mean Pearson correlation of two independent means of `samples` noisy copies of one map."""
    generator = np.random.default_rng(samples)
    signal = generator.normal(size=(maps, pixels))
    one, other = signal + noise * generator.normal(size=(2, samples, maps, pixels)).mean(1)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)]))


def check_simulated(samples: int, noise: float, threshold: float) -> None:
    wanted = samples_wanted(samples, agreement(samples, noise=noise), threshold)
    assert wanted is not None
    assert agreement(wanted, noise=noise, maps=100) == pytest.approx(threshold, abs=0.04)


@pytest.mark.parametrize(
    ("samples", "noise", "threshold"), [(2, 4.0, 0.5), (5, 6.0, 0.5), (2, 3.0, 0.8)]
)
def test_the_prediction_holds_for_means_of_noisy_maps(samples, noise, threshold):
    check_simulated(samples, noise, threshold)


def test_twin_a_likeness_that_grows_as_the_samples_is_noticed(monkeypatch):
    def linear(samples: int, retained: float, threshold: float) -> int:
        return math.ceil(samples * threshold / retained)

    monkeypatch.setitem(globals(), "samples_wanted", linear)
    with pytest.raises(AssertionError):
        check_simulated(2, 4.0, 0.5)


@pytest.mark.parametrize("retained", [0.0, -0.2, 1.0, math.nan, 1e-9])
def test_nothing_is_predicted_from_nothing(retained):
    assert samples_wanted(5, retained, 0.5) is None


LINE = 0.8


def repeated(samples: int, folder: Path) -> pd.Series:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(12, 12, 5, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 196, 10),
    )
    images = torch.rand(6, 1, 14, 14, generator=torch.Generator().manual_seed(1))
    result = salsanity.run(
        "repeat",
        model,
        images,
        methods=["smoothgrad"],
        similarities=["pearson"],
        samples=samples,
        draws=5,
        d_repeat=LINE,
        gallery=0,
        batch_size=64,
        partners=1,
        out=folder,
    )
    return result.headlines.set_index("method").loc["smoothgrad"]


def test_a_run_says_how_many_samples_smoothgrad_needs_and_they_suffice(tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    few = repeated(2, tmp_path / "few")
    wanted = formula.samples_wanted(2, float(few["retained"]), LINE)
    assert few["outcome"] == "FAIL"
    assert f"with about {wanted} samples (now 2) it would agree with itself" in few["reason"]
    assert float(repeated(wanted, tmp_path / "more")["retained"]) == pytest.approx(LINE, abs=0.06)

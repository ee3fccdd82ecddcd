"""Entropy, the smoothed cascade and the randomisation test proper: numbers against scipy, numpy and literal loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bench import measured
from scipy.stats import entropy, spearmanr
from torch import nn

from salsanity.checks.entropy import EntropyChange
from salsanity.checks.exchange import Exchange
from salsanity.checks.frame import REFERENCE_STREAM
from salsanity.checks.smooth_cascade import SPREAD, SmoothCascade
from salsanity.methods import Edge, Gradient, Noise
from salsanity.records import Outcome
from salsanity.seeds import seed_for
from salsanity.similarity import view
from salsanity.similarity.entropy import HistogramEntropy
from salsanity.verdicts import pair_index


def cnn() -> nn.Module:
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96, 5),
    ).eval()


def images(n: int = 8) -> torch.Tensor:
    return torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("seed", range(4))
def test_entropy_equals_that_of_scipy_on_numpy_histograms(seed: int) -> None:
    maps = torch.randn(5, 1, 20, 20, generator=torch.Generator().manual_seed(seed))
    found = HistogramEntropy().measure(view(maps, signed=True)).values
    literal = [entropy(np.histogram(one.numpy().astype(float), 100)[0]) for one in maps]
    assert found.numpy() == pytest.approx(literal, abs=1e-9)


def test_entropy_of_uniform_values_is_ln_100_and_of_a_constant_map_undefined() -> None:
    even = torch.linspace(0, 1, 10_000).reshape(1, 1, 100, 100)
    scores = HistogramEntropy().measure(view(even, signed=True))
    assert float(scores.values[0]) == pytest.approx(math.log(100), abs=1e-3)
    blank = HistogramEntropy().measure(view(torch.ones(1, 1, 4, 4), signed=True))
    assert math.isnan(float(blank.values[0]))
    assert blank.reasons[0] == "constant map"


def test_entropy_is_a_measurement_and_no_verdict() -> None:
    found = measured(EntropyChange(), cnn(), images(), [Gradient(), Edge()])
    verdicts = found.verdicts(["gradient"], ["edge"])
    assert verdicts["gradient"].outcome is Outcome.UNINFORMATIVE
    assert "a measurement without a verdict" in verdicts["gradient"].reason
    assert verdicts["edge"].retained == pytest.approx(0, abs=1e-12)
    s = found.scores[(found.scores.method == "gradient") & (found.scores["view"] == "absolute")]
    trained = s[s.stage == "self"].set_index("image")["value"]
    changed = s[s.stage != "self"].groupby("image")["value"].mean()
    literal = ((changed - trained) / trained).mean()
    cells = [
        v.retained
        for v in __import__("salsanity.verdicts", fromlist=["judge"]).judge(
            found.scores, found.settled.record(["entropy"]), methods=["gradient"], controls=[]
        )
        if v.view == "absolute"
    ]
    assert cells == pytest.approx([literal], abs=1e-12)


def literal_smooth(model: nn.Module, x: torch.Tensor, target: int, image: str, stream: int, n: int):
    """The mean of gradients at noisy copies, one after another."""
    total = torch.zeros_like(x)
    for copy in range(n):
        generator = torch.Generator().manual_seed(seed_for(0, "smooth", stream, image, copy))
        noisy = x + SPREAD * (x.max() - x.min()) * torch.randn(x.shape, generator=generator)
        noisy = noisy[None].requires_grad_()
        total += torch.autograd.grad(model(noisy)[0, target], noisy)[0][0]
    return total / n


def test_smoothed_maps_are_means_over_noisy_copies_of_the_image() -> None:
    """The ceiling compares the smoothed map with itself under other noise: literally computed."""
    model, x = cnn(), images(4)
    found = measured(SmoothCascade(copies=3), model, x, [Gradient()], draws=1)
    s = found.scores[(found.scores.stage == "self") & (found.scores["view"] == "signed")]
    targets = model(x).argmax(1)
    for row, one, target in zip(s.itertuples(), x, targets, strict=True):
        a, b = (
            literal_smooth(model, one, int(target), row.image, stream, 3).flatten().numpy()
            for stream in (REFERENCE_STREAM, 1)
        )
        assert row.value == pytest.approx(spearmanr(a, b).statistic, abs=1e-4)


def test_smoothed_controls_come_out_as_they_must() -> None:
    found = measured(
        SmoothCascade(copies=3), cnn(), images(), [Gradient(), Edge(), Noise()], draws=3
    )
    verdicts = found.verdicts(["gradient"], ["edge", "noise"])
    assert verdicts["noise"].outcome is Outcome.PASS
    assert verdicts["edge"].retained > 0.5
    assert {p.stage for p in found.settled.check.pairs(1)} == {
        s["name"] for s in found.settled.check.stages
    }
    order = [s["name"] for s in found.settled.check.stages]
    assert order == ["0", "2", "6"], "from below"


def test_exchange_compares_every_two_networks_once() -> None:
    found = measured(Exchange(), cnn(), images(), [Gradient(), Edge()], draws=4)
    rows = found.scores[found.scores.stage == "exchange"]
    assert set(rows.draw) == {pair_index(k, m) for m in range(1, 5) for k in range(m)}
    assert set(rows["view"]) == {"absolute"}
    assert set(rows.similarity) == {"spearman"}
    with_trained = {pair_index(0, m) for m in range(1, 5)}
    chance = (
        rows[rows.method == "gradient"].groupby("draw")["chance"].apply(lambda c: c.notna().all())
    )
    assert {draw for draw, known in chance.items() if known} == with_trained
    assert (found.values("edge", "exchange") == 1).all()


def test_a_network_that_is_one_more_draw_does_not_stand_out() -> None:
    """The network is untrained: p of the gradient is no smaller than chance gives; fewer than 19 draws print no p."""
    few = measured(Exchange(), cnn(), images(4), [Gradient()], draws=3).verdicts(["gradient"])
    assert math.isnan(few["gradient"].p)
    assert "19" in few["gradient"].reason
    many = measured(Exchange(), cnn(), images(4), [Gradient(), Noise()], draws=19)
    verdicts = many.verdicts(["gradient"], ["noise"])
    assert 1 / 20 <= verdicts["gradient"].p <= 1
    own = {}
    s = many.values("noise", "exchange").unstack().mean(axis=1)
    for m in range(1, 20):
        for k in range(m):
            for one in (k, m):
                own.setdefault(one, []).append(s[pair_index(k, m)])
    means = np.array([np.mean(own[k]) for k in range(20)])
    dev = [abs(means[k] - np.median(np.delete(means, k))) for k in range(20)]
    assert verdicts["noise"].p == pytest.approx(np.mean([d >= dev[0] for d in dev]))

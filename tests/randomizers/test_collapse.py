"""The collapse rule, and `auto`, which goes from fresh to module to he."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from salsanity.errors import ModelError, UsageError
from salsanity.models.load import load_model
from salsanity.models.network import prepare
from salsanity.randomizers.collapse import Probe, chosen, collapse_of, signal_health
from salsanity.randomizers.draw import He, ModuleInit, TruncatedNormal
from salsanity.randomizers.stages import full_of, half_of, stages_of

IMAGES = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_signal_health_by_hand():
    logits = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    health = signal_health(logits)
    assert health.sd_images == pytest.approx(math.sqrt(2))
    assert health.sd_classes == pytest.approx(math.sqrt(2))
    assert (health.ratio, health.max_logit, health.collapsed) == (pytest.approx(1), 2, False)


@pytest.mark.parametrize(("factor", "collapsed"), [(1.01e-3, False), (0.99e-3, True)])
def test_collapse_is_below_a_thousandth(factor, collapsed):
    classes = torch.tensor([[1.0, -1.0]]).double()
    images = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double()
    assert signal_health(classes + factor * images).collapsed is collapsed


@pytest.mark.parametrize(
    "logits", [torch.zeros(4, 3), torch.tensor([[1.0, 2.0]] * 3), torch.full((2, 2), float("nan"))]
)
def test_dead_signals_are_collapsed(logits):
    assert signal_health(logits).collapsed


def test_one_image_has_no_spread():
    with pytest.raises(ModelError, match="at least 2 images"):
        signal_health(torch.zeros(1, 3))


def deep(layers: int = 1) -> nn.Module:
    hidden = [part for _ in range(layers) for part in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 3))


def probe_of(network) -> Probe:
    stages = stages_of(network.blocks)
    return Probe(IMAGES.split(4), [half_of(stages) or full_of(stages), full_of(stages)], [0, 1])


def test_deep_networks_collapse_with_torchs_own_initialisation():
    network = prepare(deep(12), IMAGES)
    assert "ratio" in collapse_of(network, ModuleInit(), probe_of(network))
    assert collapse_of(network, He(), probe_of(network)) is None


def test_auto_takes_module_then_he():
    shallow, sunk = prepare(deep(), IMAGES), prepare(deep(12), IMAGES)
    assert chosen("auto", shallow, probe=probe_of(shallow)).init == "module"
    found = chosen("auto", sunk, probe=probe_of(sunk))
    assert found.init == "he"
    assert "collapses with module (stage" in found.reason


def test_auto_takes_fresh_where_it_works():
    network = prepare(deep(), IMAGES)
    assert chosen("auto", network, make_model=deep).init == "fresh"
    model = deep()
    refused = chosen("auto", network, make_model=lambda: model)
    assert refused.init == "module"
    assert "equal in two networks" in refused.reason


def test_named_initialisers_and_what_is_kept():
    network = prepare(deep(), IMAGES)
    assert chosen("he", network).draw == He()
    assert chosen("truncated_normal", network).draw == TruncatedNormal()
    assert set(chosen("module", network, keep=["1"]).draw(network, 0)) == {"3"}
    with pytest.raises(ModelError, match="needs make_model"):
        chosen("fresh", network)
    with pytest.raises(UsageError, match="'best'"):
        chosen("best", network)


def photographs(folder, count: int) -> torch.Tensor:
    """The first photographs, short side 256, centre 224, in [0, 1]."""
    images = []
    for path in sorted(folder.glob("*.JPEG"))[:count]:
        picture = Image.open(path).convert("RGB")
        scale = 256 / min(picture.size)
        picture = picture.resize(
            [round(s * scale) for s in picture.size], Image.Resampling.BILINEAR
        )
        left, top = ((s - 224) // 2 for s in picture.size)
        pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), dtype=np.float32)
        images.append(torch.from_numpy(pixels / 255).permute(2, 0, 1))
    return torch.stack(images)


def test_the_real_googlenet_collapses_with_module_and_not_with_he(shared_data):
    folder = shared_data / "imagenet"
    loaded = load_model(
        f"{folder / 'googlenet.py'}:googlenet", weights=folder / "googlenet.safetensors"
    )
    images = photographs(folder / "photographs", 8)
    network = prepare(loaded.model, images[:1])
    assert next(network.module.parameters()).dtype == torch.float32
    full = full_of(stages_of(network.blocks))
    probe = Probe(images.split(4), [full], [0])
    assert "ratio" in collapse_of(network, ModuleInit(), probe)
    assert collapse_of(network, He(), probe) is None
    with torch.no_grad():
        assert not signal_health(network.logits(images)).collapsed

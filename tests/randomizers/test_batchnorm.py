"""Running statistics of randomised norms: kept, reset, or measured on the images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from salsanity.errors import ModelError, UsageError
from salsanity.models.network import prepare
from salsanity.models.swap import swapped
from salsanity.randomizers.batchnorm import with_batchnorm
from salsanity.randomizers.draw import ModuleInit
from salsanity.randomizers.stages import stages_of, weights_at

IMAGES = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5, affine=False), nn.Flatten(), nn.Linear(80, 3),
    )  # fmt: skip
    for norm in (model[1], model[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(1, 3)
    return prepare(model, IMAGES[:2])


def test_keep_adds_nothing(network):
    weights = ModuleInit()(network, 0)
    assert with_batchnorm(network, weights, "keep") == weights


def test_reset_is_an_untrained_norm(network):
    weights = with_batchnorm(network, ModuleInit()(network, 0), "reset", layers=["1", "4"])
    assert torch.equal(weights["4"]["running_mean"], torch.zeros(5))
    assert torch.equal(weights["1"]["running_var"], torch.ones(4))
    assert "weight" in weights["1"]


def check_normalised(network, weights) -> None:
    """The second norm's input has mean 0 and variance 1 after it, over the images."""
    with swapped(network, weights), torch.no_grad():
        out = network.module[:5](IMAGES)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(5), atol=1e-2, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3)), torch.ones(5), atol=4e-2, rtol=0)


def test_recalibrate_measures_on_the_images(network):
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    drawn = ModuleInit()(network, 0)
    batches = IMAGES.split(16)
    weights = with_batchnorm(network, drawn, "recalibrate", layers=["1", "4"], images=batches)
    check_normalised(network, weights)
    with pytest.raises(AssertionError):  # twin: with the trained statistics it is not
        check_normalised(network, drawn)
    assert all(torch.equal(v, before[k]) for k, v in network.module.state_dict().items())
    assert not network.module[1].training
    assert network.module[1].momentum == 0.1


def test_only_randomised_norms_change(network):
    stage = stages_of(network.blocks)[1]  # the head and the second convolution
    weights = with_batchnorm(network, weights_at(network, ModuleInit()(network, 0), stage), "reset")
    assert "1" not in weights


def test_wrong_use(network):
    with pytest.raises(UsageError, match="'frozen'"):
        with_batchnorm(network, {}, "frozen")
    with pytest.raises(ModelError, match="images to recalibrate"):
        with_batchnorm(network, {}, "recalibrate", layers=["1"])

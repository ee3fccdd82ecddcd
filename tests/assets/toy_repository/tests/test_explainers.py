"""Sanity checks of the explainers, run with everything else."""

import pytest
from torch import Tensor, nn
from toy.explain import gradient
from toy.network import digits, trained


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained()


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    pixels, labels = digits()
    return pixels[-360:], labels[-360:]


def test_gradient(salsanity_check, model, images):
    salsanity_check(model, images, gradient)


def test_guided_backprop(salsanity_check, model, images):
    salsanity_check(model, images, "guided_backprop")


def test_network(model, images):
    pixels, labels = images
    assert (model(pixels).argmax(1) == labels).float().mean() > 0.9

"""GradCAM on time series and volumes: the layer is found, and the map enlarged linearly in every direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from salsanity.methods import GradCAM, GuidedGradCAM
from salsanity.methods.protocol import Inputs
from salsanity.models.layers import spatial_layer
from salsanity.models.network import prepare
from salsanity.passes.derivative import differentiate
from salsanity.passes.request import PassResult
from salsanity.passes.rules import Rule

SIZES = {1: (24,), 2: (12, 10), 3: (8, 12, 10)}


def network_of(dimensions: int) -> nn.Sequential:
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    pool = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}[dimensions]
    norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions]
    average = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[
        dimensions
    ]
    with torch.random.fork_rng():
        torch.manual_seed(dimensions)
        layers = [conv(2, 4, 3, padding=1), norm(4), nn.ReLU(), pool(2), conv(4, 6, 3, padding=1)]
        return nn.Sequential(*layers, nn.ReLU(), average(1), nn.Flatten(), nn.Linear(6, 3)).eval()


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("method", [GradCAM(), GuidedGradCAM()])
def test_gradcam_in_any_number_of_dimensions(dimensions, method):
    size = SIZES[dimensions]
    x = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0))
    network, targets = prepare(network_of(dimensions), x), torch.tensor([0, 1])
    layer = spatial_layer(network.trace)
    assert (layer.name, layer.grid) == ("5", tuple(n // 2 for n in size))
    inputs = Inputs(x, targets, ("a", "b"), 0, "trained", spatial=layer)
    steps = method.steps(inputs)
    results = []
    for request in next(steps):
        found = differentiate(network, x[None], targets, rule=request.rule, taps=(request.tap,))
        value, slope = found.at[request.tap]
        results.append(PassResult(slope[0], value[0]))
    with pytest.raises(StopIteration) as end:
        steps.send(tuple(results))
    maps = end.value.value
    coarse = literal(results[-1])
    if isinstance(method, GuidedGradCAM):
        guided = differentiate(network, x[None], targets, rule=Rule.GUIDED, taps=(None,)).at[None][
            1
        ]
        maps = maps / torch.where(guided[0] == 0, torch.nan, guided[0])
    places = [(np.arange(n) + 0.5) / 2 - 0.5 for n in size]
    expected = coarse
    for axis, at in enumerate(places, start=1):
        expected = np.apply_along_axis(
            lambda row, at=at: np.interp(at, np.arange(len(row)), row), axis, expected
        )
    for channel in range(maps.shape[1]):
        seen = maps[:, channel].numpy()
        alive = np.isfinite(seen)
        assert alive.mean() > 0.05
        np.testing.assert_allclose(seen[alive], expected[alive], rtol=1e-4, atol=1e-6)


def literal(result: PassResult) -> np.ndarray:
    """relu(sum over channels of the mean gradient times the activation), place by place."""
    activation, gradient = result.activation.double().numpy(), result.gradient.double().numpy()
    total = np.zeros(activation.shape[:1] + activation.shape[2:])
    for image in range(len(activation)):
        for channel in range(activation.shape[1]):
            total[image] += gradient[image, channel].mean() * activation[image, channel]
    return np.maximum(total, 0)

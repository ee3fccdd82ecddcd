"""GradCAM and guided GradCAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from torch import Tensor

from salsanity.errors import MethodError
from salsanity.methods.protocol import Inputs, Maps, Steps
from salsanity.models.layers import SpatialLayer
from salsanity.passes.foreign import enlarged
from salsanity.passes.request import Pass, PassResult, Rule


def _layer(inputs: Inputs, method: str) -> SpatialLayer:
    if inputs.spatial is None:
        raise MethodError(f"{method} is not defined for this network: {inputs.no_spatial_layer}")
    return inputs.spatial


def class_activation(result: PassResult, layer: SpatialLayer, x: Tensor) -> Maps:
    """Return relu(sum_k mean(dA_k) A_k), enlarged linearly in each direction to the size of `x`: (B, 1, H, W)."""
    if result.activation is None:
        raise MethodError("GradCAM needs a pass with a tap; ask for Pass(tap=...)")
    activation, gradient = layer.laid_out(result.activation), layer.laid_out(result.gradient)
    weights = gradient.mean(tuple(range(2, gradient.dim())), keepdim=True)
    coarse = F.relu((weights * activation).sum(1, keepdim=True))
    return enlarged(coarse, x)


@final
@dataclass(frozen=True)
class GradCAM:
    """relu of the last spatial layer's channels weighted by their mean gradients (eqs. 1 and 2)."""

    name: str = "gradcam"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one plain pass that taps the layer, shared with the gradient's."""
        layer = _layer(inputs, self.name)
        (result,) = yield (Pass(tap=layer.name),)
        return class_activation(result, layer, inputs.x)


@final
@dataclass(frozen=True)
class GuidedGradCAM:
    """Guided backprop times GradCAM, element by element."""

    name: str = "guided_gradcam"
    stochastic: bool = False

    def steps(self, inputs: Inputs) -> Steps:
        """Yield the guided pass and GradCAM's."""
        layer = _layer(inputs, self.name)
        guided, plain = yield (Pass(rule=Rule.GUIDED), Pass(tap=layer.name))
        return guided.gradient * class_activation(plain, layer, inputs.x)

"""Where GradCAM looks, in every kind of network; and what the trace sees."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.test_blocks import IMAGE, Inception, ResNet, ViT
from salsanity.errors import MethodError
from salsanity.models.layers import SpatialLayer, last_spatial_layer, spatial_layer
from salsanity.models.network import prepare


def found(model: nn.Module, image: torch.Tensor = IMAGE) -> str:
    return last_spatial_layer(prepare(model, image).trace)


def cnn() -> nn.Sequential:
    conv1, conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
    layers = [conv1, nn.ReLU(), nn.MaxPool2d(2), conv2, nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(384, 5))


def test_a_cnns_last_relu_before_the_pool():
    assert found(cnn()) == "4"


def test_a_resnets_last_stage_and_inceptions_last_block():
    assert found(ResNet()) == "layer2"
    assert found(Inception()) == "Mixed_5c"


class SqueezeExcite(nn.Module):
    """Its last convolutions see one place only: they do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.conv(x)
        x = x * torch.sigmoid(self.up(self.down(x.mean((2, 3), keepdim=True))))
        return self.fc(x.mean((2, 3)))


def test_squeeze_and_excitation_is_passed_over():
    assert found(SqueezeExcite()) == "conv"


class FunctionalConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.act = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.ReLU()
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.act(functional.conv2d(x, self.kernel)).mean((2, 3)))


def test_functional_convolutions_are_seen():
    assert found(FunctionalConv()) == "act"


def test_no_spatial_layer():
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ReLU(), nn.Linear(8, 5))
    with pytest.raises(MethodError, match="this network has none"):
        found(mlp)
    whole = nn.Sequential(nn.Conv2d(3, 8, 32), nn.Flatten(), nn.Linear(8, 5))
    with pytest.raises(MethodError, match="this network has none"):
        found(whole)


def test_one_dimensional_networks():
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(56, 3))
    layer = spatial_layer(prepare(model, torch.rand(1, 2, 16)).trace)
    assert layer == SpatialLayer("1", "nchw", (14,))


def check_live(model: nn.Module, layer: SpatialLayer) -> None:
    """The class logit has a gradient on the places that GradCAM would weigh."""
    tapped = {}
    handle = (
        model.eval()
        .get_submodule(layer.name)
        .register_forward_hook(lambda m, a, out: tapped.update(out=out))
    )
    logits = model(IMAGE)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), tapped["out"])
    laid = layer.laid_out(gradient)
    assert laid.shape[2:] == layer.grid
    assert laid.abs().sum() > 0


def test_a_class_token_vit_looks_at_the_last_blocks_norm():
    model = ViT()
    layer = spatial_layer(prepare(model, IMAGE).trace)
    assert layer == SpatialLayer("encoder.layers.3.norm1", "tokens", (4, 4), 1)
    check_live(model, layer)
    dead = SpatialLayer("encoder.ln", "tokens", (4, 4), 1)
    with pytest.raises(
        AssertionError
    ):  # twin: after the last attention only the class token counts
        check_live(model, dead)


class Swin(nn.Module):
    """Channels last, merged by two, pooled at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm1 = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.merge, self.norm2, self.head = nn.Linear(32, 8), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.norm1(self.patches(x).permute(0, 2, 3, 1))
        x = torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
        return self.head(self.norm2(self.merge(x)).mean((1, 2)))


def test_channels_last_networks():
    model = Swin()
    layer = spatial_layer(prepare(model, IMAGE).trace)
    assert layer == SpatialLayer("norm2", "nhwc", (4, 4))
    check_live(model, layer)


class MergedTokens(Swin):
    """The same with tokens: the grid is the patches', halved."""

    def forward(self, x):
        x = self.norm1(self.patches(x).permute(0, 2, 3, 1))
        x = torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
        return self.head(self.norm2(self.merge(x).flatten(1, 2)).mean(1))


def test_merged_tokens():
    layer = spatial_layer(prepare(MergedTokens(), IMAGE).trace)
    assert layer == SpatialLayer("norm2", "tokens", (4, 4))


def test_named_layers():
    trace = prepare(ViT(), IMAGE).trace
    assert spatial_layer(trace, "patches") == SpatialLayer("patches", "nchw", (4, 4))
    assert spatial_layer(trace, "encoder.layers.1").kind == "tokens"
    with pytest.raises(MethodError, match=r"layer 'head' returns \(1, 5\)"):
        spatial_layer(trace, "head")
    with pytest.raises(MethodError, match="got 'layer4'"):
        spatial_layer(trace, "layer4")
    assert spatial_layer(prepare(Swin(), IMAGE).trace, "norm1").kind == "nhwc"


def test_tokens_are_laid_out_row_by_row():
    tokens = torch.arange(2 * 7 * 3).reshape(2, 7, 3)
    laid = SpatialLayer("x", "tokens", (2, 3), 1).laid_out(tokens)
    assert laid.shape == (2, 3, 2, 3)
    assert torch.equal(laid[1, :, 1, 0], tokens[1, 4])
    assert SpatialLayer("x", "nhwc", (2, 3)).laid_out(torch.zeros(1, 2, 3, 5)).shape == (1, 5, 2, 3)

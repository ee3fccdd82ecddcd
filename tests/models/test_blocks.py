"""Blocks that a person recognises, in execution order; every used layer in exactly one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from salsanity.errors import ModelError
from salsanity.models.network import Network, prepare
from salsanity.randomizers.draw import ModuleInit
from salsanity.randomizers.stages import stages_of, weights_at

IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def names(network: Network) -> list[str]:
    return [block.name for block in network.blocks]


def check_partition(network: Network) -> None:
    """Each used layer is in one block, in order of first use inside the block."""
    layers = [layer for block in network.blocks for layer in block.layers]
    assert sorted(layers) == sorted(network.trace.layers)
    order = {layer: i for i, layer in enumerate(network.trace.layers)}
    assert all(list(b.layers) == sorted(b.layers, key=order.__getitem__) for b in network.blocks)
    assert len(set(names(network))) == len(names(network))


class Residual(nn.Module):
    """A residual block, with the in-place sum that torchvision has."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.bn1, self.relu = nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(outside, outside, 3, padding=1), nn.BatchNorm2d(outside)
        self.downsample = nn.Conv2d(inside, outside, 1) if inside != outside else None

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """Registered head first: execution order is another."""

    def __init__(self, depths=(2, 2)) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 5)
        self.layer2 = nn.Sequential(*[Residual(8 if i == 0 else 16, 16) for i in range(depths[1])])
        self.layer1 = nn.Sequential(*[Residual(8, 8) for _ in range(depths[0])])
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(self.stem(x))).mean((2, 3)))


def test_resnet_blocks_in_execution_order():
    network = prepare(ResNet(), IMAGE)
    assert names(network) == ["stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc"]
    check_partition(network)
    registered = [n for n, m in network.module.named_modules() if n in network.trace.layers]
    with pytest.raises(AssertionError):  # twin: registration order is not execution order
        assert registered == list(network.trace.layers)


def test_many_blocks_are_taken_in_groups():
    network = prepare(ResNet((5, 25)), IMAGE)
    assert names(network)[:5] == ["stem", "layer1.0-1", "layer1.2-3", "layer1.4", "layer2.0-1"]
    assert len(network.blocks) <= 24
    check_partition(network)


class Branches(nn.Module):
    """An Inception block: parallel branches, one of them a sequence of equal layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = ConvNorm(channels, 4)
        self.two = nn.Sequential(ConvNorm(channels, 4), ConvNorm(4, 4))

    def forward(self, x):
        return torch.cat([self.one(x), self.two(x)], 1)


class ConvNorm(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a, self.Mixed_5b, self.Mixed_5c = ConvNorm(3, 8), Branches(8), Branches(8)
        self.AuxLogits = nn.Linear(8, 5)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.Mixed_5c(self.Mixed_5b(self.Conv2d_1a(x))).mean((2, 3))
        return (self.fc(x), self.AuxLogits(x)) if self.training else self.fc(x)


def test_inception_blocks_without_the_auxiliary_head():
    network = prepare(Inception(), IMAGE)
    assert names(network) == ["Conv2d_1a", "Mixed_5b", "Mixed_5c", "fc"]
    check_partition(network)


class Encoder(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 17, 12))
        self.layers = nn.ModuleList([_layer() for _ in range(layers)])
        self.ln = nn.LayerNorm(12)

    def forward(self, x):
        x = x + self.position
        for layer in self.layers:
            x = layer(x)
        return self.ln(x)


def _layer() -> nn.Module:
    return nn.TransformerEncoderLayer(12, 2, 24, batch_first=True, norm_first=True)


class ViT(nn.Module):
    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.patches = nn.Conv2d(3, 12, 8, 8)
        self.encoder, self.head = Encoder(layers), nn.Linear(12, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.head(self.encoder(x)[:, 0])


def test_vit_layers_and_its_bare_parameters():
    network = prepare(ViT(), IMAGE)
    layers = [f"encoder.layers.{i}" for i in range(4)]
    assert names(network) == ["patches", *layers, "head"]
    assert network.blocks[0].layers == ("patches", "", "encoder")
    assert "encoder.ln" in network.blocks[4].layers
    assert "encoder.layers.0.self_attn.out_proj" in network.blocks[1].layers
    check_partition(network)


def test_deep_vits_are_taken_in_groups():
    blocks = names(prepare(ViT(24), IMAGE))
    assert blocks[1:3] == ["encoder.layers.0-1", "encoder.layers.2-3"]
    assert len(blocks) == 14


class Scaled(nn.Module):
    """Bare parameters of the root that are used at the end belong to the block at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.a, self.b = nn.Linear(48, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = x.mean(3).flatten(1)[:, :48]
        return self.b(torch.relu(self.a(x))) * self.scale


def test_bare_parameters_go_where_they_are_used():
    assert [b.layers for b in prepare(Scaled(), IMAGE).blocks] == [("a",), ("b", "")]


class Functional(nn.Module):
    """All parameters bare, in the root."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Parameter(torch.randn(96, 8)), nn.Parameter(torch.randn(8, 5))

    def forward(self, x):
        return torch.relu(x.mean(3).flatten(1) @ self.w1) @ self.w2


def test_matrices_that_one_module_owns_are_blocks_of_their_own():
    first, second = prepare(Functional(), IMAGE).blocks
    assert (first.name, first.layers, first.parts) == ("w1", ("",), (("", "w1"),))
    assert (second.name, second.parts) == ("w2", (("", "w2"),))
    assert first.holds("", "w1")
    assert not first.holds("", "w2")


def test_every_layer_as_a_block():
    network = prepare(ViT(2), IMAGE, blocks="layer")
    assert names(network)[:4] == ["patches", "(root)", "encoder", "encoder.layers.0.norm1"]
    assert "encoder.layers.0.self_attn" in names(network)
    check_partition(network)


def test_blocks_by_name():
    network = prepare(ResNet(), IMAGE, blocks=["stem", "layer*", "fc"])
    assert names(network) == ["stem", "layer1", "layer2", "fc"]
    check_partition(network)
    finer = prepare(ResNet(), IMAGE, blocks=["layer2.1", "layer2"])
    assert names(finer) == ["layer2", "layer2.1"]
    assert finer.blocks[0].layers[0] == "stem.0"
    check_partition(finer)


def test_wrong_names():
    with pytest.raises(ModelError, match="got 'layer3'; did you mean layer"):
        prepare(ResNet(), IMAGE, blocks=["layer3"])
    with pytest.raises(
        ModelError, match="'AuxLogits' has no parameters that the forward pass uses"
    ):
        prepare(Inception(), IMAGE, blocks=["AuxLogits", "fc"])


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.body = nn.Linear(96, 8), nn.Linear(8, 8)
        self.head = nn.Sequential(nn.ReLU(), self.body, nn.ReLU(), nn.Linear(8, 5))

    def forward(self, x):
        return self.head(self.body(self.first(x.mean(3).flatten(1))))


def test_a_shared_module_is_in_the_block_of_its_first_name():
    network = prepare(Shared(), IMAGE)
    assert names(network) == ["first", "body", "head"]
    check_partition(network)


class Stage(nn.Module):
    """A stage of a library: an optional downsampling (identity in the first), then its blocks."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.downsample = nn.Conv2d(inside, outside, 2, 2) if inside != outside else nn.Identity()
        self.blocks = nn.ModuleList([Residual(outside, outside) for _ in range(2)])

    def forward(self, x):
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x


class Skipped(nn.Module):
    """A residual block around a list: `relu(x + layers(x))`, with the shortcut as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut, self.activation = nn.Identity(), nn.ReLU()
        self.layers = nn.Sequential(ConvNorm(8, 8), ConvNorm(8, 8))

    def forward(self, x):
        residual = x
        x = self.layers(x)
        x = x + self.shortcut(residual)
        return self.activation(x)


class Trunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stages = nn.Conv2d(3, 8, 1), nn.Sequential(Stage(8, 8), Stage(8, 16))
        self.last, self.fc = nn.Sequential(Skipped(), Skipped()), nn.Linear(8, 5)
        self.back = nn.Conv2d(16, 8, 1)

    def forward(self, x):
        return self.fc(self.last(self.back(self.stages(self.stem(x)))).mean((2, 3)))


def test_stages_are_opened_and_skips_are_not():
    assert names(prepare(Trunk(), IMAGE)) == [
        "stem", "stages.0.blocks.0", "stages.0.blocks.1", "stages.1.downsample",
        "stages.1.blocks.0", "stages.1.blocks.1", "back", "last.0", "last.1", "fc",
    ]  # fmt: skip


class Perceptron(nn.Module):
    """Four layers as attributes: nothing repeats, and no list holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(96, 12), nn.Linear(12, 10)
        self.l3, self.l4 = nn.Linear(10, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.l2(torch.relu(self.l1(x.mean(3).flatten(1)))))
        return self.l4(torch.relu(self.l3(x)))


class Wrapper(nn.Module):
    """As Lightning modules hold a network, with a loss weight of their own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.loss_weight = model, nn.Parameter(torch.ones(5))

    def forward(self, x):
        return self.model(x)


WRAPPED = {
    "attribute": (Wrapper, "model."),
    "two attributes": (lambda net: Wrapper(Wrapper(net)), "model.model."),
    "sequence": (lambda net: nn.Sequential(nn.Identity(), net), "1."),
    "average": (torch.optim.swa_utils.AveragedModel, "module."),
    "sequence of one": (nn.Sequential, "0."),
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("bare", [Perceptron, ResNet, ViT, Inception, Trunk])
def test_a_wrapper_leaves_the_blocks_as_they_are(wrap, bare):
    wrapped, prefix = WRAPPED[wrap]
    network = prepare(wrapped(bare()), IMAGE)
    assert names(network) == [prefix + name for name in names(prepare(bare(), IMAGE))]
    check_partition(network)


class SameConv(nn.Conv2d):
    """A convolution that is a subclass and holds a child, its padding (EfficientNet-Lite)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(inside, outside, 3)
        self.pad = nn.ZeroPad2d(1)

    def forward(self, x):
        return super().forward(self.pad(x))


def test_layers_count_whatever_their_class():
    layers = [nn.Sequential(SameConv(4, 4), nn.ReLU()) for _ in range(4)]
    model = nn.Sequential(
        SameConv(3, 4), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    network = prepare(model, IMAGE)
    assert names(network) == ["0", "1", "2", "3", "4", "7"]
    assert network.weight_layers == 6


class Backbone(nn.Module):
    """A trained backbone of many attributes below a head: two pieces, one with nearly all layers."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.backbone = nn.Module()
        for i in range(depth):
            self.backbone.add_module(f"conv{i}", nn.Conv2d(3, 3, 1))
        self.backbone.forward = self.features
        self.head = nn.Linear(3, 5)

    def features(self, x):
        for conv in self.backbone.children():
            x = torch.relu(conv(x))
        return x

    def forward(self, x):
        return self.head(self.backbone(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("depth", "count"), [(2, 3), (3, 4), (23, 24), (24, 13), (39, 20), (60, 16)]
)
def test_a_block_with_most_of_the_layers_is_opened_and_grouped_to_about_twenty(depth, count):
    network = prepare(Backbone(depth), IMAGE)
    assert len(network.blocks) == count
    check_partition(network)
    assert network.weight_layers == depth + 1
    sizes = [len(block.layers) for block in network.blocks]
    assert max(sizes) - min(sizes[:-1]) == 0  # equal groups but for the last
    assert sum(sizes) == depth + 1


def test_the_run_of_names_in_a_group():
    assert names(prepare(Backbone(24), IMAGE))[:2] == [
        "backbone.conv0-conv1",
        "backbone.conv2-conv3",
    ]


class Converted(nn.Module):
    """All matrices and biases in one module that is never called, as converters keep them; some as buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.constants, self.between = nn.Module(), nn.Linear(8, 8)
        shapes = {"a": (96, 8), "b": (8, 8), "c": (8, 5)}
        for name, shape in shapes.items():
            self.constants.register_buffer(name, torch.randn(shape))
            self.constants.register_buffer(f"{name}_bias", torch.randn(shape[1]))

    def forward(self, x):
        held = self.constants
        x = torch.relu(x.mean(3).flatten(1) @ held.a + held.a_bias)
        x = torch.relu(self.between(x) @ held.b + held.b_bias)
        return x @ held.c + held.c_bias


def test_the_matrices_of_a_converted_network_are_divided_by_their_use():
    network = prepare(Converted(), IMAGE)
    assert names(network) == ["constants.a", "between", "constants.b", "constants.c"]
    assert network.blocks[0].parts == (("constants", "a"), ("constants", "a_bias"))
    assert [b.holds("constants", "c_bias") for b in network.blocks] == [False, False, False, True]
    assert network.weight_layers == 4


class Recurrent(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(96, 6, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        return self.head(self.lstm(x.permute(0, 3, 1, 2).flatten(2))[0][:, -1])


@pytest.mark.parametrize(("layers", "count"), [(1, 2), (2, 3), (4, 5)])
def test_the_levels_of_a_recurrent_layer(layers, count):
    network = prepare(Recurrent(layers), IMAGE)
    assert network.weight_layers == len(network.blocks) == count
    check_every_tensor_has_one_block(network)


def check_every_tensor_has_one_block(network: Network) -> None:
    for key in network.trace.uses:
        assert sum(block.holds(*key) for block in network.blocks) == 1, key


def test_every_layer_as_a_block_divides_too():
    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w1, self.w2 = nn.Parameter(torch.randn(96, 8)), nn.Parameter(torch.randn(8, 8))
            self.w3 = nn.Parameter(torch.randn(8, 5))

        def forward(self, x):
            return torch.relu(torch.relu(x.mean(3).flatten(1) @ self.w1) @ self.w2) @ self.w3

    network = prepare(Three(), IMAGE, blocks="layer")
    assert names(network) == ["w1", "w2", "w3"]
    check_every_tensor_has_one_block(network)


def test_named_blocks_do_not_change_how_many_layers_there_are():
    network = prepare(Perceptron(), IMAGE, blocks=["l1"])
    assert names(network) == ["l1"]
    assert network.weight_layers == 4


def test_a_stage_takes_its_part_of_a_divided_layer():
    network = prepare(Functional(), IMAGE)
    drawn = ModuleInit()(network, 0)
    top, full = stages_of(network.blocks)
    assert set(weights_at(network, drawn, top)[""]) == {"w2"}
    assert set(weights_at(network, drawn, full)[""]) == {"w1", "w2"}


class OneParameter(nn.Module):
    """All of its layers are pieces of one parameter, as sharded training and some optimisers keep them."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.randn(8 * 8 * 3 + 8 * 3))

    def forward(self, x):
        x = x.flatten(1)[:, :8]
        for part in self.flat[: 8 * 8 * 3].view(3, 8, 8):
            x = torch.relu(x @ part)
        return x @ self.flat[8 * 8 * 3 :].view(8, 3)


def test_layers_inside_one_parameter_are_counted():
    network = prepare(OneParameter(), torch.rand(2, 1, 8, 8))
    assert len(network.blocks) == 1
    assert network.weight_layers == 4

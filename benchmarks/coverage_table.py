"""Which blocks salsanity finds in common architectures, what it draws, and where GradCAM looks.

Builds architectures of torchvision, timm and transformers with random weights, at small sizes, and
prints a Markdown table (docs/coverage.md holds one). Libraries that are absent are named and left
out.

    PYTHONPATH=src:tests/shim python benchmarks/coverage_table.py [--init module] [NAME ...]
"""

from __future__ import annotations

import argparse
import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from salsanity.errors import MethodError, ModelError
from salsanity.models.coverage import Covered, coverage_of, randomised_share
from salsanity.models.layers import spatial_layer
from salsanity.models.network import Network, prepare
from salsanity.models.swap import swapped
from salsanity.randomizers.draw import draw_named
from salsanity.randomizers.stages import first_stages, stages_of


@dataclass(frozen=True)
class Architecture:
    """A network to build: where from, with which settings, for which size of image."""

    library: str
    name: str
    size: int
    build: Callable[[], nn.Module]


@dataclass(frozen=True)
class Row:
    """What was found in one architecture."""

    architecture: Architecture
    network: Network
    coverage: tuple[Covered, ...]
    gradcam: str

    def markdown(self) -> str:
        """One line of the table."""
        blocks = [block.name for block in self.network.blocks]
        shown = blocks if len(blocks) < 4 else [blocks[0], blocks[1], "...", blocks[-1]]
        rest = reasons_of(self.coverage)
        return (
            f"| {self.architecture.library} | {self.architecture.name} | {len(blocks)}: "
            f"{', '.join(shown)} | {100 * randomised_share(self.coverage):.1f} % | "
            f"{rest or 'nothing'} | {self.gradcam} |"
        )


def reasons_of(coverage: Sequence[Covered]) -> str:
    """Say why parameters are not randomised, with the share of all parameters."""
    parameters = [row for row in coverage if row.kind == "parameter"]
    total = sum(row.size for row in parameters)
    shares: dict[str, float] = {}
    for row in parameters:
        if row.reason:
            shares[row.reason] = shares.get(row.reason, 0) + row.size / total
    return "; ".join(f"{reason} ({100 * share:.1f} %)" for reason, share in shares.items())


TORCHVISION = {
    "alexnet": 64, "vgg11_bn": 32, "resnet18": 64, "resnet50": 64, "resnext50_32x4d": 64,
    "densenet121": 64, "googlenet": 96, "inception_v3": 160, "mobilenet_v2": 64,
    "mobilenet_v3_small": 64, "efficientnet_b0": 64, "shufflenet_v2_x0_5": 64, "squeezenet1_1": 64,
    "mnasnet0_5": 64, "regnet_y_400mf": 64, "convnext_tiny": 64, "vit_b_16": 224, "swin_t": 64,
    "maxvit_t": 224,
}  # fmt: skip
TIMM = {
    "inception_v3": 160, "seresnet50": 64, "vit_tiny_patch16_224": 224,
    "deit_tiny_distilled_patch16_224": 224, "swin_tiny_patch4_window7_224": 224, "convnext_atto":
    64, "mixer_s32_224": 224, "mobilenetv3_small_050": 64, "efficientnet_b0": 64,
    "coatnet_nano_rw_224": 224, "beit_base_patch16_224": 224, "vit_large_patch16_224": 224,
    "resnet101": 64, "nf_resnet50": 64, "pvt_v2_b0": 64, "eva02_tiny_patch14_224": 224,
}  # fmt: skip


def architectures() -> Iterator[Architecture]:
    """Yield what the installed libraries can build."""
    for name, size in TORCHVISION.items():
        yield Architecture("torchvision", name, size, _torchvision(name))
    for name, size in TIMM.items():
        yield Architecture("timm", name, size, _timm(name, size))
    for name, size, settings in _TRANSFORMERS:
        yield Architecture("transformers", name, size, _transformers(name, settings))


def _torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: importlib.import_module("torchvision").models.get_model(name, weights=None)


def _timm(name: str, size: int) -> Callable[[], nn.Module]:
    return lambda: importlib.import_module("timm").create_model(name, num_classes=10)


_SMALL = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "num_labels": 10}
_TRANSFORMERS: tuple[tuple[str, int, dict[str, object]], ...] = (
    ("ViT", 32, {**_SMALL, "num_hidden_layers": 4, "image_size": 32, "patch_size": 8}),
    ("DeiT", 32, {**_SMALL, "num_hidden_layers": 4, "image_size": 32, "patch_size": 8}),
    ("Beit", 32, {**_SMALL, "num_hidden_layers": 4, "image_size": 32, "patch_size": 8}),
    ("Dinov2", 28, {**_SMALL, "num_hidden_layers": 4, "image_size": 28, "patch_size": 7}),
    (
        "Swin",
        32,
        {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "image_size": 32, "patch_size": 2,
         "window_size": 4, "num_labels": 10},
    ),
    ("ConvNext", 64, {"hidden_sizes": [16, 24, 32, 48], "depths": [2, 2, 4, 2], "num_labels": 10}),
    (
        "ResNet",
        64,
        {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [2, 2, 2, 2],
         "layer_type": "basic", "num_labels": 10},
    ),
    ("MobileNetV2", 64, {"num_labels": 10}),
)  # fmt: skip


def _transformers(name: str, settings: dict[str, object]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        library = importlib.import_module("transformers")
        config = getattr(library, f"{name}Config")(**settings)
        found: nn.Module = getattr(library, f"{name}ForImageClassification")(config)
        return found

    return build


def built(architecture: Architecture) -> nn.Module:
    """Build with a fixed seed; every value is moved a little, as training would have done."""
    with torch.random.fork_rng(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = architecture.build()
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model


def row_of(architecture: Architecture, init: str) -> Row:
    """Prepare one network, draw twice, run the last stage, and look for GradCAM's layer."""
    image = torch.rand(1, 3, architecture.size, architecture.size)
    network = prepare(built(architecture), image, name=architecture.name)
    draw = draw_named(init)
    draws = [draw(network, 0)]
    coverage = coverage_of(network, draws, first_stages(stages_of(network.blocks)))
    with swapped(network, draws[0]):
        network.logits(image)
    try:
        layer = spatial_layer(network.trace)
        grid = " x ".join(map(str, layer.grid))
        gradcam = f"{layer.name} ({layer.kind}, {grid})"
    except MethodError as error:
        gradcam = str(error).partition(":")[0]
    return Row(architecture, network, coverage, gradcam)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these architectures")
    parser.add_argument("--init", default="module")
    options = parser.parse_args()
    columns = (
        "library",
        "architecture",
        "blocks",
        "parameters randomised",
        "not randomised",
        "GradCAM looks at",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for architecture in architectures():
        if options.names and architecture.name not in options.names:
            continue
        try:
            print(row_of(architecture, options.init).markdown(), flush=True)
        except (ImportError, ModelError) as error:
            print(f"| {architecture.library} | {architecture.name} | {error} | | | |", flush=True)


if __name__ == "__main__":
    main()

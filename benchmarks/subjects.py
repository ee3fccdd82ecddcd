"""Networks and images that several benchmarks share; their data are not part of the repository."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from torch import nn

from salsanity.data.images import open_folder
from salsanity.data.preprocessing import Preprocessing
from salsanity.data.sources import open_data
from salsanity.models.reference import cnn
from salsanity.models.weights import load_weights

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


PREPROCESSING = {
    "resnet18": Preprocessing(224, 256, MEAN, SD),
    "googlenet": Preprocessing(224, 256),  # it normalises inside
}


def imagenet(folder: Path, name: str) -> tuple[nn.Module, Any]:
    """Return the network `name` of the folder's own file with its weights, and the folder's photographs."""
    spec = importlib.util.spec_from_file_location(f"imagenet_{name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = getattr(module, name)()
    load_weights(network, folder / f"{name}.safetensors")
    return network.eval(), open_folder(folder / "photographs", preprocessing=PREPROCESSING[name])


def resnet18(folder: Path) -> tuple[nn.Module, Any]:
    """Return the folder's ResNet-18, and its photographs."""
    return imagenet(folder, "resnet18")


def mnist_cnn(weights: Path, data_dir: Path | None) -> tuple[nn.Module, Any]:
    """Return the paper's CNN with these weights, and MNIST's test images."""
    network = cnn()
    load_weights(network, weights)
    return network, open_data("mnist", data_dir=data_dir, split="test")

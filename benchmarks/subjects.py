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


def resnet18(folder: Path) -> tuple[nn.Module, Any]:
    """Return the ResNet-18 of the folder's own file with its weights, and the folder's photographs."""
    spec = importlib.util.spec_from_file_location("imagenet_resnet18", folder / "resnet18.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = module.resnet18()
    load_weights(network, folder / "resnet18.safetensors")
    photographs = open_folder(
        folder / "photographs", preprocessing=Preprocessing(224, 256, MEAN, SD)
    )
    return network.eval(), photographs


def mnist_cnn(weights: Path, data_dir: Path | None) -> tuple[nn.Module, Any]:
    """Return the paper's CNN with these weights, and MNIST's test images."""
    network = cnn()
    load_weights(network, weights)
    return network, open_data("mnist", data_dir=data_dir, split="test")

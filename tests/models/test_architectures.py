"""Architectures of three libraries, at small sizes with random weights: all of each is accounted for."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import pytest
import torch

import shim.sitecustomize  # noqa: F401 - torchvision beside a CPU-only torch
from models.test_libraries import library
from salsanity.models.layers import spatial_layer
from salsanity.models.network import prepare

TABLE = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage_table.py"


@pytest.fixture(scope="module")
def table():
    """The benchmark that prints docs' table."""
    spec = importlib.util.spec_from_file_location("coverage_table", TABLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_table"] = module
    spec.loader.exec_module(module)
    return module


# library, name: first and last block, number of blocks, layer for GradCAM (None: not pinned here)
EXPECTED = {
    ("torchvision", "resnet18"): ("conv1", "fc", 10, "layer4"),
    ("torchvision", "mobilenet_v2"): ("features.0", "classifier", 20, "features"),
    ("timm", "convnext_atto"): ("stem", "head", 17, "stages"),
    ("transformers", "ViT"): (None, "classifier", 6, None),
    ("transformers", "Beit"): (None, "classifier", 6, None),
    ("transformers", "Dinov2"): (None, "classifier", 6, None),
    ("transformers", "Swin"): (None, "classifier", None, None),
    ("transformers", "ResNet"): (None, None, 10, None),
}


@pytest.mark.parametrize("key", EXPECTED, ids="-".join)
def test_every_parameter_is_randomised(table, key):
    library(key[0])
    found = next(a for a in table.architectures() if (a.library, a.name) == key)
    row = table.row_of(found, "module")
    first, last, count, layer = EXPECTED[key]
    names = [block.name for block in row.network.blocks]
    parameters = [r for r in row.coverage if r.kind == "parameter"]
    unused = {f"{r.layer}.{r.tensor}" for r in parameters if not r.randomised}
    assert unused <= {"dinov2.embeddings.mask_token"}
    assert names[0] == (first or names[0])
    assert names[-1] == (last or names[-1])
    assert len(names) == (count or len(names))
    assert "GradCAM needs" not in row.gradcam
    assert row.gradcam.split()[0] == (layer or row.gradcam.split()[0])


PAPERS_BLOCKS = (
    "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3 Mixed_5b Mixed_5c Mixed_5d "
    "Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a Mixed_7b Mixed_7c fc"
)


def test_inception_has_the_papers_blocks():
    models = library("torchvision").models
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = models.inception_v3(weights=None, init_weights=False, transform_input=True)
    network = prepare(model, torch.rand(1, 3, 139, 139))
    assert [block.name for block in network.blocks] == PAPERS_BLOCKS.split()
    layer = spatial_layer(network.trace)
    assert (layer.name, layer.kind, layer.grid) == ("Mixed_7c", "nchw", (3, 3))
    assert not any("AuxLogits" in path for block in network.blocks for path in block.layers)

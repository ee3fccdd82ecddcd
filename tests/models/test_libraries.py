"""torchvision, timm and transformers, where they can be imported; nothing is fetched."""

from __future__ import annotations

import importlib
import warnings

import pytest
import torch

import shim.sitecustomize  # noqa: F401 - torchvision beside a CPU-only torch
from salsanity.errors import ModelError
from salsanity.models.libraries import hf_preprocessing_of
from salsanity.models.load import load_model
from salsanity.models.network import prepare

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def library(name: str):
    """Import a library, or skip with the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported here: {error}")


def saved(model, path):
    torch.save(model.state_dict(), path)
    return path


def test_torchvision(tmp_path):
    models = library("torchvision").models
    file = saved(models.resnet18(), tmp_path / "weights.pth")
    loaded = load_model("torchvision:resnet18", weights=file)
    assert loaded.preprocessing == {
        "size": 224, "resize": 256, "channels": 3, "interpolation": "bilinear", **IMAGENET,
    }  # fmt: skip
    assert len(loaded.class_names) == 1000
    assert loaded.class_names[0] == "tench"
    names = [b.name for b in prepare(loaded.model, torch.rand(1, 3, 64, 64)).blocks]
    assert names == ["conv1", *(f"layer{i}.{j}" for i in range(1, 5) for j in range(2)), "fc"]
    other = saved(models.resnet18(num_classes=7), file)
    few = load_model("torchvision:resnet18", weights=other, options={"num_classes": 7})
    assert few.class_names is None


def test_torchvision_errors(monkeypatch):
    models = library("torchvision").models
    with pytest.raises(ModelError, match="no classifier 'resnet81'; did you mean resnet18"):
        load_model("torchvision:resnet81")

    def offline(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(models, "get_model", offline)
    with pytest.raises(ModelError, match=r"weights of torchvision:resnet18 .* --weights FILE"):
        load_model("torchvision:resnet18")


def test_timm(tmp_path, monkeypatch):
    timm = library("timm")
    file = saved(timm.create_model("convnext_atto"), tmp_path / "weights.pth")
    loaded = load_model("timm:convnext_atto", weights=file)
    assert loaded.preprocessing["size"] == 224
    assert loaded.preprocessing["interpolation"] == "bicubic"
    assert len(loaded.class_names) == 1000
    assert loaded.make_model() is not loaded.model
    with pytest.raises(ModelError, match="timm has no classifier"):
        load_model("timm:convnext_attoo")

    def offline(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match="offline"):
        load_model("timm:convnext_atto")


def test_hugging_face_folder(tmp_path, monkeypatch):
    transformers = library("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48,
        image_size=32, patch_size=8, id2label={0: "cat, a pet", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5], '
        '"image_std": [0.5, 0.5, 0.5], "resample": 2}'
    )
    loaded = load_model(f"hf:{tmp_path}")
    assert loaded.class_names == ("cat", "dog")
    assert loaded.preprocessing["size"] == 32
    assert loaded.preprocessing["mean"] == (0.5, 0.5, 0.5)
    image = torch.rand(1, 3, 32, 32)
    network = prepare(loaded.model, image)
    torch.testing.assert_close(network.logits(image), model.eval()(image).logits)
    assert isinstance(loaded.make_model(), transformers.ViTForImageClassification)

    def offline(*args, **kwargs):
        raise OSError("We couldn't connect")

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", offline)
    with pytest.raises(
        ModelError, match=r"hf:no/such-model could not be loaded \(OSError: We could"
    ):
        load_model("hf:no/such-model")


def test_forms_of_hugging_faces_preprocessing():
    vit = {"size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    assert hf_preprocessing_of(vit)["interpolation"] == "bicubic"
    convnext = hf_preprocessing_of({"size": {"shortest_edge": 224}, "crop_pct": 0.875})
    assert (convnext["size"], convnext["resize"]) == (224, 256)
    mobilenet = hf_preprocessing_of(
        {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224}}
    )
    assert (mobilenet["size"], mobilenet["resize"]) == (224, 256)
    assert hf_preprocessing_of({"size": 32, "do_normalize": False, "image_mean": [1]})["mean"] == ()

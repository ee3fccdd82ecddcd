"""Networks from files, packages and libraries, weights from files; faults are said in words."""

from __future__ import annotations

import pickle
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from salsanity.errors import ModelError, UsageError
from salsanity.models.load import load_model, load_symbol, read_weights
from salsanity.models.network import prepare

CODE = """
    import torch
    from torch import nn
    from neighbour import WIDTH

    class Nested:
        @staticmethod
        def build():
            return nn.Linear(WIDTH, 3)

    def _rest(classes):
        return nn.BatchNorm1d(8), nn.Linear(8, classes)

    def small(classes=3):
        return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 8), *_rest(classes))

    def needs(argument):
        return small()

    def other():
        return {"not": "a network"}

    trained = small()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 16\n")
    path = tmp_path / "my_networks.py"
    path.write_text(textwrap.dedent(CODE))
    sys.modules.pop("neighbour", None)
    return path


def state(file: Path) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    built = load_model(f"{file}:small").model.state_dict()
    return {
        k: torch.rand(v.shape, generator=generator) if v.is_floating_point() else v
        for k, v in built.items()
    }


def test_a_function_of_a_file(file):
    before = list(sys.path)
    loaded = load_model(f"{file}:small")
    assert sys.path == before
    assert (loaded.name, loaded.preprocessing, loaded.class_names) == (f"{file}:small", None, None)
    assert loaded.make_model() is not loaded.model
    assert load_model(f"{file}:Nested.build").model.in_features == 16
    assert load_model(f"{file}:small", options={"classes": 5}).model[3].out_features == 5
    assert isinstance(load_model(f"{file}:trained").model, nn.Sequential)


def test_a_function_of_a_package(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    assert isinstance(load_model("my_networks:small").model, nn.Sequential)
    assert load_symbol("torch.nn:Linear") is nn.Linear


def test_a_builder_takes_arguments_that_are_named(file):
    assert load_model(f"{file}:small(classes=5)").model[3].out_features == 5
    loaded = load_model(f"{file}:needs(argument='any')", options={})
    assert loaded.make_model()[3].out_features == 3
    folder = file.parent / "copy (1)"
    folder.mkdir()
    (folder / "net.py").write_text("from torch import nn\ndef build(w=2): return nn.Linear(w, w)\n")
    assert load_model(f"{folder / 'net.py'}:build").model.in_features == 2
    assert load_model(f"{folder / 'net.py'}:build(w=3)").model.in_features == 3


def test_reference_networks():
    loaded = load_model("reference:mlp", options={"size": 8, "classes": 4})
    assert prepare(loaded.model, torch.rand(1, 1, 8, 8)).classes == 4
    with pytest.raises(ModelError, match="reference:cnn or reference:mlp"):
        load_model("reference:rnn")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18", "Expected a model as torchvision:NAME"),
        ("file.py:", "Expected a model as"),
        ("{folder}/absent.py:small", "Python file at .*absent.py, found none"),
        ("{file}:smal", "has no 'smal'; it has small"),
        (
            "{file}:needs",
            r"needs cannot be called with no arguments.*'argument'.*needs\(name=value\)",
        ),
        ("{file}:needs(wrong=1)", r"needs cannot be called with wrong"),
        ("{file}:needs(argument=open)", "arguments as key=literal"),
        ("{file}:other", "return a torch.nn.Module, got dict"),
        ("{file}:WIDTH", "to be a function that returns a network, got 16"),
        ("no_such_package:f", "Importing no_such_package failed: ModuleNotFoundError"),
        ("{folder}/broken.py:f", "broken.py failed: SyntaxError"),
    ],
)
def test_wrong_specs(file, spec, message):
    (file.parent / "broken.py").write_text("def f(:\n")
    with pytest.raises(UsageError, match=message):
        load_model(spec.format(file=file, folder=file.parent))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {"model_state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
        lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
        lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    ],
    ids=["plain", "state_dict", "model", "module", "compiled", "float16", "no counters"],
)
def test_weights_from_a_file(file, tmp_path, wrap):
    expected = state(file)
    wrapped = wrap(expected)
    paths = [tmp_path / "weights.pt"]
    torch.save(wrapped, paths[0])
    if all(isinstance(v, torch.Tensor) for v in wrapped.values()):
        paths.append(tmp_path / "weights.safetensors")
        save_file(wrapped, paths[1])
    for path in paths:
        model = load_model(f"{file}:small", weights=path).model
        for name, value in model.state_dict().items():
            assert value.dtype == expected[name].dtype
            torch.testing.assert_close(value, expected[name], atol=1e-3, rtol=1e-3)


def test_weights_that_do_not_fit(file, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(state(file), path)
    with pytest.raises(ModelError, match=r"size mismatch for 3\.weight.*number of classes"):
        load_model(f"{file}:small", weights=path, options={"classes": 5})
    torch.save({"a": torch.zeros(1), "1.weight": torch.zeros(8, 16)}, path)
    with pytest.raises(
        ModelError, match=r"missing are 1\.bias, 2\.weight, .* and 3 more; not in .* a\."
    ):
        load_model(f"{file}:small", weights=path)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in the weights ran')",))


def test_code_in_weights_is_not_run(file, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(ModelError, match="which could run code"):
        load_model(f"{file}:small", weights=path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match=r"which could run code|cannot be read"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_weights(file, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state(file), path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"weights\.(pt|safetensors)"):
            read_weights(path)


def test_what_is_no_weights_file(tmp_path):
    with pytest.raises(ModelError, match="found none"):
        read_weights(tmp_path / "absent.pt")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ModelError, match=r"as \.safetensors, \.pt or \.pth"):
        read_weights(tmp_path / "weights.h5")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelError, match="found list"):
        read_weights(tmp_path / "list.pt")
    torch.save({"epoch": 1}, tmp_path / "empty.pt")
    with pytest.raises(ModelError, match="found epoch"):
        read_weights(tmp_path / "empty.pt")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 2)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def test_tied_tensors_and_auxiliary_heads_may_be_missing(tmp_path, monkeypatch):
    save_file({"a.weight": torch.ones(4, 4), "a.bias": torch.ones(4)}, tmp_path / "w.safetensors")
    (tmp_path / "tied.py").write_text("from models.test_load import Tied as build\n")
    model = load_model(f"{tmp_path / 'tied.py'}:build", weights=tmp_path / "w.safetensors").model
    assert torch.equal(model.b.weight, torch.ones(4, 4))


def test_a_missing_library_names_its_extra(monkeypatch):
    for kind, library in (("torchvision", "torchvision"), ("timm", "timm"), ("hf", "transformers")):
        monkeypatch.setitem(sys.modules, library, None)
        extra = "transformers" if kind == "hf" else kind
        with pytest.raises(ModelError, match=rf"pip install 'salsanity\[{extra}\]'"):
            load_model(f"{kind}:resnet18")

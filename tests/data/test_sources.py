import sys

import pytest
import torch
from PIL import Image

from salsanity.data.preprocessing import Preprocessing, preprocessing_from
from salsanity.data.sources import NAMES, open_data, open_images
from salsanity.errors import DataError


@pytest.mark.parametrize("name", NAMES)
def test_named_data_sets(shared_data, name):
    for split in ("train", "test"):
        source = open_data(name, data_dir=shared_data, split=split)
        example = source[3]
        assert source.name == name
        assert len(source.class_names) == 10
        assert 0 <= example.label < 10
        assert 0 <= example.x.min() <= example.x.max() <= 1
        assert torch.equal(example.x, example.display)


def test_the_splits_differ(shared_data):
    train, test = (open_data("mnist", data_dir=shared_data, split=s) for s in ("train", "test"))
    assert (len(train), len(test)) == (60_000, 10_000)
    assert (train[0].name, test[0].name) == ("train/0", "t10k/0")


def test_preprocessing_reaches_the_pixels(shared_data):
    preprocessing = Preprocessing(size=32, mean=(0.1307,), std=(0.3081,), channels=1)
    example = open_data("mnist", data_dir=shared_data, preprocessing=preprocessing)[0]
    assert example.x.shape == (1, 32, 32)
    torch.testing.assert_close(example.x, (example.display - 0.1307) / 0.3081)


def test_the_environment_names_the_folder(shared_data, monkeypatch):
    monkeypatch.setenv("SALSANITY_DATA", str(shared_data))
    assert len(open_data("fashion_mnist")) == 10_000


def write(tmp_path, code):
    path = tmp_path / "mine.py"
    path.write_text("import torch\n" + code)
    return path


@pytest.mark.parametrize(
    "code",
    [
        "def f(): return torch.zeros(3, 1, 4, 4), torch.tensor([0, 1, 1])",
        "def f(split): return torch.zeros(3, 1, 4, 4), torch.tensor([0, 1, 1])",
        "def f(): return [(torch.zeros(1, 4, 4), i) for i in (0, 1, 1)]",
    ],
)
def test_functions_of_the_users(tmp_path, code):
    source = open_data(f"{write(tmp_path, code)}:f")
    assert [example.label for example in source] == [0, 1, 1]
    assert (source.name, source[1].name) == ("f", "f/1")


def test_a_function_is_told_the_split(tmp_path):
    code = "def f(split): return torch.zeros(5 if split == 'train' else 2, 1, 4, 4)"
    spec = f"{write(tmp_path, code)}:f"
    assert len(open_data(spec, split="train")) == 5
    assert len(open_data(spec, split="test")) == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('no')", "Importing .* failed: ValueError: no"),
        ("def f(", "Importing .* failed: SyntaxError"),
        ("g = 1", "has no 'f'"),
        ("f = 1", "expected a function as .*, got int"),
        ("def f(): raise OSError('disk')", "failed: OSError: disk"),
        ("def f(): return 3", "map-style"),
        ("def f(needed): return 3", "failed: TypeError"),
    ],
)
def test_bad_functions_are_named(tmp_path, code, message):
    path = write(tmp_path, code)
    with pytest.raises(DataError, match=message) as caught:
        open_data(f"{path}:f")
    assert caught.value


def test_a_missing_file_of_the_users(tmp_path):
    with pytest.raises(DataError, match="found none"):
        open_data(f"{tmp_path / 'none.py'}:f")


def test_functions_import_their_neighbours_also_late(tmp_path):
    (tmp_path / "pixels_of_mine.py").write_text("import torch\nX = torch.zeros(3, 1, 4, 4)\n")
    code = "def f():\n    from pixels_of_mine import X\n    return X"
    assert len(open_data(f"{write(tmp_path, code)}:f")) == 3


def test_importing_leaves_the_path_alone(tmp_path):
    before = list(sys.path)
    open_data(f"{write(tmp_path, 'def f(): return torch.zeros(3, 1, 4, 4)')}:f")
    assert sys.path == before


def test_folders(tmp_path):
    for split in ("train", "test"):
        for kind in ("cat", "dog"):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.new("L", (4, 4)).save(tmp_path / split / kind / f"{split}.png")
    train = open_data(str(tmp_path), split="train")
    assert train.names == ("cat/train.png", "dog/train.png")
    assert len(open_data(str(tmp_path / "test" / "cat"))) == 1


@pytest.mark.parametrize("spec", ["minst", "", "mnist:f", "/none", "cifar-10", "a\nb"])
def test_unknown_names(spec):
    with pytest.raises(DataError, match="expected a data set"):
        open_data(spec)


def test_a_near_miss_gets_a_hint():
    with pytest.raises(DataError, match="did you mean 'mnist'"):
        open_data("minst")


def test_an_unknown_split():
    with pytest.raises(DataError, match="train or test, got 'val'"):
        open_data("digits", split="val")


def test_python_gets_a_folder_as_the_command_line_does(tmp_path):
    for number, size in enumerate(((30, 30), (40, 30), (30, 50))):
        Image.new("RGB", size, "red").save(tmp_path / f"{number}.png")
    source, notes = open_images(tmp_path)
    assert {tuple(example.x.shape) for example in source} == {(3, 224, 224)}
    assert any("several sizes" in note for note in notes)
    asked = preprocessing_from(size=8, mean=0.5, std=0.5, channels=1)
    source, notes = open_images(str(tmp_path), preprocessing=asked)
    assert {tuple(example.x.shape) for example in source} == {(1, 8, 8)}
    assert notes == ()


def test_labels_that_are_not_used_are_told():
    source, notes = open_images((torch.rand(3, 1, 4, 4), torch.rand(3, 7)), name="mine")
    assert source[0].label is None
    assert notes == (
        "The labels of mine are not used: the labels are real numbers of shape (3, 7), and no class indices.",
    )
    assert open_images(torch.rand(3, 1, 4, 4))[1] == ()

"""Images, labels and targets as users have them: what is used and what is said of the rest, from Python and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import salsanity
from salsanity.cli import app
from salsanity.errors import DataError, SpecError
from salsanity.suite import judging
from salsanity.suite.guard import Question

FAST: dict[str, Any] = {
    "methods": ["gradient"],
    "similarities": ["spearman"],
    "draws": 2,
    "gallery": 0,
    "batch_size": 8,
    "memory_format": "contiguous",
}
X = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(5))
Y = torch.arange(8) % 4

NETS = """
import torch
from torch import nn

def build():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 4))
"""


def network() -> nn.Module:
    scope: dict[str, Any] = {}
    exec(NETS, scope)
    return scope["build"]().eval()


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own."""
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def photos(folder: Path, *sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    folder.mkdir()
    for i, (width, height) in enumerate(sizes):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def run(images: Any, out: Path, targets: Any = None, **options: Any) -> salsanity.Result:
    asked = {**FAST, **options}
    return salsanity.model_randomization_test(network(), images, targets, out=out, **asked)


def said(out: Path) -> str:
    return " ".join(json.loads((out / "spec.json").read_text())["settings"]["notes"])


def check(*options: str) -> int:
    few = ["--draws", "2", "--gallery", "0", "--batch-size", "8", "--method", "gradient"]
    asked = ["check", "--model", "nets.py:build", "--similarity", "spearman", "--out", "run"]
    return app.run([*asked, *few, *options])


def test_a_folder_of_photographs_is_used_whole_and_python_warns_of_what_was_done(
    place: Path,
) -> None:
    photos(place / "photos", *[(40 + i, 30) for i in range(8)])
    with pytest.warns(UserWarning, match="have several sizes, and no size was given") as caught:
        result = run("photos", place / "r", resize=14)
    assert len(result.spec["images"]) == 8
    assert "have several sizes" in said(place / "r")
    assert len(caught) == 1


def test_python_takes_the_preprocessing_that_the_command_line_takes(place: Path) -> None:
    photos(place / "photos", *[(40 + i, 30) for i in range(8)])
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.25, 0.25)
    options = {"size": 12, "resize": 14, "mean": mean, "std": std, "channels": 3}
    ours = run("photos", place / "r", **options)
    given = ["--size", "12", "--resize", "14", "--mean", ".5,.4,.3", "--std", ".25,.25,.25"]
    check("--images", "photos", "--channels", "3", *given)
    theirs = json.loads((place / "run" / "spec.json").read_text())
    assert [i["id"] for i in ours.spec["images"]] == [i["id"] for i in theirs["images"]]


def test_what_is_done_to_pixels_is_recorded_and_told_where_it_may_be_forgotten(place: Path) -> None:
    photos(place / "photos", *[(20, 20)] * 4)
    plain = run("photos", place / "plain")
    assert plain.spec["data"]["pixels"] == "RGB, in [0, 1], not normalised"
    assert any("not normalised" in note for note in plain.notes)
    fed = run("photos", place / "fed", size=12, mean=0.5, std=0.25)
    assert fed.spec["data"]["pixels"] == "12 x 12, RGB, mean 0.5, sd 0.25"
    assert fed.spec["data"]["preprocessing"]["std"] == [0.25]
    assert not any("not normalised" in note for note in fed.notes)
    given = run(X, place / "given")
    assert "pixels" not in given.spec["data"]
    assert not any("not normalised" in note for note in given.notes)


def test_a_network_as_torch_left_it_is_named_in_python_and_under_the_table(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert any("seems to be untrained" in note for note in run(X, place / "r").notes)
    trained = network()
    with torch.no_grad():
        trained[0].weight.mul_(2)
    options = {**FAST, "out": place / "t"}
    result = salsanity.model_randomization_test(trained, X, **options)
    assert not any("seems to be untrained" in note for note in result.notes)
    photos(place / "photos", *[(12, 12)] * 8)
    check("--images", "photos")
    assert "seems to be untrained" in capsys.readouterr().err.rpartition("Run folder")[0]


@pytest.mark.parametrize("target", ["trained", "label"])
def test_a_label_that_the_network_has_no_class_for_is_refused(place: Path, target: str) -> None:
    photos(place / "photos", *[(12, 12)] * 4)
    labels = {"0.png": 0, "1.png": 4, "2.png": 1, "3.png": 2}
    (place / "photos" / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(DataError, match=r"labels from 0 to 3.*got 4 for 1\.png"):
        run("photos", place / "r", target=target)


@pytest.mark.parametrize("pixels", [X * 255, (X - 0.5) / 0.25])
def test_numbers_that_are_no_pixels_are_not_normalised(place: Path, pixels: Tensor) -> None:
    with pytest.raises(DataError, match=r"in \[0, 1\], from which mean and std are taken off"):
        run((pixels, Y), place / "r", mean=0.5, std=0.25)
    assert len(run((X, Y), place / "fine", mean=0.5, std=0.25).spec["images"]) == 8
    assert len(run((pixels, Y), place / "as-is").spec["images"]) == 8


def test_a_loader_that_gives_other_batches_than_its_data_set_is_not_read_past(place: Path) -> None:
    class Normalising(DataLoader):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return ((x - 0.5, y) for x, y in super().__iter__())

    with pytest.raises(DataError, match=r"Normalising with an __iter__ of its own"):
        run(Normalising(TensorDataset(X, Y), batch_size=4), place / "r")


def test_the_fixture_knows_the_preprocessing(place: Path) -> None:
    photos(place / "photos", *[(20, 20)] * 4)
    digests = {
        Question(network(), "photos", ["gradient"], {"size": side}).digest for side in (10, 12)
    }
    assert len(digests) == 2


def test_images_that_cannot_be_used_are_warned_of(place: Path) -> None:
    photos(place / "photos", *[(12, 12)] * 8)
    (place / "photos" / "3.png").write_bytes(b"broken")
    with pytest.warns(
        UserWarning, match=r"1 image\(s\) could not be used; the first: image '3.png'"
    ):
        run("photos", place / "r")
    assert "1 image(s) could not be used" in said(place / "r")


@pytest.mark.parametrize("by", ["python", "command line"])
def test_labels_that_fit_no_file_are_counted_and_named(
    place: Path, by: str, capfd: pytest.CaptureFixture[str]
) -> None:
    photos(place / "photos", *[(12, 12)] * 8)
    (place / "photos" / "labels.json").write_text('{"0.png": 1, "IMG_0.png": 2, "IMG_1.png": 3}')
    words = "2 names in labels.json fit no file of photos: IMG_0.png, IMG_1.png; 7 of 8 images"
    if by == "python":
        with pytest.warns(UserWarning, match=words):
            run("photos", place / "run")
    else:
        check("--images", "photos")
        assert words in capfd.readouterr().err
    assert words in said(place / "run")


def test_labels_that_are_no_class_indices_are_not_used_and_spoil_nothing(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"labels of data are not used: the labels are real numbers"
    ):
        result = run((X, torch.rand(8, 4)), tmp_path)
    assert result.gates["accuracy"] is None


@pytest.mark.parametrize("label", [torch.eye(4)[1], -1, 3.0, True, "seven", {"boxes": 1}], ids=str)
def test_odd_labels_of_a_data_set_matter_only_where_labels_are_needed(
    label: Any, tmp_path: Path
) -> None:
    items = Odd(label)
    result = run(items, tmp_path / "r")
    assert result.headlines["outcome"].notna().all()
    if isinstance(label, float):
        assert result.gates["accuracy"]["n"] == 8
        return
    with pytest.raises(
        DataError, match=r"expected a label to explain .*got data/\d+: its label is"
    ):
        run(items, tmp_path / "labels", target="label")


class Odd(Dataset[Any]):
    """Images with one label, whatever it is."""

    def __init__(self, label: Any) -> None:
        self.label = label

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return X[index], self.label


class Rolling(Odd):
    """A data set with a training transform left in it."""

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return X[index] + 0.1 * torch.rand(()), 1


def test_random_transforms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="take random transforms"):
        run(Rolling(1), tmp_path)


@pytest.mark.parametrize(
    "targets",
    [3, torch.full((8,), 3), np.full((8, 1), 3), torch.eye(4)[[3] * 8], [3.0] * 8],
    ids=str,
)
def test_targets_in_every_usual_form_are_the_same_run(targets: Any, tmp_path: Path) -> None:
    result = run(X, tmp_path, targets)
    assert {image["target"] for image in result.spec["images"]} == {3}


def test_targets_are_no_labels(tmp_path: Path) -> None:
    """The class that is explained says nothing about whether the network is right."""
    result = run((X, Y), tmp_path, 3)
    right = network()(X).argmax(1) == Y
    assert result.gates["accuracy"]["trained"] == pytest.approx(float(right.float().mean()))
    assert run(X, tmp_path / "bare", 3).gates["accuracy"] is None


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (9, "expected targets from 0 to 3, the network's classes, got 9"),
        ([1, 2], r"one for each of 8, got 2 numbers"),
        (["3"] * 8, "got something else"),
        (-1, "class indices from 0"),
    ],
)
def test_targets_that_cannot_be_meant_are_refused(targets: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        run(X, tmp_path, targets)


def test_targets_and_another_target_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="expected targets or target='own', got both"):
        run(X, tmp_path, 3, target="own")


def test_a_batch_of_a_loader_and_a_loader_are_images(tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    batch = run(next(iter(loader)), tmp_path / "batch")
    whole = run(loader, tmp_path / "loader")
    assert len(batch.spec["images"]) == 4
    assert len(whole.spec["images"]) == 8
    assert batch.gates["accuracy"]["n"] == 4


def test_which_of_two_weights_were_taken_is_said_and_can_be_chosen(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos(place / "photos", *[(12, 12)] * 8)
    trained = network().state_dict()
    raw = {name: torch.randn_like(value) for name, value in trained.items()}
    torch.save({"state_dict": raw, "state_dict_ema": trained}, place / "w.pth")
    fingerprints = []
    for key in ([], ["--weights-key", "state_dict_ema"]):
        check("--images", "photos", "--weights", "w.pth", *key, "--out", f"run{len(key)}")
        fingerprints.append(
            json.loads((place / f"run{len(key)}" / "spec.json").read_text())["model"]["fingerprint"]
        )
        told = capfd.readouterr().err
        assert ("--weights-key state_dict_ema takes them instead" in told) == (not key)
    assert "those under state_dict were taken" in said(place / "run0")
    assert fingerprints[0] != fingerprints[1]
    assert fingerprints[1] == run(X, place / "r").spec["model"]["fingerprint"]
    assert check("--images", "photos", "--weights", "w.pth", "--weights-key", "nothing") == 2
    assert "Expected weights under the key 'nothing'" in capfd.readouterr().err

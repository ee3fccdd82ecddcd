"""The data randomisation test from Python: trained or brought networks, gates, and resumption."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import salsanity
from salsanity.checks.label_networks import TrainedNetwork, label_gates
from salsanity.errors import DataError, SpecError, TrainingError, UsageError
from salsanity.suite import judging
from salsanity.training.settings import TrainingSettings

FAST: dict[str, Any] = {"samples": 2, "steps": 2, "max_images": 16, "gallery": 2, "batch_size": 8}
METHODS = ["gradient", "smoothgrad", "input_x_gradient"]


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(576, 48),
        nn.ReLU(),
        nn.Linear(48, 4),
    )


def blobs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images with a bright corner; which corner is the class."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.rand(count, 1, 12, 12, generator=generator)
    y = torch.randint(0, 4, (count,), generator=generator)
    for i, corner in enumerate(y.tolist()):
        r, c = divmod(corner, 2)
        x[i, 0, 6 * r : 6 * r + 6, 6 * c : 6 * c + 6] += 0.7 * torch.rand(6, 6, generator=generator)
    return x, y


SETTINGS = TrainingSettings(epochs=300, batch_size=20, learning_rate=5e-3, l2=0.0, stop_at=0.99)


def run(out: Path, **options: Any) -> salsanity.Result:
    asked = {"methods": METHODS, "training": SETTINGS, **FAST, **options}
    return salsanity.data_randomization_test(build, blobs(120, 0), blobs(80, 1), out=out, **asked)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> salsanity.Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "draw_report", lambda *_: None)
        return run(tmp_path_factory.mktemp("labels") / "run")


def test_two_networks_of_each_kind_are_trained_and_compared(first: salsanity.Result) -> None:
    networks = first.spec["networks"]
    assert [n["kind"] for n in networks] == ["true", "true", "permuted", "permuted"]
    assert all(n["train_accuracy"] > 0.95 for n in networks)
    assert len({n["fingerprint"] for n in networks}) == 4
    assert all(n["test_accuracy"] > 0.9 for n in networks[:2])
    scores = first.scores
    assert set(scores["stage"]) == {"self", "TT", "TP"}
    assert scores[scores.stage == "TP"]["draw"].nunique() == 4
    assert scores[scores.stage == "TT"]["draw"].nunique() == 1
    edge = scores[(scores.method == "edge") & (scores.stage != "self")]
    np.testing.assert_allclose(edge["value"], 1, atol=1e-9)


def test_maps_are_of_the_true_label(first: salsanity.Result) -> None:
    labels = blobs(80, 1)[1]
    for entry in first.spec["images"]:
        assert entry["target"] == int(labels[int(entry["name"].rpartition("/")[2])])


def test_controls_and_verdicts_are_there(first: salsanity.Result) -> None:
    table = first.verdicts
    assert set(table[table["view"].isna()]["method"]) >= {*METHODS, "edge", "noise"}
    assert first.outcome("edge") == "FAIL"
    assert {"retained", "retained_low", "retained_high"} <= set(table.columns)


def test_the_same_call_trains_nothing_again(first: salsanity.Result) -> None:
    stamps = {
        p: p.stat().st_mtime_ns
        for p in first.folder.rglob("*")
        if p.suffix in (".safetensors", ".parquet")
    }
    again = run(first.folder)
    assert stamps == {p: p.stat().st_mtime_ns for p in stamps}
    pd.testing.assert_frame_equal(again.verdicts, first.verdicts)


def networks_of(first: salsanity.Result) -> dict[str, list[nn.Module]]:
    from salsanity.models.weights import load_weights

    found: dict[str, list[nn.Module]] = {}
    for kind in ("true", "permuted"):
        for i in (0, 1):
            model = build()
            load_weights(model, first.folder / "networks" / f"{kind}-{i}.safetensors")
            found.setdefault(kind, []).append(model)
    return found


def test_brought_networks_give_the_same_scores(first: salsanity.Result, tmp_path: Path) -> None:
    brought = networks_of(first)
    again = salsanity.data_randomization_test(
        build, None, blobs(80, 1), **brought, methods=METHODS, out=tmp_path / "run", **FAST
    )
    pd.testing.assert_frame_equal(again.scores, first.scores, check_exact=True)


def test_one_true_network_never_passes(first: salsanity.Result, tmp_path: Path) -> None:
    brought = networks_of(first)
    result = salsanity.data_randomization_test(
        build, None, blobs(80, 1), true=brought["true"][:1], permuted=brought["permuted"],
        methods=METHODS, out=tmp_path / "run", **FAST,
    )  # fmt: skip
    assert "PASS" not in set(result.headlines["outcome"])


def test_networks_of_two_architectures_are_refused(first: salsanity.Result, tmp_path: Path) -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(144, 4))
    with pytest.raises(SpecError, match="one architecture"):
        salsanity.data_randomization_test(
            build, None, blobs(80, 1), true=networks_of(first)["true"], permuted=[other],
            methods=["gradient"], out=tmp_path / "run", **FAST,
        )  # fmt: skip


def test_what_cannot_be_learned_is_refused_with_the_figure(tmp_path: Path) -> None:
    short = TrainingSettings(epochs=1, learning_rate=1e-5, l2=0.0)
    with pytest.raises(TrainingError, match=r"0\.\d+"):
        run(tmp_path / "run", training=short)


def test_what_lacked_epochs_continues_and_finished_networks_stay(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"more epochs \(now 12\)"):
        run(tmp_path, training=replace(SETTINGS, epochs=12))
    finished = files(tmp_path / "networks")
    assert {path.name for path in finished} == {
        "true-0.safetensors",
        "true-1.safetensors",
        "permuted-0.checkpoint",
    }
    longer = run(tmp_path)
    now = files(tmp_path / "networks")
    kept = [path for path in finished if path.suffix == ".safetensors"]
    assert [now[path] for path in kept] == [finished[path] for path in kept]
    assert len(longer.spec["networks"]) == 4


def test_another_training_is_refused_before_it_overwrites_networks(
    first: salsanity.Result, tmp_path: Path
) -> None:
    shutil.copytree(first.folder, tmp_path / "run")
    before = files(tmp_path / "run" / "networks")
    with pytest.raises(SpecError, match="another training"):
        run(tmp_path / "run", training=replace(SETTINGS, learning_rate=1e-3))
    assert files(tmp_path / "run" / "networks") == before


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When each file was written, and what is in it."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.iterdir())}


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label"):
        salsanity.data_randomization_test(
            build, blobs(20, 0)[0], blobs(20, 1), out=tmp_path / "a", **FAST
        )
    with pytest.raises(UsageError, match="training data"):
        salsanity.data_randomization_test(build, None, blobs(20, 1), out=tmp_path / "b", **FAST)
    with pytest.raises(SpecError, match="both kinds"):
        salsanity.data_randomization_test(
            build, None, blobs(20, 1), true=[build()], out=tmp_path / "c", **FAST
        )


def test_gates_name_networks_that_are_not_what_the_test_needs() -> None:
    def network(kind: Any, train: float, test: float) -> TrainedNetwork:
        return TrainedNetwork(kind, 0, nn.Identity(), 0, train, test)

    assert label_gates([network("true", 0.99, 0.9), network("permuted", 0.99, 0.12)], 10) == []
    assert "chance" in label_gates([network("true", 0.99, 0.12)], 10)[0]
    assert "still knows" in label_gates([network("permuted", 0.99, 0.3)], 10)[0]
    assert "0.95" in label_gates([network("permuted", 0.8, 0.1)], 10)[0]

"""Checkpoints as training programs leave them: what is taken, what is left out, and that both are said."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from salsanity.errors import ModelError
from salsanity.models.load import load_model
from salsanity.models.weights import load_weights

State = dict[str, Tensor]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def weights(seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else torch.tensor(seed)
        for name, value in network().state_dict().items()
    }


MINE, OTHER = weights(1), weights(2)


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def loaded(content: Any, folder: Path, key: str | None = None) -> tuple[State, str]:
    """What a network holds after loading a checkpoint, and what was said."""
    path = folder / "checkpoint.pth"
    torch.save(content, path)
    model = network()
    notes = load_weights(model, path, key=key)
    return dict(model.state_dict()), " ".join(notes)


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


OPTIMISER = {"state": {0: {"exp_avg": torch.ones(4, 1, 3, 3)}}, "param_groups": [{"lr": 0.1}]}
LIGHTNING = {
    "epoch": 3,
    "pytorch-lightning_version": "2.2",
    "hyper_parameters": {"lr": 1e-3},
    "callbacks": {"Checkpoint": {"best_model_score": torch.tensor(0.9)}},
    "optimizer_states": [OPTIMISER],
}
WRAPPED: dict[str, tuple[Callable[[State], Any], tuple[str, ...]]] = {
    "lightning with a loss": (
        lambda s: (
            LIGHTNING
            | {"state_dict": {**under("model.", s), "criterion.pos_weight": torch.ones(3)}}
        ),
        ("criterion.pos_weight",),
    ),
    "lightning with a metric": (
        lambda s: {"state_dict": {**under("net.", s), "train_acc.tp": torch.zeros(3)}},
        ("train_acc.tp",),
    ),
    "averaged": (
        lambda s: {"n_averaged": torch.tensor(5), **under("module.", s)},
        ("n_averaged",),
    ),
    "averaged, compiled, in lightning": (
        lambda s: {"state_dict": under("model.module._orig_mod.", s)},
        (),
    ),
    "a loss of its own beside": (
        lambda s: {**s, "criterion.weight": torch.ones(3)},
        ("criterion.weight",),
    ),
    "counted operations": (
        lambda s: {**s, "total_ops": torch.zeros(1), "0.total_ops": torch.zeros(1)},
        ("total_ops", "0.total_ops"),
    ),
    "a step beside": (lambda s: {"step": 100, **s}, ("step",)),
    "an optimiser beside": (
        lambda s: {"net": s, "optimizer": OPTIMISER, "lr": 0.1, "scheduler": {"last_epoch": 3}},
        (),
    ),
    "an optimiser by name": (
        lambda s: {"optimizer": {"exp_avg": OTHER}, "network": under("module.", s)},
        (),
    ),
    "an unusual prefix": (lambda s: under("backbone.encoder.", s), ()),
    "parts that were wrapped": (
        lambda s: {n.replace("0.", "0._checkpoint_wrapped_module."): v for n, v in s.items()},
        (),
    ),
    "sharded": (lambda s: {"module": under("_fsdp_wrapped_module.", s)}, ()),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_training_programs_leave_is_loaded_and_the_rest_named(
    name: str, tmp_path: Path
) -> None:
    wrap, left_out = WRAPPED[name]
    found, notes = loaded(wrap(MINE), tmp_path)
    assert same(found, MINE)
    assert all(entry in notes for entry in left_out)
    assert bool(notes) == bool(left_out)


PAIRS: dict[str, tuple[Any, str, str]] = {
    "timm": ({"state_dict": MINE, "state_dict_ema": OTHER}, "state_dict", "state_dict_ema"),
    "torchvision": (
        {"model": MINE, "model_ema": {"n_averaged": torch.tensor(5), **under("module.", OTHER)}},
        "model",
        "model_ema.module",
    ),
    "one state dict": (
        {"state_dict": {**under("model.", MINE), **under("ema_model.module.", OTHER)}},
        "state_dict.model",
        "state_dict.ema_model.module",
    ),
    "teacher and student": (
        {"student": under("module.", MINE), "teacher": OTHER},
        "student.module",
        "teacher",
    ),
    "averages in front": ({"ema": OTHER, "net": MINE}, "net", "ema"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_of_two_networks_one_is_taken_said_and_the_other_can_be_asked_for(
    name: str, tmp_path: Path
) -> None:
    content, first, second = PAIRS[name]
    found, notes = loaded(content, tmp_path)
    assert same(found, MINE)
    assert f"under {first} were taken" in notes
    assert f"--weights-key {second} " in notes
    found, _ = loaded(content, tmp_path, second)
    assert same(found, OTHER)
    found, _ = loaded(content, tmp_path, first)
    assert same(found, MINE)


def test_a_key_may_stop_above_a_prefix(tmp_path: Path) -> None:
    content = PAIRS["torchvision"][0]
    assert same(loaded(content, tmp_path, "model_ema")[0], OTHER)


def test_equal_copies_need_no_word(tmp_path: Path) -> None:
    assert loaded({"model": MINE, "model_ema": MINE}, tmp_path)[1] == ""


def test_averages_of_the_parameters_alone_are_told_of(tmp_path: Path) -> None:
    averages = {name: OTHER[name] for name in ("0.weight", "0.bias", "4.weight", "4.bias")}
    averages |= {name: OTHER[name] for name in ("1.weight", "1.bias")}
    found, notes = loaded({"ema": averages, "state_dict": MINE}, tmp_path)
    assert same(found, MINE)
    assert "--weights-key ema" in notes


def test_a_key_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'model_eam'.*some under model, model_ema"):
        loaded(PAIRS["torchvision"][0], tmp_path, "model_eam")


REFUSED: dict[str, tuple[Any, str]] = {
    "some under a prefix, some not": (
        {
            **under("module.", {n: MINE[n] for n in MINE if n[0] != "4"}),
            "4.weight": MINE["4.weight"],
        },
        r"missing are .*4\.",
    ),
    "a layer that the network lacks": (
        {**MINE, "6.weight": torch.ones(3, 3)},
        r"missing are none; not in the network are 6\.weight",
    ),
    "a part of a larger network": (
        {**under("encoder.", MINE), "head.weight": torch.ones(3, 3)},
        r"not in the network are head\.weight.*--weights-key",
    ),
    "no statistics": ({n: v for n, v in MINE.items() if "running" not in n}, "1.running_mean"),
    "quantised": ({**MINE, "4.weight": torch.ones(3, 16, dtype=torch.int8)}, r"4\.weight.*int8"),
    "another width": ({**MINE, "4.weight": torch.ones(5, 16)}, r"size mismatch for 4\.weight"),
    "complex": ({**MINE, "4.weight": torch.ones(3, 16) + 1j}, r"4\.weight.*complex"),
    "numbers of an array": ({"best_acc": np.float64(0.97), "state_dict": MINE}, r"numpy.*scalar"),
    "arguments": ({"args": argparse.Namespace(lr=1), "model": MINE}, r"argparse\.Namespace"),
    "a whole network": (network(), r"Sequential.*model\.state_dict\(\) alone"),
    "no weights": ({"optimizer": OPTIMISER, "epoch": 3}, "found optimizer, epoch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_another_network_or_no_plain_tensors_is_refused_with_its_reason(
    name: str, tmp_path: Path
) -> None:
    content, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        loaded(content, tmp_path)


def test_a_part_of_a_larger_network_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    found, notes = loaded(REFUSED["a part of a larger network"][0], tmp_path, "encoder")
    assert same(found, MINE)
    assert "head.weight" in notes


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_a_wrapped_network_takes_plain_weights(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    save_file(under("model.", MINE), tmp_path / "w.safetensors")
    model = network()
    assert load_weights(wrap(model), tmp_path / "w.safetensors") == ()
    assert same(dict(model.state_dict()), MINE)


def test_a_dictionary_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"state_dict": MINE}
    content["self"] = content
    assert same(loaded(content, tmp_path)[0], MINE)


@pytest.mark.parametrize("suffix", [".PTH", ".pth.tar", ".ckpt"])
def test_suffixes_are_read_in_any_case(suffix: str, tmp_path: Path) -> None:
    torch.save(MINE, tmp_path / f"w{suffix}")
    model = network()
    load_weights(model, tmp_path / f"w{suffix}")
    assert same(dict(model.state_dict()), MINE)


def test_a_loaded_model_carries_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from models.test_checkpoints import network\n")
    torch.save({"model": MINE, "model_ema": OTHER}, tmp_path / "w.pt")
    spec = f"{tmp_path / 'net.py'}:network"
    first = load_model(spec, weights=tmp_path / "w.pt")
    assert "model_ema" in first.notes[0]
    second = load_model(spec, weights=tmp_path / "w.pt", weights_key="model_ema")
    assert same(dict(second.model.state_dict()), OTHER)
    with pytest.raises(ModelError, match="--weights FILE"):
        load_model(spec, weights_key="model_ema")

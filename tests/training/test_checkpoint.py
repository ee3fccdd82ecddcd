import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from salsanity.errors import DataError, ModelError
from salsanity.training import checkpoint as module
from salsanity.training.checkpoint import (
    Epoch,
    load_checkpoint,
    replace_bytes,
    restore,
    save_checkpoint,
    save_weights,
)

EPOCHS = (Epoch(1.5, 0.25, None), Epoch(0.5, 0.75, 0.8))
CPU = torch.device("cpu")


def trained(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    model(torch.rand(5, 3)).sum().backward()
    optimiser.step()
    return model, optimiser


def saved(path, seed=0):
    model, optimiser = trained(seed)
    save_checkpoint(path, identity="id", epochs=EPOCHS, model=model, optimiser=optimiser)
    return model, optimiser


def test_a_checkpoint_comes_back_whole(tmp_path):
    path = tmp_path / "deep" / "a.safetensors"
    model, optimiser = saved(path)
    other, other_optimiser = trained(1)
    found = load_checkpoint(path, device=CPU)
    assert (found.identity, found.epochs) == ("id", EPOCHS)
    restore(found, other, other_optimiser)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    states = optimiser.state_dict()["state"], other_optimiser.state_dict()["state"]
    for position, values in states[0].items():
        for key, value in values.items():
            assert torch.equal(value, states[1][position][key]), key


def test_none_without_a_file(tmp_path):
    assert load_checkpoint(tmp_path / "none", device=CPU) is None


def test_a_file_cut_anywhere_is_recognised(tmp_path, caplog):
    path = tmp_path / "a"
    saved(path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert load_checkpoint(path, device=CPU) is None, length
    assert "damaged" in caplog.text
    path.write_bytes(whole)
    assert load_checkpoint(path, device=CPU) is not None


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (self.target, "w"))


def test_a_pickle_in_its_place_executes_nothing(tmp_path):
    target = tmp_path / "exploded"
    path = tmp_path / "a"
    for content in (pickle.dumps(Bomb(str(target))), None):
        if content is None:
            torch.save({"model": Bomb(str(target))}, path)
        else:
            path.write_bytes(content)
        assert load_checkpoint(path, device=CPU) is None
        assert not target.exists()


def test_a_foreign_safetensors_file_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "a"
    save_file({"x": torch.zeros(2)}, path)
    assert load_checkpoint(path, device=CPU) is None


def test_weights_of_another_architecture_do_not_fit(tmp_path):
    saved(tmp_path / "a")
    other = nn.Linear(3, 4)
    with pytest.raises(ModelError, match="architecture"):
        restore(
            load_checkpoint(tmp_path / "a", device=CPU),
            other,
            torch.optim.Adam(other.parameters()),
        )


def test_a_failed_write_leaves_the_former_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "a"
    replace_bytes(path, b"former")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        replace_bytes(path, b"later")
    assert path.read_bytes() == b"former"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_temporary_files_are_private(tmp_path, monkeypatch):
    modes = []

    def look(handle):
        (part,) = tmp_path.glob(".*.part")
        modes.append(part.stat().st_mode & 0o777)

    monkeypatch.setattr(module.os, "fsync", look)
    replace_bytes(tmp_path / "a", b"x")
    assert modes == [0o600]


def test_tied_weights_are_written(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_weights(tmp_path / "w.safetensors", model)
    found = load_file(tmp_path / "w.safetensors")
    assert torch.equal(found["1.weight"], model[0].weight)
    model.load_state_dict(found)

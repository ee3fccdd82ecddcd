"""An explainer or a similarity that was edited is computed again, and nothing else; what was not edited never is."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from salsanity.cli.app import run
from salsanity.models.reference import cnn
from salsanity.store.directory import DirectoryStore, UnitRecord
from salsanity.suite import judging, planning
from salsanity.suite.result import Result

GRADIENT = """
import torch
from helping import scaled
def mine(model, x, t):
    x = x.requires_grad_()
    return scaled(torch.autograd.grad(model(x).gather(1, t[:, None]).sum(), x)[0])
"""
INPUT = """
from helping import scaled
def mine(model, x, t):
    model(x)
    return scaled(x.abs())
"""
OTHER = "def other(model, x, t):\n    model(x)\n    return x\n"
HELPING = "def scaled(maps):\n    return maps\n"
ALIKE = """
from salsanity.similarity import Spearman
class Alike:
    name = "alike"
    def __init__(self): self.inner = Spearman()
    def prepare(self, view): return self.inner.prepare(view)
    def compare(self, a, b): return self.inner.compare(a, b)
"""
METHODS = "explainers.py:mine,others.py:other,gradient"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A network, images, explainers in files, and an installed similarity without a repr; figures are left out."""
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = {"explainers.py": GRADIENT, "others.py": OTHER, "helping.py": HELPING}
    for name, text in {**texts, "aliking.py": ALIKE}.items():
        (tmp_path / name).write_text(text)
    info = tmp_path / "aliking-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aliking\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[salsanity.similarities]\nalike = aliking:Alike\n")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(cnn(size=16, in_channels=3).state_dict(), tmp_path / "net.safetensors")
        pictures = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    (tmp_path / "images").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture.numpy()).save(tmp_path / "images" / f"{i}.png")
    yield tmp_path
    forget()


def forget() -> None:
    """Forget what was imported, as in a new process."""
    importlib.invalidate_caches()
    for name in list(sys.modules):
        if name in ("helping", "aliking") or name.startswith("salsanity_user_"):
            sys.modules.pop(name)


def command(*more: str) -> list[str]:
    return [
        *("check", "--model", "reference:cnn", "--weights", "net.safetensors"),
        *("--images", "images", "--size", "16", "--method", METHODS),
        *("--similarity", "spearman,alike", "--draws", "2", "--gallery", "0", "--batch-size", "8"),
        *("--memory-format", "contiguous", "--stages", "verdict", "--out", "run", *more),
    ]


def checked(*more: str) -> list[UnitRecord]:
    """Run the command as a new process would, and return the units that lie there afterwards."""
    forget()
    assert run(command(*more)) in (0, 1, 3, 4)
    return list(DirectoryStore(Path("run")).records())


def rows_of(method: str) -> pd.DataFrame:
    scores = Result(Path("run")).scores
    return scores[scores["method"] == method].reset_index(drop=True)


def fresh(before: list[UnitRecord], after: list[UnitRecord]) -> set[tuple[str, str]]:
    """Methods and similarities of the units that were computed between."""
    known = {record.key.digest for record in before}
    assert known <= {record.key.digest for record in after}, "what lay there stays"
    made = [record.scores for record in after if record.key.digest not in known]
    return {pair for part in made for pair in zip(part["method"], part["similarity"], strict=True)}


def computes_again_what_was_edited_alone(folder: Path) -> None:
    """Edit one explainer: its rows are new, all others are the same; the same command computes nothing."""
    first = checked()
    rows, others = rows_of("explainers.py:mine"), rows_of("others.py:other")
    assert fresh(first, checked()) == set(), "the same command computes nothing"
    (folder / "explainers.py").write_text(INPUT)
    edited = checked()
    computed = {method for method, _ in fresh(first, edited)}
    assert computed == {"explainers.py:mine"}, "its rows are new, and no others"
    assert not rows_of("explainers.py:mine")["value"].equals(rows["value"])
    assert rows_of("others.py:other").equals(others)
    assert fresh(edited, checked()) == set()
    (folder / "explainers.py").write_text(GRADIENT)
    assert fresh(edited, checked()) == set(), "the old code has its old scores"
    assert rows_of("explainers.py:mine").equals(rows)


def test_an_edited_explainer_is_computed_again_and_no_other(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    computes_again_what_was_edited_alone(folder)
    said = capfd.readouterr().err
    assert "Every unit of this run is already there" in said
    note = "Changed since the last run in this folder, and so computed again: explainers.py:mine."
    assert note in " ".join(said.split())


def test_the_run_says_what_changed(folder: Path) -> None:
    checked()
    (folder / "explainers.py").write_text(INPUT)
    checked()
    notes = Result(Path("run")).spec["settings"]["notes"]
    assert sum("computed again: explainers.py:mine." in note for note in notes) == 1
    checked()
    notes = Result(Path("run")).spec["settings"]["notes"]
    assert not any("computed again" in note for note in notes)


def test_a_file_that_the_explainer_imports_counts(folder: Path) -> None:
    first = checked()
    (folder / "helping.py").write_text(HELPING.replace("return maps", "return -maps"))
    assert {method for method, _ in fresh(first, checked())} == {"explainers.py:mine"}


def test_an_edited_similarity_is_computed_again_and_no_other(folder: Path) -> None:
    first = checked()
    (folder / "aliking.py").write_text(ALIKE.replace("compare(a, b)", "compare(b, a)"))
    assert {similarity for _, similarity in fresh(first, checked())} == {"alike"}


READING = """
from pathlib import Path
import torch
def mine(model, x, t):
    x = x.requires_grad_()
    maps = torch.autograd.grad(model(x).gather(1, t[:, None]).sum(), x)[0]
    return maps if Path("says.txt").read_text() == "gradient" else x.detach().abs()
"""


def test_an_explainer_that_reads_another_file_when_it_is_called_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "explainers.py").write_text(READING)
    (folder / "says.txt").write_text("gradient")
    first = checked()
    forget()
    assert run([word.replace(METHODS, "others.py:other") for word in command()]) in (0, 1, 3, 4)
    (folder / "says.txt").write_text("input")
    forget()
    assert run(command()) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "another one from the same code: something that it reads when it is called" in said
    (folder / "says.txt").write_text("gradient")
    assert fresh(first, checked()) == set(), "what was put back is known again"


def test_twin_without_the_recorded_map_the_old_scores_come_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salsanity.suite.trying._check_as_recorded", lambda *_: None)
    (folder / "explainers.py").write_text(READING)
    (folder / "says.txt").write_text("gradient")
    first = checked()
    (folder / "says.txt").write_text("input")
    assert fresh(first, checked()) == set(), "nothing tells that the explainer is another one"


TWINS: list[tuple[Callable[[Any, Any], str], str]] = [
    (lambda method, ready: f"{method.name}#0", "its rows are new"),
    (lambda method, ready: f"{method.name}#{method!r}", "computes nothing"),
]


@pytest.mark.parametrize(("key", "words"), TWINS, ids=["by name", "by repr"])
def test_twin_keys_by_name_or_repr_fail(
    key: Callable[[Any, Any], str], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "method_key", key)
    with pytest.raises(AssertionError, match=words):
        computes_again_what_was_edited_alone(folder)


SCRIPT = """
import sys
from salsanity.cli.app import run
from salsanity.suite import judging
judging.draw_report = lambda *_: None
sys.exit(run(sys.argv[1:]))
"""


def in_a_process(folder: Path, seed: int, arguments: list[str]) -> str:
    """Run the command in a process of its own, and return what it said."""
    source = Path(planning.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(source), str(folder)]),
            "PYTHONHASHSEED": str(seed),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1, 3, 4), done.stderr
    return " ".join(done.stderr.split())


def test_two_processes_know_each_others_units(folder: Path) -> None:
    in_a_process(folder, 1, command())
    before = list(DirectoryStore(Path("run")).records())
    assert "Every unit of this run is already there" in in_a_process(folder, 2, command())
    (folder / "explainers.py").write_text(INPUT)
    said = in_a_process(folder, 3, command())
    assert "computed again: explainers.py:mine." in said
    after = list(DirectoryStore(Path("run")).records())
    assert {method for method, _ in fresh(before, after)} == {"explainers.py:mine"}


def test_an_explainer_that_keeps_what_it_computed_is_the_same_in_the_next_process(
    folder: Path,
) -> None:
    (folder / "explainers.py").write_text(
        "CALLS = []\nclass Mine:\n    def __init__(self): self.kept = {}\n"
        "    def __call__(self, model, x, t):\n        model(x)\n        CALLS.append(1)\n        self.kept[len(CALLS)] = x\n"
        "        return x\n"
        "mine = Mine()\n"
    )
    first = checked()
    forget()
    assert fresh(first, checked()) == set(), "prints are taken before anything is called"


def test_an_explainer_over_a_living_thing_is_refused_in_one_sentence(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "explainers.py").write_text(
        "def made(factors):\n    return lambda model, x, t: x * next(factors)\nmine = made(i for i in (1, 2))\n"
    )
    forget()
    assert run(command()) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "generator at made.<locals>.<lambda> -> variable 'factors'" in said
    assert "Traceback" not in said
    assert not Path("run", "scores").exists()

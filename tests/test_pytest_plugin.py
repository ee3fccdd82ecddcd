"""The pytest plug-in, run as its users run it: in repositories of their own, by another pytest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOY = Path(__file__).parent / "assets" / "toy_repository"

SMALL = """
import os
import pytest, torch
from torch import nn

def explain(model, x, targets):
    with open({calls!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    x = x.detach().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]

def half_blind(model, x, targets):
    blind = x.flatten(1)[:, 0] > 0.5
    return torch.where(blind[:, None, None, None], x, explain(model, x, targets))

@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 3))

@pytest.fixture
def images():
    return torch.rand(16, 1, 20, 20, generator=torch.Generator().manual_seed(1))
"""

CONFTEST = """
import sys

def pytest_sessionfinish(session):
    heavy = {"torch", "numpy", "pandas", "matplotlib", "rich", "salsanity.suite", "salsanity.registry"}
    (session.config.rootpath / "loaded").write_text(" ".join(sorted(heavy & set(sys.modules))))
"""


def outer_free() -> dict[str, str]:
    """The environment without what this pytest says of itself, and without CI, where pytest sums up at length."""
    hidden = ("PYTEST_", "COV_", "CI", "BUILD_NUMBER")
    return {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | {"COLUMNS": "100"}


def pytest_in(folder: Path, *arguments: str, code: int) -> str:
    """Run pytest in `folder`; return what it printed, or fail where it exits with another code."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, env=outer_free(), capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def joined(out: str) -> str:
    """What was printed, without line breaks."""
    return " ".join(out.split())


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the toy repository, and what its first run printed."""
    folder = tmp_path_factory.mktemp("toy") / "repository"
    shutil.copytree(TOY, folder, ignore=shutil.ignore_patterns("__pycache__", "salsanity-runs"))
    return folder, pytest_in(folder, "-v", code=1)


def test_the_toy_repository_fails_for_guided_backprop_and_passes_for_the_gradient(
    toy: tuple[Path, str],
) -> None:
    folder, out = toy
    assert "test_gradient PASSED" in out
    assert "test_guided_backprop FAILED" in out
    assert "guided_backprop FAILed: its maps hardly depend on what the network learned" in joined(
        out
    )
    table = [
        line
        for line in out.splitlines()
        if line.startswith(("guided_backprop FAIL ", "(edge)", "(noise)"))
    ]
    assert len(table) == 3
    assert "Kept at full" in out
    (report,) = [Path(line[8:]) for line in out.splitlines() if line.startswith("Report: ")]
    assert report.is_relative_to(folder / "salsanity-runs" / "pytest")
    assert "guided_backprop" in report.read_text()
    assert "Traceback" not in out


def test_the_second_run_of_the_toy_repository_writes_nothing(toy: tuple[Path, str]) -> None:
    folder, _ = toy
    runs = folder / "salsanity-runs"
    before = {p: p.stat().st_mtime_ns for p in runs.rglob("*") if p.is_file()}
    assert len([p for p in before if p.name == "verdicts.json"]) == 2
    pytest_in(folder, "-q", code=1)
    after = {p: p.stat().st_mtime_ns for p in runs.rglob("*") if p.is_file()}
    assert after == before


def repository(folder: Path, tests: dict[str, str], ini: str = "") -> Path:
    """Write a repository of tests of a small untrained network, and return where its explainer notes its calls."""
    calls = folder / "calls"
    (folder / "conftest.py").write_text(SMALL.format(calls=str(calls)))
    common = "salsanity_draws = 3\nsalsanity_max_images = 16\nfilterwarnings = error\naddopts = --strict-markers\n"
    (folder / "pytest.ini").write_text(f"[pytest]\n{common}{ini}")
    for name, body in tests.items():
        (folder / name).write_text(
            f"import pytest\nfrom conftest import explain, half_blind\n{body}"
        )
    return calls


ASK = "salsanity_check(model, images, explain, similarities=['spearman'], gallery=0"
TEST = f"def test_same(salsanity_check, model, images):\n    {ASK})\n"


def test_two_workers_that_ask_the_same_explain_once(tmp_path: Path) -> None:
    calls = repository(tmp_path, {"test_one.py": TEST, "test_two.py": TEST})
    out = pytest_in(tmp_path, "-n", "2", "--dist", "each", "-v", code=0)
    assert out.count("PASSED") == 4, out
    assert len(set(calls.read_text().split())) == 1
    runs = [p for p in (tmp_path / "salsanity-runs" / "pytest").iterdir() if p.is_dir()]
    assert len(runs) == 1
    calls.unlink()
    pytest_in(tmp_path, "-q", code=0)
    assert not calls.exists()


OPEN = ASK.replace("explain", "half_blind") + ", d_full=0.5"
"""Half of its maps show the input alone, so half of the similarity is retained: right on the line."""


def test_what_is_inconclusive_fails_unless_it_is_allowed(tmp_path: Path) -> None:
    body = (
        f"def test_open(salsanity_check, model, images):\n    {OPEN})\n"
        f"def test_allowed(salsanity_check, model, images):\n    {OPEN}, allow=['INCONCLUSIVE'])\n"
        "@pytest.mark.salsanity(allow=['INCONCLUSIVE'], draws=4)\n"
        f"def test_marked(salsanity_check, model, images):\n    assert {OPEN}).spec['draws'] == 4\n"
        "def test_other(): pass\n"
    )
    repository(tmp_path, {"test_one.py": body})
    out = pytest_in(tmp_path, "-v", code=1)
    assert "test_open FAILED" in out
    assert "half_blind is INCONCLUSIVE, so nothing was shown" in joined(out)
    assert "test_allowed PASSED" in out
    assert "test_marked PASSED" in out
    kept = pytest_in(tmp_path, "--collect-only", "-q", "-m", "not salsanity", code=0)
    assert "test_other" in kept
    assert "test_open" not in kept


MINE = """
from dataclasses import dataclass
from salsanity.checks.frame import State
from salsanity.records import Line, Outcome, Words

@dataclass(frozen=True)
class Same:
    \"\"\"Nothing is changed.\"\"\"

    name = "same"
    words = Words("Nothing changed", "Does it notice?", "its maps notice nothing", "its maps changed")
    lines = (Line("same", "same", 0.5, "when nothing is changed"),)
    controls = {"edge": Outcome.FAIL}

    def changed(self, ground, chunk, draw):
        return [State("same")]
"""


def test_checks_are_chosen_by_name_and_a_check_of_ones_own_speaks_its_words(tmp_path: Path) -> None:
    body = (
        f"def test_mine(salsanity_check, model, images):\n    {ASK}, checks=['mine.py:Same'])\n"
        "@pytest.mark.salsanity(checks='shift')\n"
        f"def test_shift(salsanity_check, model, images):\n    assert {ASK}).spec['check'] == 'shift'\n"
        f"def test_draws(salsanity_check, model, images):\n    {ASK}, checks='shift', draws=2)\n"
    )
    repository(tmp_path, {"test_one.py": body})
    (tmp_path / "mine.py").write_text(MINE)
    out = pytest_in(tmp_path, "-v", code=1)
    assert "test_mine FAILED" in out
    assert "explain FAILed: its maps notice nothing" in joined(out)
    assert "test_shift PASSED" in out
    assert "'draws' is no option of the check shift; leave it out" in joined(out)


@pytest.mark.parametrize("arguments", [["--collect-only"], []])
def test_without_the_fixture_nothing_is_loaded(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_plain.py").write_text("def test_plain(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    pytest_in(tmp_path, "-q", *arguments, code=0)
    assert (tmp_path / "loaded").read_text() == ""


def test_twin_with_the_fixture_torch_is_loaded(tmp_path: Path) -> None:
    repository(tmp_path, {"test_one.py": "def test_used(): pass\n"})
    with (tmp_path / "conftest.py").open("a") as file:
        file.write(CONFTEST)
    pytest_in(tmp_path, "-q", code=0)
    assert "torch" in (tmp_path / "loaded").read_text()


def test_wrong_use_is_said(tmp_path: Path) -> None:
    calls = {
        "allow='FAIL'": "xfail",
        "no_such_option=1": "no_such_option",
        "out='x'": "salsanity_out",
    }
    body = "".join(
        f"def test_wrong_{i}(salsanity_check, model, images):\n    {ASK}, {call})\n"
        for i, call in enumerate(calls)
    )
    repository(tmp_path, {"test_one.py": body})
    out = pytest_in(tmp_path, "-q", code=1)
    assert "3 failed" in out
    for words in calls.values():
        assert words in out
    ini = tmp_path / "pytest.ini"
    ini.write_text(ini.read_text().replace("salsanity_draws = 3", "salsanity_draws = many"))
    out = pytest_in(tmp_path, "-q", code=1)
    assert "expected salsanity_draws as a whole number, got 'many'" in out
    assert not (tmp_path / "calls").exists()


def test_marker_and_options_are_documented(tmp_path: Path) -> None:
    assert "salsanity(**options)" in pytest_in(tmp_path, "--markers", code=0)
    out = pytest_in(tmp_path, "--help", code=0)
    for option in (
        "--salsanity-fresh",
        "salsanity_out",
        "salsanity_draws",
        "salsanity_max_images",
        "salsanity_allow",
    ):
        assert option in out
    assert "salsanity_check(model, images, explainer, ...)" in pytest_in(
        tmp_path, "--fixtures", code=0
    )

"""A check that salsanity does not know, in a user's own file: run, continued, judged, drawn, told to CI and to pytest."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

import salsanity
from salsanity.checks.named import BUILT_IN
from salsanity.cli.app import run
from salsanity.store.directory import DirectoryStore, all_scores
from test_pytest_plugin import joined, pytest_in

TESTS = Path(__file__).resolve().parent.parent
UNFORESEEN = TESTS / "assets" / "unforeseen.py"
SOURCES = TESTS.parent / "src" / "salsanity"

SUBJECT = """
import torch
from torch import nn


def build():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 144, 5)).eval()


def images():
    return torch.rand(9, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def gradient(model, x, targets):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


def one_sided(model, x, targets):
    return gradient(model, x, targets).abs() * torch.linspace(0, 1, x.shape[-1])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a network, images and explainers, and a check."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "subject.py").write_text(SUBJECT)
    shutil.copy(UNFORESEEN, folder / "unforeseen.py")
    return folder


def checked(home: Path, *more: object, out: str = "run", check: str = "Mirror(least=0.7)") -> int:
    """Give the command; return its exit code."""
    subject, named = home / "subject.py", f"{home / 'unforeseen.py'}:{check}"
    return run(
        [
            "check",
            *("--model", f"{subject}:build", "--data", f"{subject}:images", "--check", named),
            *("--method", f"gradient,{subject}:one_sided", "--gallery", "2", "--batch-size", "8"),
            *("--memory-format", "contiguous", "--out", str(home / out), *map(str, more)),
        ]
    )


@pytest.fixture(scope="module")
def first(home: Path) -> salsanity.Result:
    """The finished run, with its report and its file for CI."""
    assert checked(home, "--junit", home / "junit.xml") == 1
    return salsanity.Result(home / "run")


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "scores").iterdir()}


def test_it_is_short() -> None:
    assert len(UNFORESEEN.read_text().splitlines()) <= 60


def test_it_is_judged_by_its_own_line(first: salsanity.Result) -> None:
    assert first.trusted
    headlines = first.headlines.set_index("method")
    one_sided = next(name for name in headlines.index if "one_sided" in name)
    assert dict(headlines["outcome"]) == {"gradient": "PASS", one_sided: "FAIL"}
    assert headlines["retained_mirror"]["gradient"] == pytest.approx(1, abs=1e-6)
    assert "when the image is mirrored" in headlines["reason"][one_sided]
    assert set(headlines["check"]) == {"mirror"}
    assert first.gates["controls"]["mirror"]["noise"] == {
        "expected": "FAIL",
        "outcome": "FAIL",
        "ok": True,
    }


def test_its_record_is_all_that_a_reader_needs(first: salsanity.Result) -> None:
    (record,) = first.spec["checks"]
    assert (record["name"], record["draws"], record["states"]) == (
        "mirror",
        1,
        ["trained", "mirrored"],
    )
    (line,) = record["lines"]
    assert (line["name"], line["stage"], line["threshold"], line["must"]) == (
        "mirror",
        "mirrored",
        0.7,
        "stay",
    )
    assert set(first.scores["stage"]) == {"self", "mirrored"}


def test_the_same_command_computes_nothing_again(
    home: Path, first: salsanity.Result, capfd: pytest.CaptureFixture[str]
) -> None:
    before, scores = stamps(first.folder), first.scores
    assert checked(home) == 1
    assert stamps(first.folder) == before
    assert "already there" in joined(capfd.readouterr().err)
    pd.testing.assert_frame_equal(salsanity.Result(first.folder).scores, scores, check_exact=True)


def test_a_lost_unit_is_computed_again_to_the_bit(home: Path, first: salsanity.Result) -> None:
    scores = first.scores
    lost = sorted((first.folder / "scores").iterdir())[0]
    lost.unlink()
    assert checked(home) == 1
    assert lost.exists()
    pd.testing.assert_frame_equal(salsanity.Result(first.folder).scores, scores, check_exact=True)


def test_its_threshold_may_change_and_options_that_it_has_not_are_refused(
    home: Path, first: salsanity.Result, capfd: pytest.CaptureFixture[str]
) -> None:
    before = stamps(first.folder)
    assert checked(home, check="Mirror(least=0.1)") == 0, "so little is easily retained"
    assert stamps(first.folder) == before
    assert checked(home) == 1
    capfd.readouterr()
    for more, words in ((("--order", "bottom_up"), "order"), (("--draws", "3"), "draws")):
        assert checked(home, *more) == 2
        assert words in capfd.readouterr().err
    assert checked(home, check="Mirror(most=1)") == 2
    assert "most" in capfd.readouterr().err


def test_the_report_speaks_its_words(first: salsanity.Result) -> None:
    page = joined((first.folder / "report.html").read_text())
    for words in (
        "Mirrored images",
        "Is the map of a mirrored image the mirrored map?",
        "its maps take sides",
        "when the image is mirrored, and the network sees it as before",
    ):
        assert words in page, words
    pictures = list((first.folder / "gallery").glob("*.safetensors"))
    assert len(pictures) == 2


def test_ci_is_told(home: Path, first: salsanity.Result) -> None:
    cases = list(ElementTree.parse(home / "junit.xml").getroot().iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None]
    (case,) = failed
    assert "one_sided" in case.attrib["name"]
    assert "when the image is mirrored" in "".join(case.itertext())
    assert any("gradient" in case.attrib["name"] for case in cases)


def test_it_stands_on_the_card(
    home: Path, first: salsanity.Result, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["card", str(first.folder), "--out", str(home / "card.html")]) == 0
    capfd.readouterr()
    card = joined((home / "card.html").read_text())
    assert "Mirrored images" in card or "mirror" in card


def test_it_shares_a_folder_with_a_check_that_salsanity_knows(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = ("--draws", "2", "--samples", "2", "--steps", "2", "--check", "cascade")
    assert checked(home, *small, out="both") in (1, 3, 4)
    both = salsanity.Result(home / "both")
    assert {record["name"] for record in both.spec["checks"]} == {"mirror", "cascade"}
    scores = all_scores(DirectoryStore(home / "both").records_of(both.spec))
    assert set(scores["check"]) == {"mirror", "cascade"}
    alone = salsanity.Result(home / "run").scores
    mine = both.scores[both.scores["check"] == "mirror"].reset_index(drop=True)
    by = ["method", "stage", "image", "view", "similarity"]
    one, other = (t.sort_values(by).reset_index(drop=True) for t in (mine, alone))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert "Passes by check" in joined(capfd.readouterr().err)


def test_an_edited_check_is_computed_again(home: Path, first: salsanity.Result) -> None:
    mine = home / "unforeseen.py"
    text = mine.read_text()
    try:
        edited = text.replace("before=flipped, back=flipped", "before=flipped")
        assert edited != text
        mine.write_text(edited)
        before = stamps(first.folder)
        assert checked(home) == 4, "the edges do not come back mirrored now"
        assert set(stamps(first.folder)) > set(before)
        assert salsanity.Result(first.folder).outcome("gradient") == "FAIL"
    finally:
        mine.write_text(text)


def test_pytest_asks_it(home: Path, tmp_path: Path) -> None:
    shutil.copy(home / "subject.py", tmp_path)
    shutil.copy(UNFORESEEN, tmp_path)
    (tmp_path / "test_maps.py").write_text(
        "import subject\n\n"
        "CHECKS = ['unforeseen.py:Mirror']\n\n"
        "def test_gradient(salsanity_check):\n"
        "    salsanity_check(subject.build(), subject.images(), ['gradient'], checks=CHECKS)\n\n"
        "def test_one_sided(salsanity_check):\n"
        "    salsanity_check(subject.build(), subject.images(), [subject.one_sided], checks=CHECKS)\n"
    )
    out = pytest_in(tmp_path, "-v", code=1)
    assert "test_gradient PASSED" in out
    assert "test_one_sided FAILED" in out
    assert "its maps take sides" in joined(out)


# No file that serves all checks knows one of them.

GENERAL = ("suite", "store", "verdicts", "report", "units", "executors")
EXEMPT = {
    "suite/__init__.py": "functions that are called after a check",
    "store/upgrade.py": "what checks were called in folders of format 1",
    "verdicts/procedures.py": "kinds of test, of which one is called as the check that uses it",
}


def names_in(path: Path) -> Iterator[tuple[str, int]]:
    """Texts of a file that are the name of a built-in check, compared or looked up."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Compare | ast.Subscript | ast.MatchValue | ast.Dict):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and part.value in BUILT_IN:
                    yield str(part.value), part.lineno


def test_no_file_that_serves_all_checks_asks_which_one_it_is() -> None:
    found = {}
    for folder in GENERAL:
        for path in sorted((SOURCES / folder).rglob("*.py")):
            place = path.relative_to(SOURCES).as_posix()
            named = sorted(set(names_in(path)))
            if named and place not in EXEMPT:
                found[place] = named
    assert not found, json.dumps(found, indent=1)

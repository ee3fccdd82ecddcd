"""A check that is remembered: it explains nothing twice, and forgets when anything changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks import chain, images
from salsanity.checks.cascade import Cascade
from salsanity.checks.class_ import ClassChange
from salsanity.errors import SpecError, UsageError
from salsanity.records import Outcome
from salsanity.suite import judging
from salsanity.suite.guard import Question, allowed, answered, complaint
from salsanity.suite.result import Result

PASSES: list[int] = []
OPTIONS = {"draws": 2, "gallery": 0, "similarities": ["spearman"], "samples": 2, "steps": 2}


class Counting(nn.Module):
    """Counts the images that go through it, in copies too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        PASSES.append(len(x))
        return self.model(x)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def page(folder: Path, *_: Any) -> None:
        (folder / "report.html").write_text("report")

    monkeypatch.setattr(judging, "draw_report", page)


def question(**changes: Any) -> Question:
    asked: dict[str, Any] = {
        "model": Counting(chain()),
        "images": images(count=6),
        "explainers": ["gradient"],
        "checks": ["cascade"],
        "usual": {},
    }
    asked |= {name: changes.pop(name) for name in [*changes] if name in asked}
    return Question(**asked, options={**OPTIONS, **changes})


def passes_of(asked: Question, where: Path, **options: Any) -> int:
    """How many forward passes an answer takes."""
    PASSES.clear()
    answered(asked, where=where, title="a test", **options)
    return len(PASSES)


def test_the_second_time_costs_no_pass_at_all(tmp_path: Path) -> None:
    assert passes_of(question(), tmp_path) > 0
    assert passes_of(question(), tmp_path) == 0
    assert passes_of(question(unit_timeout=1e6, executor="serial"), tmp_path) == 0


def other_weights() -> dict[str, Any]:
    model = chain()
    model[0].bias.data[0] += 1e-6
    return {"model": Counting(model)}


def other_pixel() -> dict[str, Any]:
    shown = images(count=6)
    shown[3, 0, 0, 0] += 1e-6
    return {"images": shown}


@pytest.mark.parametrize(
    "change",
    [
        other_weights,
        other_pixel,
        lambda: {"draws": 3},
        lambda: {"explainers": ["gradient", "input_x_gradient"]},
        lambda: {"explainers": [lambda model, x, targets: x * model(x).sum(1).view(-1, 1, 1, 1)]},
        lambda: {"targets": [0] * 6},
        lambda: {"init": "he"},
        lambda: {"seed": 1},
        lambda: {"usual": {"max_images": 5}},
        lambda: {"checks": ["cascade", "class"]},
        lambda: {"checks": ["cascade(order='bottom_up')"]},
    ],
)
def test_twin_any_change_is_asked_again(
    change: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    passes_of(question(), tmp_path)
    assert passes_of(question(**change()), tmp_path) > 0


def test_fresh_forgets(tmp_path: Path) -> None:
    passes_of(question(), tmp_path)
    assert passes_of(question(), tmp_path, fresh=True) > 0
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1


def test_failed_units_are_not_remembered(tmp_path: Path) -> None:
    folder = answered(question(), where=tmp_path, title="a test").folder
    gates = json.loads((folder / "gates.json").read_text())
    (folder / "gates.json").write_text(json.dumps({**gates, "failed_units": [{"reason": "x"}]}))
    assert passes_of(question(), tmp_path) > 0


def test_a_run_that_was_not_finished_is_continued(tmp_path: Path) -> None:
    folder = answered(question(), where=tmp_path, title="a test").folder
    (folder / "report.html").unlink()
    units = {p.name: p.stat().st_mtime_ns for p in (folder / "scores").iterdir()}
    assert passes_of(question(), tmp_path) > 0
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "scores").iterdir()} == units


def test_the_folder_is_named_after_the_test_and_ignored_by_git(tmp_path: Path) -> None:
    where = tmp_path / "runs"
    folder = answered(question(), where=where, title="test_it[a/b c]").folder
    assert folder.parent == where
    assert folder.name.startswith("test_it-a-b-c-")
    assert (where / ".gitignore").read_text() == "*\n"


def test_an_explainer_that_passes_has_no_complaint(tmp_path: Path) -> None:
    result = answered(question(), where=tmp_path, title="t")
    assert complaint(result, let_through=Outcome) is None or not result.trusted


def edited(
    result: Result, outcome: Outcome, *, trusted: bool = True, check: str = "cascade"
) -> Result:
    """The result with another headline."""
    path = result.folder / "verdicts.json"
    rows = json.loads(path.read_text())
    for row in rows:
        if row["method"] == "gradient":
            row["outcome"] = outcome if row["check"] == check else Outcome.PASS
    path.write_text(json.dumps(rows))
    gates = json.loads((result.folder / "gates.json").read_text())
    changed = {
        **gates,
        "trusted": trusted,
        "reasons": [] if trusted else ["the edge detector passed"],
    }
    (result.folder / "gates.json").write_text(json.dumps(changed))
    return Result(result.folder)


@pytest.fixture
def result(tmp_path: Path) -> Result:
    with torch.random.fork_rng():
        return answered(question(), where=tmp_path, title="t")


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNINFORMATIVE])
def test_what_did_not_pass_is_told_with_table_and_report(result: Result, outcome: Outcome) -> None:
    words = complaint(edited(result, outcome))
    assert words is not None
    assert f"gradient {'FAILed' if outcome is Outcome.FAIL else f'is {outcome}'}" in words
    assert "Kept at full" in words
    assert "(edge)" in words
    assert words.endswith(f"Report: {result.folder}/report.html")
    assert max(len(line) for line in words.splitlines() if not line.startswith("Report:")) <= 80
    assert "\x1b" not in words


def test_what_is_allowed_passes(result: Result) -> None:
    changed = edited(result, Outcome.INCONCLUSIVE)
    assert complaint(changed, let_through=allowed("INCONCLUSIVE")) is None
    assert complaint(changed, let_through=allowed(["UNINFORMATIVE"])) is not None


def test_an_untrusted_run_never_passes(result: Result) -> None:
    words = complaint(edited(result, Outcome.PASS, trusted=False), let_through=Outcome)
    assert words is not None
    assert "cannot be trusted" in words
    assert "edge detector passed" in words


def test_every_check_speaks_its_own_words(tmp_path: Path) -> None:
    both = answered(question(checks=["cascade", "class"]), where=tmp_path, title="t")
    words = complaint(edited(both, Outcome.FAIL, check="class"))
    assert words is not None
    assert f"gradient FAILed: {ClassChange.words.caught}" in " ".join(words.split())
    assert Cascade.words.caught not in words
    words = complaint(edited(both, Outcome.INCONCLUSIVE, check="cascade"))
    assert words is not None
    assert words.startswith("salsanity: gradient is INCONCLUSIVE in cascade")
    assert complaint(edited(both, Outcome.PASS)) is None


def test_no_verdict_hangs_on_a_measurement(tmp_path: Path) -> None:
    found = answered(question(checks=["entropy"]), where=tmp_path, title="t")
    assert found.outcome("gradient") is not Outcome.PASS
    assert complaint(edited(found, Outcome.UNINFORMATIVE, check="entropy")) is None


def test_sizes_of_the_configuration_give_way_and_are_left_out_where_no_check_has_them() -> None:
    usual = {"draws": 3, "max_images": 5}
    options = {name: value for name, value in OPTIONS.items() if name != "draws"}
    asked = Question(chain(), images(count=6), ["gradient"], options, ["cascade"], usual)
    assert (asked.asked[1].draws, asked.asked[1].max_images) == (3, 5)
    assert asked.arguments == {**usual, **options}
    shift = Question(chain(), images(count=6), ["gradient"], options, ["shift"], usual)
    assert shift.arguments == {"max_images": 5, **options}
    with pytest.raises(SpecError, match="'draws' is no option of the check shift"):
        _ = question(checks=["shift"]).digest


@pytest.mark.parametrize("names", ["FAIL", ["INCONCLUSIVE", "maybe"]])
def test_fail_cannot_be_allowed(names: Any) -> None:
    with pytest.raises(UsageError, match=r"xfail"):
        allowed(names)


@pytest.mark.parametrize("name", ["out", "methods", "check"])
def test_what_the_fixture_decides_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        question(**{name: "x"})

"""`Result`: what one run found, whatever happens in its folder later, and over several checks."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import salsanity
from networks import chain
from salsanity.errors import FailuresFound, MethodError
from salsanity.records import Outcome
from salsanity.suite import judging
from salsanity.suite.result import ExitCode, Result

FAST: dict[str, Any] = {
    "similarities": ["spearman"],
    "draws": 3,
    "gallery": 0,
    "batch_size": 8,
    "memory_format": "contiguous",
}
X = torch.randn(9, 2, 12, 12, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own."""
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


def run(out: Path, *methods: str, check: Any = "cascade", **options: Any) -> Result:
    asked = {**FAST, **options}
    return salsanity.run(check, chain().float(), X, methods=list(methods), out=out, **asked)


def input_itself(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    model(x)
    return x.abs()


def rewritten(result: Result, outcomes: dict[tuple[str, str], str]) -> Result:
    """The run with other headlines, by check and method."""
    path = result.folder / "verdicts.json"
    rows = json.loads(path.read_text())
    for row in rows:
        row["outcome"] = outcomes.get((row["check"], row["method"]), row["outcome"])
    path.write_text(json.dumps(rows))
    return Result(result.folder)


def test_an_earlier_result_does_not_show_a_later_run_of_the_same_folder(tmp_path: Path) -> None:
    first = run(tmp_path, "gradient")
    second = run(tmp_path, "input_x_gradient", draws=2)
    assert list(first.headlines["method"]) == ["gradient"]
    assert list(second.headlines["method"]) == ["input_x_gradient"]
    assert (first.spec["draws"], second.spec["draws"]) == (3, 2)
    assert "gradient" in set(first.scores["method"])
    assert "input_x_gradient" not in set(first.scores["method"])
    assert first.scores["draw"].max() == 2
    assert first.run.methods == ("gradient",)
    assert first.run.parts[0].record.draws == 3


def test_a_method_s_outcome_is_the_worst_of_all_checks(tmp_path: Path) -> None:
    found = run(tmp_path, "gradient", check=["cascade", "class"])
    result = rewritten(found, {("cascade", "gradient"): "FAIL", ("class", "gradient"): "PASS"})
    assert result.outcome("gradient") == "FAIL"
    assert not result.passed("gradient")
    assert result.outcome("gradient", "class") == "PASS"
    assert result.passed("gradient", "class")
    with pytest.raises(MethodError, match=r"expected a check of this run \(cascade, class\)"):
        result.outcome("gradient", "labels")
    other = rewritten(found, {("cascade", "gradient"): "PASS", ("class", "gradient"): "FAIL"})
    assert other.outcome("gradient") == "FAIL"
    with pytest.raises(FailuresFound, match=r"1 saliency method\(s\) FAILed\ngradient: "):
        other.raise_for_failures()


def test_what_is_only_measured_counts_for_nothing(tmp_path: Path) -> None:
    found = run(tmp_path, "gradient", check=["cascade", "entropy"])
    decided = {("cascade", "gradient"): "PASS", ("entropy", "gradient"): "FAIL"}
    result = rewritten(found, decided)
    gates = {**result.gates, "trusted": True, "reasons": []}
    (tmp_path / "gates.json").write_text(json.dumps(gates))
    result = Result(tmp_path)
    assert result.exit_code is ExitCode.OK
    assert result.passed("gradient")
    result.raise_for_failures()
    assert result.outcome("gradient", "entropy") == "FAIL"
    judged = rewritten(result, {("cascade", "gradient"): "FAIL"})
    assert judged.exit_code is ExitCode.FAILED


def test_a_check_that_only_measures_is_answered_alone(tmp_path: Path) -> None:
    result = run(tmp_path, "gradient", check="entropy")
    assert result.outcome("gradient") == result.outcome("gradient", "entropy")
    assert result.exit_code in (ExitCode.OK, ExitCode.UNTRUSTED)


def test_it_prints_its_outcomes_and_what_to_think_of_them(tmp_path: Path) -> None:
    result = run(tmp_path, "gradient", "input_x_gradient", check=["class", "shift"])
    said = str(result).splitlines()
    headlines = result.headlines
    wanted = [f"{r.check}: {r.method}: {r.outcome}" for r in headlines.itertuples()]
    assert said == [*wanted, f"in {tmp_path}"]
    gates = tmp_path / "gates.json"
    told = json.loads(gates.read_text()) | {"trusted": False, "reasons": ["a unit failed"]}
    gates.write_text(json.dumps(told))
    assert "cannot be trusted: a unit failed" in str(Result(tmp_path))


# The card.


def test_the_card_is_a_table_that_a_notebook_shows_as_a_card(tmp_path: Path) -> None:
    first = run(tmp_path / "one", "gradient", "input_x_gradient", check=["class", "shift"])
    table = first.card()
    assert isinstance(table, pd.DataFrame)
    assert set(table.index) == {"gradient", "input_x_gradient"}
    headlines = first.headlines.set_index(["check", "method"])["outcome"]
    for check, method in headlines.index:
        assert table.loc[method, f"{check} outcome"] == headlines[check, method]
    shown = table._repr_html_()
    assert "Input shift" in shown
    assert "ranks nobody" in shown
    assert "Input shift" not in table[["shift outcome"]]._repr_html_()  # a part is no card
    again = pickle.loads(pickle.dumps(table))
    pd.testing.assert_frame_equal(again, table)


def test_what_another_run_did_not_ask_is_missing_on_the_card(tmp_path: Path) -> None:
    one = run(tmp_path / "one", "gradient", "input_x_gradient", check="class")
    other = run(tmp_path / "other", "gradient", check="repeat")
    table = one.card(other)
    row = table.loc["input_x_gradient"]
    assert row["class outcome"] in set(Outcome)
    assert row.filter(like="repeat").isna().all()
    assert "–</td>" in table._repr_html_()
    assert table.loc["gradient", "repeat outcome"] is not None

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from salsanity.records import Outcome
from salsanity.report import read_run, summary_sentences, verdict_table
from salsanity.report.folder import Run
from salsanity.report.tables import deciding


def printed(run: Run, **options: object) -> str:
    settings = {"width": 80, "no_color": True} | options
    out = io.StringIO()
    Console(file=out, **settings).print(verdict_table(run))
    return out.getvalue()


def check_fits(text: str) -> None:
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_the_table_fits_80_columns(cascade: Path, labels: Path) -> None:
    for folder in (cascade, labels):
        check_fits(printed(read_run(folder)))


def test_twin_a_wider_table_is_noticed(cascade: Path) -> None:
    with pytest.raises(AssertionError):
        check_fits(printed(read_run(cascade), width=120))


def test_every_method_and_its_verdict_stand_in_one_line_without_colour(cascade: Path) -> None:
    run = read_run(cascade)
    text = printed(run)
    assert "\x1b" not in text
    for method in run.methods:
        line = next(row for row in text.splitlines() if row.startswith(f"{method} "))
        assert run.headlines[method].outcome in line


def test_colour_goes_away_with_no_color(cascade: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> str:
        out = io.StringIO()
        Console(file=out, width=80, force_terminal=True).print(verdict_table(read_run(cascade)))
        return out.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1;3" in written()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;3" not in written()


def test_reasons_are_given_for_what_did_not_pass(cascade: Path) -> None:
    text = " ".join(printed(read_run(cascade)).split())
    assert "integrated_gradients FAIL: absolute spearman retains 0.97" in text
    assert "dominated by the input" in text
    assert "gradient PASS:" not in text


def test_a_run_that_cannot_be_trusted_says_so_first(distrusted: Path) -> None:
    text = printed(read_run(distrusted))
    assert text.startswith("THIS RUN CANNOT BE TRUSTED")
    assert "edge was expected to FAIL" in text


def test_markup_and_control_characters_in_names_are_only_text(cascade: Path) -> None:
    run = read_run(cascade)
    name = "[bold red]mine[/]\x1b[2J"
    spec = dict(run.spec) | {"methods": [name]}
    verdict = replace(run.headlines["gradient"], method=name, reason="[link=x]\x07boo")
    verdict = replace(verdict, outcome=Outcome.FAIL)
    text = printed(replace(run, spec=spec, verdicts=(verdict,)), width=200)
    assert "[bold red]mine[/]" in text
    assert "[link=x]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_method_without_a_verdict_is_shown_as_not_judged(cascade: Path) -> None:
    run = read_run(cascade)
    rest = tuple(v for v in run.verdicts if v.method != "vargrad")
    assert "not judged" in printed(replace(run, verdicts=rest))


def test_the_deciding_cell_is_the_worst_informative_one(cascade: Path) -> None:
    run = read_run(cascade)
    cell = deciding(run, run.headlines["input_x_gradient"])
    assert (cell.view, cell.outcome) == ("absolute", Outcome.FAIL)
    assert deciding(run, run.headlines["gradcam"]).similarity != "hog"


def test_the_answer_names_every_method_once(cascade: Path, labels: Path) -> None:
    question, answer = summary_sentences(read_run(cascade))
    assert question.endswith("?")
    assert answer.startswith("Of 10 methods on ")
    assert "4 hardly depend on what it learned (FAIL: Input × gradient," in answer
    assert "what the labels mean" in summary_sentences(read_run(labels))[1]


def test_the_answer_of_one_or_no_method(cascade: Path) -> None:
    run = read_run(cascade)
    one = replace(run, spec=dict(run.spec) | {"methods": ["gradient"]})
    assert "1 depends on what it learned (PASS: Gradient)" in summary_sentences(one)[1]
    none = replace(run, spec=dict(run.spec) | {"methods": []})
    assert summary_sentences(none)[1] == "No method was judged."


def test_the_answer_of_a_distrusted_run_warns(distrusted: Path) -> None:
    assert summary_sentences(read_run(distrusted))[1].startswith("Not to be trusted")

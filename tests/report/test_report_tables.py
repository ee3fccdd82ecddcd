from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from salsanity.records import Outcome
from salsanity.report import read_run, summary_sentences, verdict_table
from salsanity.report.folder import Part, Run
from salsanity.report.terms import method_names, network_name, short_name
from salsanity.report.worst import deciding, excess, worst_first


def printed(run: Run | Part, **options: object) -> str:
    settings = {"width": 80, "no_color": True} | options
    out = io.StringIO()
    Console(file=out, **settings).print(verdict_table(run))
    return out.getvalue()


def check_fits(text: str) -> None:
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_the_table_fits_80_columns(cascade: Path, labels: Path, several: Path) -> None:
    for folder in (cascade, labels, several):
        check_fits(printed(read_run(folder)))


def test_twin_a_wider_table_is_noticed(cascade: Path) -> None:
    with pytest.raises(AssertionError):
        check_fits(printed(read_run(cascade), width=120))


def test_every_method_and_its_verdict_stand_in_one_line_without_colour(cascade: Path) -> None:
    (run,) = read_run(cascade).parts
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
    (run,) = read_run(cascade).parts
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
    (run,) = read_run(cascade).parts
    rest = tuple(v for v in run.verdicts if v.method != "vargrad")
    assert "not judged" in printed(replace(run, verdicts=rest))


def test_the_deciding_cell_is_the_worst_informative_one(cascade: Path) -> None:
    (run,) = read_run(cascade).parts
    cell = deciding(run, run.headlines["input_x_gradient"])
    assert (cell.view, cell.outcome) == ("absolute", Outcome.FAIL)
    assert deciding(run, run.headlines["gradcam"]).similarity != "hog"


def test_lines_of_what_must_stay_decide_the_other_way(several: Path) -> None:
    moved = read_run(several).parts[2]
    low, high = (moved.headlines[m] for m in ("input_x_gradient", "gradient"))
    assert excess(low) > 0 > excess(high)
    assert worst_first(moved)[:2] == ["input_x_gradient", "integrated_gradients"]
    text = printed(moved)
    assert "FAIL where less than 0.9 is kept" in text
    assert "an edge detector, which sees no network, passes too" in " ".join(text.split())


def test_methods_stand_worst_first(cascade: Path) -> None:
    (part,) = read_run(cascade).parts
    rank = [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNINFORMATIVE, Outcome.PASS].index
    places = [rank(part.headlines[m].outcome) for m in worst_first(part)]
    assert places == sorted(places)
    assert len(set(places)) > 1
    assert sorted(worst_first(part)) == sorted(part.methods)
    lines = [
        row.split()[0] for row in printed(part).splitlines() if " PASS" in row or " FAIL" in row
    ]
    assert lines[: len(part.methods)] == worst_first(part)


def test_every_check_has_its_table(several: Path) -> None:
    run = read_run(several)
    text = printed(run)
    titles = [part.record.words.title for part in run.parts]
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)
    assert text.count("guided_gradcam ") >= 3


def test_nothing_can_pass_is_said(cascade: Path) -> None:
    (part,) = read_run(cascade).parts
    never = replace(part.record, never_pass="only 60 % of the weights were reached")
    assert "No method can PASS here: only 60 %" in printed(replace(part, record=never), width=200)


def test_more_lines_than_columns_show_the_deciding_one(cascade: Path) -> None:
    (part,) = read_run(cascade).parts
    third = replace(part.record.lines[0], name="third")
    record = replace(part.record, lines=(*part.record.lines, third))
    text = printed(replace(part, record=record))
    check_fits(text)
    row = next(line for line in text.splitlines() if line.startswith("guided_backprop "))
    assert ".62 [.58,.66]" in row
    assert row.count("[") == 1


def test_the_answer_names_every_method_once(cascade: Path, labels: Path) -> None:
    question, answer = summary_sentences(read_run(cascade))
    assert question.endswith("?")
    assert answer.startswith("Of 10 methods on ")
    wanted = "4 were caught: their maps hardly depend on what the network learned (FAIL: Input × gradient,"
    assert wanted in answer
    assert "6 were not caught (PASS: Gradient," in answer
    assert "what the labels mean" in summary_sentences(read_run(labels))[1]


def test_a_pass_is_no_praise(cascade: Path, labels: Path, several: Path) -> None:
    for folder in (cascade, labels, several):
        for part in read_run(folder).parts:
            said = " ".join((*summary_sentences(part), printed(part)))
            assert "depends on what" not in said.replace("hardly depends", "")
            assert "passes too" in said


def test_of_several_checks_the_worst_speaks(several: Path) -> None:
    run = read_run(several)
    assert summary_sentences(run) == summary_sentences(run.parts[0])
    gentle = tuple(replace(v, outcome=Outcome.PASS) for v in run.parts[0].verdicts)
    parts = (replace(run.parts[0], verdicts=gentle), *run.parts[1:])
    assert "moved" in summary_sentences(replace(run, parts=parts))[0]


def test_the_answer_of_one_or_no_method(cascade: Path) -> None:
    (run,) = read_run(cascade).parts
    one = replace(run, spec=dict(run.spec) | {"methods": ["gradient"]})
    assert "1 was not caught (PASS: Gradient)" in summary_sentences(one)[1]
    one = replace(run, spec=dict(run.spec) | {"methods": ["guided_backprop"]})
    assert "1 was caught: its maps hardly depend" in summary_sentences(one)[1]
    none = replace(run, spec=dict(run.spec) | {"methods": []})
    assert summary_sentences(none)[1] == "No method was judged."


def test_networks_and_explainers_are_named_without_their_folders() -> None:
    assert short_name("/people/me/nets.py:ResNet") == "ResNet"
    assert short_name("explainers.py:mine(width=3)") == "mine(width=3)"
    assert short_name("pkg.explain:mine") == "mine"
    assert short_name("captum:Occlusion(n=3)") == "captum:Occlusion(n=3)"
    assert short_name("torchvision:resnet18") == "torchvision:resnet18"
    assert short_name("/data/net.pt") == "net.pt"
    assert short_name("C:\\nets\\net.py:Net") == "Net"
    assert network_name("/people/me/nets.py:ResNet") == "ResNet"
    assert network_name("/people/me/my_models.py:build(width=3)") == "my_models.build(width=3)"
    assert network_name("C:\\nets\\bird.py:get_model") == "bird.get_model"
    assert network_name("torchvision:resnet18") == "torchvision:resnet18"
    assert network_name("build") == "build"  # a name that the user gave
    assert method_names(["a.py:mine", "b.py:mine", "gradient", "smoothgrad(samples=2)"]) == {
        "a.py:mine": "mine (a.py)",
        "b.py:mine": "mine (b.py)",
        "gradient": "Gradient",
        "smoothgrad(samples=2)": "SmoothGrad (samples=2)",
    }


def test_the_answer_of_a_distrusted_run_warns(distrusted: Path) -> None:
    assert summary_sentences(read_run(distrusted))[1].startswith("Not to be trusted")

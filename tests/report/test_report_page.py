"""What a reader takes from the page: names, one line a method, explainers that gave nothing, size."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_run import STAGES_17, Recipe, write_cascade

from salsanity.records import Outcome
from salsanity.report import notebook_html, read_run, summary_sentences, write_report
from salsanity.report.charts import curve_groups
from salsanity.report.folder import Run
from salsanity.report.html import breakable, render
from salsanity.report.rows import method_rows
from salsanity.report.summary import short_answer
from salsanity.report.tables import plain_table
from salsanity.report.terms import method_names
from salsanity.rows import Rows

BROKE = "vargrad"
SAID = "vargrad raised ValueError: no such layer"


@pytest.fixture(scope="module")
def broken(plain: Path) -> Run:
    """A run of which one explainer raised on every image."""
    run = read_run(plain)
    (part,) = run.parts
    scores = part.scores.copy()
    rows = scores["method"] == BROKE
    scores.loc[rows, ["value", "chance"]] = float("nan")
    scores["reason"] = scores["reason"].astype(object).where(~rows, SAID)
    verdicts = tuple(
        replace(v, outcome=Outcome.UNINFORMATIVE, reason="0 % of scores", kept=())
        if v.method == BROKE
        else v
        for v in part.verdicts
    )
    return replace(run, parts=(replace(part, rows=Rows.of(scores), verdicts=verdicts),))


def row_of(text: str, name: str) -> str:
    (found,) = [
        row
        for row in re.findall(r"<tr>.*?</tr>", rows_of(text), re.S)
        if f"<b>{breakable(name)}</b>" in row
    ]
    return str(found)


def rows_of(text: str) -> str:
    start = text.index('<table class="verdicts rows">')
    return text[start : text.index("</table>", start)]


def test_functions_of_two_files_with_one_name_are_told_apart_by_their_files() -> None:
    names = method_names(["one.py:saliency", "two.py:saliency", "three.py:other", "gradient"])
    assert list(names.values()) == [
        "saliency (one.py)",
        "saliency (two.py)",
        "other",
        "Gradient",
    ]


def test_equal_file_names_are_told_apart_by_as_little_of_their_paths_as_it_takes() -> None:
    given = ["/people/a/x/maps.py:f", "/people/b/x/maps.py:f", "/people/a/other.py:f"]
    assert list(method_names(given).values()) == [
        "f (a/x/maps.py)",
        "f (b/x/maps.py)",
        "f (other.py)",
    ]
    assert list(method_names(["m.py:f(a=1)", "m.py:f(a=2)"]).values()) == ["f(a=1)", "f(a=2)"]
    assert set(method_names(["k:f", "k.f"]).values()) == {"k:f", "k.f"}


def test_an_explainer_that_raised_everywhere_does_not_look_like_a_verdict(broken: Run) -> None:
    text = render(broken)
    row = row_of(text, "VarGrad")
    assert "NO MAPS" in row
    assert SAID in row
    assert not any(f'class="badge {outcome.lower()}"' in row for outcome in Outcome)
    assert "NO MAPS" not in row_of(text, "Gradient")


def test_an_explainer_that_raised_everywhere_is_counted_apart(broken: Run) -> None:
    (part,) = broken.parts
    assert "1 gave no maps, because it raised on every image" in short_answer(part)
    assert "cannot be judged" not in short_answer(part)
    _, answer = summary_sentences(broken)
    assert "raised on every image (VarGrad)" in answer
    assert answer.startswith("Of 10 methods")
    assert "NO MAPS" in plain_table(broken)
    assert "UNINFORMATIVE" not in plain_table(broken)
    assert "NO MAPS" in notebook_html(broken)


def test_an_explainer_without_maps_has_neither_curve_nor_ceiling(broken: Run) -> None:
    for group in curve_groups(broken.parts[0]):
        for panel in group.panels:
            assert (panel.method == BROKE) == (panel.ceiling is None)
            if panel.ceiling is not None:
                assert panel.ceiling >= 8.0  # the top margin: inside the axis


def test_bands_reach_below_zero_and_ceilings_stay_inside_the_axis(plain: Path) -> None:
    (part,) = read_run(plain).parts
    vars(part)["curves"] = part.curves.assign(S_low=part.curves["S_low"] - 0.6)
    for group in curve_groups(part):
        bottom = max(y for y, _ in group.ticks)
        for panel in group.panels:
            assert all(p.low <= 112 for p in panel.points)
            if panel.method == "gradient":
                assert len({p.low for p in panel.points}) > 1, "cut off at one place"
            assert panel.ceiling is None or panel.ceiling < bottom


def test_a_row_has_one_number_and_its_reason_opens_to_every_view(plain: Path) -> None:
    run = read_run(plain)
    (part,) = run.parts
    text = render(run)
    for row in method_rows(part):
        shown = row_of(text, row.name)
        folded = shown[shown.index("<details") :]
        assert shown.count('class="lane kept"') == 1
        assert row.decides is not None
        assert row.decides.lane.value in shown[: shown.index("<details")]
        assert folded.count('class="viewbar"') == len(row.bars) == 2


def test_the_number_of_a_row_is_the_one_that_speaks_most_against_the_method(plain: Path) -> None:
    (part,) = read_run(plain).parts
    mute = tuple(replace(v, reason="") for v in part.verdicts)
    for row in method_rows(replace(part, verdicts=mute)):
        assert row.decides is not None
        assert row.decides.lane.beyond == max(lane.beyond for bar in row.bars for lane in bar.lanes)


def test_the_number_of_a_row_is_that_of_its_reason(plain: Path) -> None:
    """Of two lines, the one further beyond need not be the one that failed, after Holm's correction."""
    (part,) = read_run(plain).parts
    full, half = part.record.lines
    for line in (full, half):
        told = tuple(replace(v, reason=f"it retains much {line.words}") for v in part.verdicts)
        for row in method_rows(replace(part, verdicts=told)):
            assert row.decides is not None
            assert row.decides.words.endswith(f", {line.name}")
            assert row.decides.lane.name == line.name


def test_no_praise_is_given_anywhere(plain: Path) -> None:
    seen = re.sub(r"<[^>]+>", " ", render(read_run(plain)))
    assert "not caught" in seen
    assert not re.search(r"(?<!hardly )depends? on what", seen)


def test_no_path_of_a_machine_names_the_network(plain: Path) -> None:
    run = read_run(plain)
    spec = dict(run.spec) | {
        "model": {**run.spec["model"], "name": "/people/someone/nets.py:Net"},
        "data": {**run.spec["data"], "name": "/people/someone/photos"},
    }
    changed = replace(run, spec=spec, parts=tuple(replace(p, spec=spec) for p in run.parts))
    assert "/people/someone" not in render(changed)


def test_photographs_are_chosen_among_small_ones(tmp_path: Path) -> None:
    recipe = Recipe(
        stages=("fc",), methods=("gradient",), images=4, gallery=2, side=224, channels=3
    )
    text = render(read_run(write_cascade(tmp_path, recipe)))
    sizes = {
        kind: [len(uri) for uri in re.findall(rf'<img src="([^"]+)" alt="{kind}', text)]
        for kind in ("Image", "Photograph")
    }
    assert len(sizes["Image"]) == len(sizes["Photograph"]) == 2
    assert max(sizes["Image"]) < min(sizes["Photograph"])


def test_eight_images_and_seven_methods_on_a_deep_network_stay_under_5_mebibytes(
    tmp_path: Path,
) -> None:
    recipe = Recipe(images=8, draws=2, side=112, channels=3, grain=0.7, stages=tuple(STAGES_17))
    size = write_report(write_cascade(tmp_path, replace(recipe, methods=recipe.methods[:7]))).stat()
    assert size.st_size < 5 * 2**20

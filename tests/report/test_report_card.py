"""The card: methods by checks, in every form that people take away."""

from __future__ import annotations

import csv
import io
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from salsanity.errors import UsageError
from salsanity.records import Outcome
from salsanity.report import card_html, read_run, write_card
from salsanity.report.card import FIELDS, Card, CardCell, CardColumn, CardRow, _place, card_of
from salsanity.report.figures.card import NAME, broken, card_figure
from salsanity.report.folder import Part
from salsanity.report.html import card_page
from salsanity.report.worst import deciding, furthest

NASTY = r"a|b & c_d <i>50 %</i> \x {y} #1 $z$ ~^ *s* `t`"


@pytest.fixture(scope="module")
def shown(several: Path) -> Card:
    return card_of(read_run(several))


def cells(found: Card) -> dict[str, tuple[CardCell | None, ...]]:
    return {row.method: row.cells for row in found.rows}


def small() -> Card:
    """A card of one cell that is there and one that is not, with names that every format reads something into."""
    column = CardColumn(
        "one", NASTY, "net", "Why?", "a use", "", ("at most 0.2",), "", trusted=True
    )
    cell = CardCell(Outcome.FAIL, -0.5, (-0.75, 0.25), "because")
    other = replace(column, key="two", title="two", trusted=False)
    return Card((column, other), (CardRow(NASTY, NASTY, (cell, None)),))


def test_a_cell_is_the_headline_and_what_decided_it(several: Path, shown: Card) -> None:
    run = read_run(several)
    assert [c.key for c in shown.columns] == [p.record.name for p in run.parts]
    for k, part in enumerate(run.parts):
        for method in part.methods:
            cell, headline = cells(shown)[method][k], part.headlines[method]
            kept = furthest(deciding(part, headline))
            assert cell is not None
            assert kept is not None
            assert cell.outcome is headline.outcome
            assert (cell.number, cell.interval) == (kept.retained, kept.retained_ci)


def test_what_was_caught_by_most_checks_comes_first(shown: Card) -> None:
    caught = [sum(c is not None and c.outcome is Outcome.FAIL for c in r.cells) for r in shown.rows]
    assert caught == sorted(caught, reverse=True)
    assert caught[0] == 2
    assert {shown.rows[0].method, shown.rows[1].method} == {
        "input_x_gradient",
        "integrated_gradients",
    }


def test_the_foot_says_for_which_use_a_column_matters(several: Path, shown: Card) -> None:
    for part, said in zip(read_run(several).parts, shown.foot, strict=False):
        assert part.record.words.question in said
        assert f"It matters for {part.record.words.use}." in said
        assert "passes too" in said
    assert "at least 0.9" in shown.foot[2]
    assert "ranks nobody" in shown.foot[-1]


def test_runs_are_put_side_by_side_and_what_is_missing_stays_missing(
    several: Path, labels: Path, tmp_path: Path
) -> None:
    run = read_run(several)
    fewer = replace(run.parts[0], spec=dict(run.spec) | {"methods": ["gradient"]})
    found = card_of(fewer, read_run(labels))
    assert [c.key for c in found.columns] == ["cascade", "labels"]
    missing = [m for m, row in cells(found).items() if row[0] is None]
    assert len(missing) == 9
    assert "gradient" not in missing
    assert found.to_frame()["cascade outcome"].isna().sum() == 9


def test_one_check_in_two_runs_gets_two_names(cascade: Path, plain: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(cascade, tmp_path / "again"))
    networks = card_of(read_run(cascade), read_run(plain))
    assert len({c.key for c in networks.columns}) == 2
    assert networks.columns[1].key == "cascade, reference:cnn"
    folders = card_of(read_run(cascade), read_run(copy))
    assert folders.columns[1].key == "cascade, again"
    same = card_of(read_run(cascade), read_run(cascade))
    assert len(set(same.to_frame().columns)) == 2 * len(FIELDS)


def test_the_table_has_every_number(several: Path, shown: Card) -> None:
    table = shown.to_frame()
    assert list(table.index) == [row.method for row in shown.rows]
    fields = ("outcome", "retained", "low", "high", "line", "trusted")
    assert list(table.columns[:6]) == [f"cascade {field}" for field in fields]
    assert table.loc["guided_backprop", "cascade outcome"] == "FAIL"
    assert table.loc["guided_backprop", "cascade retained"] == pytest.approx(0.62)
    assert table["cascade trusted"].all()
    read = pd.read_csv(io.StringIO(shown.to_csv()), index_col=0)
    pd.testing.assert_frame_equal(
        read.astype(object).where(read.notna(), None),
        table.astype(object).where(table.notna(), None),
    )


def test_a_number_says_to_which_of_several_lines_it_belongs(several: Path, shown: Card) -> None:
    (cascade, *others) = read_run(several).parts
    names = {line.name for line in cascade.record.lines}
    for row in shown.rows:
        first, *rest = row.cells
        assert first is not None
        assert first.line in names
        headline = cascade.headlines[row.method]
        kept = {kept.line: kept.retained for kept in deciding(cascade, headline).kept}
        assert kept[first.line] == first.number
        assert {cell.line for cell in rest if cell} == {""}
    assert all(len(part.record.lines) == 1 for part in others)
    assert "FAIL 0.62" in shown.to_markdown()
    for line in cascade.record.lines:
        assert f"{line.name}: at most {line.threshold:g}" in shown.foot[0]


def test_csv_quotes_what_it_must() -> None:
    rows = list(csv.reader(io.StringIO(small().to_csv())))
    assert rows[1][0] == NASTY
    assert rows[1][1:7] == ["FAIL", "-0.5", "-0.75", "0.25", "", "True"]
    assert rows[1][7:] == [""] * 6  # missing: neither passed nor trusted


def test_markdown_is_a_table_whatever_the_names(shown: Card) -> None:
    heading, subject, table, foot = small().to_markdown().split("\n\n")
    assert heading.startswith("## ")
    assert subject == "Network: net."
    assert all(line.startswith("- ") for line in foot.splitlines())
    lines = table.splitlines()
    assert lines[1] == "| --- | --- | --- |"
    for line in (lines[0], lines[2]):
        assert line.replace(r"\|", "").count("|") == 4
        assert "<i>" not in line
    assert "FAIL −0.50 (−0.75 to 0.25)" in lines[2]
    assert lines[2].endswith("| – |")
    assert len(shown.to_markdown().split("\n\n")[2].splitlines()) == 2 + len(shown.rows)


def check_latex(text: str) -> None:
    """Every row has as many columns as the table, and no character of TeX's stands unescaped."""
    body = [line for line in text.splitlines() if not line.startswith(("%", r"\begin", r"\end"))]
    rows = [line for line in body if line.endswith(r" \\")]
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    for row in rows:
        bare = row.replace(r"\&", "").replace(r"\%", "").replace(r"\_", "").replace(r"\#", "")
        assert bare.count("&") == len(columns) - 1
        assert not set("%#") & set(bare)
        assert bare.count("{") == bare.count("}")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1


def test_latex_is_booktabs_whatever_the_names(shown: Card) -> None:
    for found in (shown, small()):
        check_latex(found.to_latex())
    assert r"50 \%" in small().to_latex()
    assert r"Input $\times$ gradient & FAIL 0.97" in shown.to_latex()


def test_twin_an_unescaped_name_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_latex(small().to_latex().replace(r"\&", "&"))


def test_what_is_not_to_be_trusted_is_marked(distrusted: Path) -> None:
    found = card_of(read_run(distrusted))
    assert not found.columns[0].trusted
    assert "NOT TO BE TRUSTED" in found.to_markdown()
    for text in (found.to_markdown(), found.to_latex(), card_html(found), card_page(found)):
        head = next(line for line in text.splitlines() if "Method" in line and "test" in line)
        assert "not to be trusted" in head
    assert not found.to_frame()["cascade trusted"].any()


def test_what_was_not_asked_comes_before_what_passed() -> None:
    passed, failed = (CardCell(o, 0.1, (0, 0.2), "") for o in (Outcome.PASS, Outcome.FAIL))
    rows = {"all": (passed, passed), "one": (passed, None), "none": (None, None)}
    placed = sorted(rows, key=lambda name: _place(CardRow(name, name, rows[name])))
    assert placed == ["none", "one", "all"]
    worse = CardRow("caught", "caught", (failed, None))
    assert _place(worse) < _place(CardRow("none", "none", rows["none"]))


def test_twin_missing_cells_that_count_as_passed_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = _place
    monkeypatch.setattr(sys.modules[__name__], "_place", lambda row: whole(row)[:-1])
    with pytest.raises(AssertionError):
        test_what_was_not_asked_comes_before_what_passed()


def test_a_notebook_shows_every_cell_and_trusts_no_name(shown: Card) -> None:
    text = card_html(shown)
    assert text.count("<tr>") == 1 + len(shown.rows)
    assert text.count("<td") == len(shown.rows) * len(shown.columns)
    for row in shown.rows:
        for cell in row.cells:
            assert cell is None or f"{cell.outcome}</strong><br>{cell.text}" in text
    hostile = card_html(small())
    assert "<i>" not in hostile
    assert "–</td>" in hostile


def test_the_figure_names_every_method_whole_and_says_what_columns_are_for(shown: Card) -> None:
    name = "zennit:EpsilonPlusFlat(canonizer='none',epsilon=0.001,stabilizer=0.5)"
    row = replace(small().rows[0], method=name, name=name)
    (axes,) = card_figure(replace(small(), rows=(row,))).axes
    texts = [text.get_text() for text in axes.texts]
    assert name in [text.replace("\n", "") for text in texts]
    (axes,) = card_figure(shown).axes
    drawn = " ".join(text.get_text().replace("\n", " ") for text in axes.texts)
    for column in shown.columns:
        assert column.question in drawn
        assert column.use in drawn
    assert "which is no PASS" in drawn


@pytest.mark.parametrize(
    "name", ["x" * 95, "library:Name(a=1, b='two words', c=(1, 2, 3), d=0.25, e=None)", "", "short"]
)
def test_a_broken_name_loses_nothing(name: str) -> None:
    lines = broken(name)
    assert "".join(lines) == name
    assert all(len(line) <= NAME for line in lines)


def test_the_figure_marks_what_is_missing_and_what_is_not_trusted() -> None:
    (axes,) = card_figure(small()).axes
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("–") == 1
    assert any("(not to be trusted)" in text for text in texts)


def test_a_method_without_numbers_has_an_outcome_alone(plain: Path) -> None:
    (part,) = read_run(plain).parts
    bare = tuple(replace(v, kept=(), outcome=Outcome.UNINFORMATIVE) for v in part.verdicts)
    found = card_of(replace(part, verdicts=bare))
    cell = found.rows[0].cells[0]
    assert cell is not None
    assert math.isnan(cell.number)
    assert (cell.text, cell.span) == ("", "")
    assert "UNINFORMATIVE" in found.to_latex()


def test_the_card_of_parts_is_that_of_their_run(several: Path, shown: Card) -> None:
    parts: tuple[Part, ...] = read_run(several).parts
    assert card_of(*parts) == shown


@pytest.mark.parametrize("form", ["html", "csv", "md", "tex", "png", "pdf", "svg"])
def test_every_form_can_be_written(several: Path, plain: Path, tmp_path: Path, form: str) -> None:
    path = write_card([several, read_run(plain)], tmp_path / "new" / f"card.{form}")
    assert path.stat().st_size > 400
    assert [p.name for p in path.parent.iterdir()] == [f"card.{form}"]
    if form in ("html", "md", "tex", "csv"):
        assert "0.62" in path.read_text(encoding="utf-8")


def test_another_ending_says_what_there_is(several: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.html, \.csv"):
        write_card([several], tmp_path / "card.docx")


def test_the_page_of_the_card_trusts_no_name() -> None:
    text = card_page(small())
    assert "<i>" not in text
    assert "&lt;i&gt;" in text
    assert "not to be trusted" in text

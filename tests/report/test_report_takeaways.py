"""Figures at a journal's width and of one's own choice, tables for papers, and files by format."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from synthetic_run import Recipe, write_cascade, write_labels

from salsanity.cli import app
from salsanity.errors import UsageError
from salsanity.report import (
    figure,
    number_table,
    read_run,
    to_csv,
    to_latex,
    to_markdown,
    write_figures,
    write_takeaways,
)
from salsanity.report.folder import Run
from salsanity.report.rows import method_rows

FEW = ("gradient", "input_x_gradient", "guided_backprop")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = Recipe(stages=("fc", "conv2", "conv1"), methods=FEW, images=4, gallery=2, side=16)
    return read_run(write_cascade(tmp_path_factory.mktemp("small"), recipe))


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = Recipe(stages=("full",), methods=FEW, images=4, gallery=1, side=16)
    return read_run(write_labels(tmp_path_factory.mktemp("bars"), recipe))


def words(drawn: Figure) -> set[str]:
    """All texts of a figure."""
    found = [*drawn.texts, *(text for ax in drawn.axes for text in (*ax.texts, ax.title))]
    return {text.get_text() for text in found} - {""}


def pixels(drawn: Figure) -> np.ndarray:
    out = io.BytesIO()
    drawn.savefig(out, format="png", dpi=60)
    return np.asarray(Image.open(out).convert("RGB")).astype(float)


@pytest.mark.parametrize("kind", ["states", "curves"])
def test_methods_are_chosen_and_ordered_and_controls_left_out(small: Run, kind: str) -> None:
    asked = words(figure(small, kind, methods=["guided_backprop", "gradient"]))
    assert {"Guided backprop", "Gradient"} <= asked
    assert not {"Input × gradient", "Edge detector"} & asked
    without = words(figure(small, kind, controls=False))
    assert "Gradient" in without
    assert "Edge detector" not in without
    assert "Edge detector" in words(figure(small, kind))


def test_bars_are_chosen_too(bars: Run) -> None:
    def names(**options: object) -> list[str]:
        drawn = figure(bars, "bars", **options)  # type: ignore[arg-type]
        return [t.get_text() for t in drawn.axes[-1].get_xticklabels()]

    assert names(methods=["gradient"]) == ["Gradient"]
    assert names(controls=False) == ["Gradient", "Input × gradient", "Guided backprop"]
    assert names(methods=["gradient"], names={"gradient": "Ours"}) == ["Ours"]


def test_colours_maps_names_and_titles_are_the_caller_s(small: Run) -> None:
    drawn = figure(small, "states", cmap="viridis", title="Figure 2", names={"gradient": "Ours"})
    assert {"Figure 2", "Ours"} <= words(drawn)
    (maps,) = [i for ax in drawn.axes for i in ax.get_images() if i.get_gid() == "maps"]
    assert maps.get_cmap().name == "viridis"
    assert not any("black" in text for text in words(drawn)), "the words would be about another map"
    curves = figure(small, "curves", colors={"similarity": "#ff00ff"})
    colours = {line.get_color() for ax in curves.axes for line in ax.lines}
    assert "#ff00ff" in colours
    assert "#0060a8" not in colours


def test_a_title_stands_above_all_else(small: Run, bars: Run) -> None:
    for run, kind in ((small, "states"), (small, "curves"), (bars, "bars")):
        drawn = figure(run, kind, title="Figure 2")
        pixels(drawn)
        (title,) = [t for t in drawn.texts if t.get_text() == "Figure 2"]
        below = [legend.get_window_extent().y1 for legend in drawn.legends]
        below += [ax.get_tightbbox().y1 for ax in drawn.axes]
        assert title.get_window_extent().y0 >= max(below) - 1


def test_a_figure_fits_into_axes_of_the_caller_s(small: Run, bars: Run) -> None:
    for run, kind in ((small, "states"), (small, "methods"), (small, "curves"), (bars, "bars")):
        mine = Figure(figsize=(6, 4))
        left, right = mine.subplots(1, 2)
        assert figure(run, kind, ax=right, controls=False, title="b") is mine
        assert right.has_data()
        assert not left.has_data()
        assert right.get_title() == "b"
        pixels(mine)


def test_curves_in_one_axes_have_a_line_each_and_a_legend(small: Run) -> None:
    mine = Figure()
    axes = mine.subplots()
    figure(small, "curves", ax=axes, methods=list(FEW), colors=["red", "green", "blue"])
    handles, labels = axes.get_legend_handles_labels()
    assert labels == ["Gradient", "Input × gradient", "Guided backprop"]
    assert [h.get_color() for h in handles] == ["red", "green", "blue"]


@pytest.mark.parametrize("width", [("single", 3.5), ("double", 7.2), (5.0, 5.0)])
@pytest.mark.parametrize("kind", ["states", "curves"])
def test_figures_are_as_wide_as_a_journal_s_columns(
    small: Run, kind: str, width: tuple[float | str, float]
) -> None:
    drawn = figure(small, kind, width=width[0], controls=False)
    assert drawn.get_figwidth() == pytest.approx(width[1], abs=0.02)
    inside = drawn.get_tightbbox()
    assert inside.x1 <= width[1] + 0.05
    assert inside.x0 >= -0.05


def test_what_a_figure_does_not_have_is_refused(small: Run) -> None:
    with pytest.raises(UsageError, match="expected methods of this run"):
        figure(small, "curves", methods=["telepathy"])
    with pytest.raises(UsageError, match="'image' is no option of the figure curves"):
        figure(small, "curves", image=1)
    with pytest.raises(UsageError, match="expected a width"):
        figure(small, "curves", width="huge")
    with pytest.raises(UsageError, match=r"ends with \.png, \.pdf or \.svg"):
        figure(small, "curves", path="figure.doc")


def test_pdf_figures_are_vector_with_fonts_embedded(small: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small.folder, tmp_path / "run"))
    written = write_figures(folder, formats=("pdf",), width="double")
    assert len(written) > 5
    for path in written:
        content = path.read_bytes()
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        (box,) = set(re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", content))
        assert float(box) == pytest.approx(7.2 * 72, abs=1)


def test_markdown_has_every_method_in_one_line(cascade: Path) -> None:
    run = read_run(cascade)
    text = to_markdown(run)
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 10
    for row, line in zip(method_rows(run.parts[0]), rows, strict=True):
        assert f"| {row.outcome} |" in line
    assert "<script>" not in text
    assert "pure noise passes too" in text


def test_latex_is_booktabs_and_escaped(several: Path, cascade: Path) -> None:
    text = to_latex(read_run(several))
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4
    assert text.count(r"\toprule") == 4
    for line in to_latex(read_run(cascade)).splitlines():
        if not line.startswith("%"):
            assert not re.search(r"(?<!\\)[%#_]", line), line
            assert line.count(" & ") in (0, 4)


def test_a_run_that_cannot_be_trusted_says_so_in_every_text(distrusted: Path) -> None:
    run = read_run(distrusted)
    for text in (to_markdown(run), to_latex(run)):
        assert "cannot be trusted" in text


def test_the_csv_has_every_number_of_verdicts_and_curves(cascade: Path) -> None:
    run = read_run(cascade)
    (part,) = run.parts
    table = pd.read_csv(io.StringIO(to_csv(run)))
    cells = sum(len(v.kept) or 1 for v in part.verdicts if v.view)
    assert (table["kind"] == "cell").sum() == cells
    assert (table["kind"] == "stage").sum() == len(part.curves)
    stages = table[table["kind"] == "stage"]
    np.testing.assert_allclose(stages["value"], part.curves["S"], equal_nan=True)
    np.testing.assert_allclose(stages["retained_low"], part.curves["low"], equal_nan=True)
    assert set(number_table(run)["kind"]) == set(table["kind"])
    assert {"signal", "accuracy", "fact"} <= set(table["kind"])


def test_every_format_is_written_by_the_command(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "run"))
    asked = [
        part for form in ("html", "pdf", "md", "csv", "latex", "png") for part in ("--format", form)
    ]
    assert app.run(["report", str(folder), *asked, "--width", "single"]) == 0
    told = {Path(line) for line in capsys.readouterr().out.split()}
    assert {"report.html", "report.md", "report.csv", "report.tex"} <= {p.name for p in told}
    assert {p.suffix for p in told if p.parent.name == "figures"} == {".pdf", ".png"}
    assert all(path.is_file() for path in told)


def test_an_unknown_format_is_refused_before_anything_is_written(
    plain: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "run"))
    before = sorted(p.name for p in folder.rglob("*"))
    assert app.run(["report", str(folder), "--format", "md", "--format", "doc"]) == 2
    with pytest.raises(UsageError, match="expected a format among html, pdf"):
        write_takeaways(read_run(folder), ["doc"])
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_several_folders_are_compared_by_the_command(
    cascade: Path, plain: Path, distrusted: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    folders = [str(f) for f in (cascade, plain, distrusted)]
    assert app.run(["report", *folders, "--out", str(page)]) == 0
    assert "Three runs side by side" in page.read_text()
    assert app.run(["report", *folders, "--format", "md"]) == 2

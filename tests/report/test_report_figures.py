from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from synthetic_run import STAGES_17, Recipe, write_cascade, write_labels

from salsanity.errors import StoreError, UsageError
from salsanity.report import figure, read_run, write_figures
from salsanity.report.figures import grids
from salsanity.report.figures.style import save
from salsanity.report.folder import Run

GOLDENS = Path(__file__).parent / "goldens"
TOLERANCE = 7.0
"""Root mean square difference in grey levels: versions of matplotlib place text differently."""

FEW = ("gradient", "input_x_gradient", "guided_backprop")


def pixels(drawn: Figure) -> np.ndarray:
    out = io.BytesIO()
    drawn.savefig(out, format="png", dpi=45)
    return np.asarray(Image.open(out).convert("RGB")).astype(float)


def check_like(drawn: Figure, name: str) -> None:
    """Compare with the golden image; SALSANITY_GOLDENS=write draws new ones, to be looked at."""
    found, path = pixels(drawn), GOLDENS / f"{name}.png"
    if os.environ.get("SALSANITY_GOLDENS") == "write":
        small = Image.fromarray(found.astype(np.uint8)).quantize(160, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
    with Image.open(path) as image:
        golden = np.asarray(image.convert("RGB")).astype(float)
    assert found.shape == golden.shape
    assert np.sqrt(((found - golden) ** 2).mean()) < TOLERANCE


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = Recipe(stages=("fc", "conv2", "conv1"), methods=FEW, images=4, gallery=2, side=16)
    return read_run(write_cascade(tmp_path_factory.mktemp("small"), recipe))


@pytest.fixture(scope="module")
def small_labels(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = Recipe(stages=("full",), methods=FEW, images=4, gallery=1, side=16)
    return read_run(write_labels(tmp_path_factory.mktemp("small_labels"), recipe))


CASES: dict[str, Callable[[Run, Run], Figure]] = {
    "methods": lambda run, _: figure(run, "methods", view="signed"),
    "cascade": lambda run, _: figure(run, "cascade", view="signed", methods=FEW),
    "curves": lambda run, _: figure(run, "curves"),
    "labels": lambda _, run: figure(run, "labels"),
    "bars": lambda _, run: figure(run, "bars"),
}


@pytest.mark.parametrize("name", CASES)
def test_figures_look_as_they_did(name: str, small: Run, small_labels: Run) -> None:
    check_like(CASES[name](small, small_labels), name)


TWINS: dict[str, Callable[[Run, Run], Figure]] = {
    "methods": lambda run, _: figure(run, "methods", view="absolute"),
    "cascade": lambda run, _: figure(run, "cascade", view="signed", methods=FEW[::-1]),
    "curves": lambda run, _: figure(run, "curves", view="signed"),
    "labels": lambda _, run: figure(run, "labels", view="signed"),
    "bars": lambda _, run: figure(run, "bars", similarity="hog"),
}


@pytest.mark.parametrize("name", TWINS)
def test_twin_another_figure_is_noticed(name: str, small: Run, small_labels: Run) -> None:
    drawn = TWINS[name](small, small_labels)
    if os.environ.get("SALSANITY_GOLDENS") != "write":
        with pytest.raises(AssertionError):
            check_like(drawn, name)


def outside(drawn: Figure) -> list[str]:
    """The texts that the edge of a figure cuts off."""
    FigureCanvasAgg(drawn).draw()
    edge = drawn.bbox
    texts = [t for t in drawn.findobj(Text) if t.get_text().strip() and t.get_visible()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
    return [name for name, b in boxes if b.x1 > edge.x1 + 1 or b.y1 > edge.y1 + 1 or b.x0 < -1]


@pytest.mark.parametrize("width", [None, 6.0])
def test_long_names_of_stages_stay_inside_the_figure(
    tmp_path: Path, width: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (*STAGES_17[:-1], "Conv2d_1a_3x3")
    recipe = Recipe(stages=stages, methods=FEW, images=4, gallery=1, side=16, hostile=False)
    run = read_run(write_cascade(tmp_path, recipe))
    drawn = figure(run, "cascade", width=width)
    assert outside(drawn) == []
    assert width is None or abs(drawn.get_figwidth() - width) < 0.01
    monkeypatch.setattr(grids, "_overhang", lambda columns: 0.1)
    assert outside(figure(run, "cascade", width=width)), "the twin's last stage is cut off"


def test_figures_can_be_restyled(small: Run) -> None:
    drawn = figure(small, "cascade")
    picture = next(a for ax in drawn.axes for a in ax.get_images() if a.get_gid() == "maps")
    before = pixels(drawn)
    picture.set_cmap("viridis")
    assert np.abs(pixels(drawn) - before).max() > 50


def test_all_files_are_written_with_text_as_text(tmp_path: Path) -> None:
    recipe = Recipe(stages=("fc",), methods=FEW, images=4, gallery=1, side=8, similarities=("hog",))
    folder = write_cascade(tmp_path, recipe)
    written = write_figures(folder, formats=("png", "pdf", "svg"))
    names = {path.name for path in written}
    assert {"methods-signed.png", "cascade-absolute.pdf", "curves-signed-hog.svg"} <= names
    assert sorted(p.name for p in (folder / "figures").iterdir()) == sorted(names)
    svg = (folder / "figures" / "cascade-signed.svg").read_text()
    assert ">Guided backprop</text>" in svg
    pdf = (folder / "figures" / "cascade-signed.pdf").read_bytes()
    assert b"/Type0" in pdf or b"/TrueType" in pdf
    assert b"/Type3" not in pdf
    with Image.open(folder / "figures" / "cascade-signed.png") as png:
        assert round(png.info["dpi"][0]) == 200


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_the_same_figure_gives_the_same_bytes(small: Run, tmp_path: Path, form: str) -> None:
    paths = [save(figure(small, "cascade"), tmp_path / f"{name}.{form}") for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in paths}


def test_figures_leave_the_callers_settings_alone(small: Run) -> None:
    before = dict(mpl.rcParams)
    figure(small, "curves")
    assert dict(mpl.rcParams) == before
    code = (
        "import sys, salsanity.report.figures; "
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot keeps figures in a global list'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_linked_figures_folder_is_refused(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "run"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "figures").symlink_to(outside)
    with pytest.raises(StoreError, match="leads out of it"):
        write_figures(folder)
    assert list(outside.iterdir()) == []


def test_wrong_requests_say_what_there_is(small: Run, small_labels: Run) -> None:
    with pytest.raises(
        UsageError, match=r"methods, states, curves, bars, or a check of this run \(cascade\)"
    ):
        figure(small, "pie")
    with pytest.raises(UsageError, match="a check of this run"):
        figure(small, "labels")
    with pytest.raises(UsageError, match="ask for curves"):
        figure(small, "bars")
    with pytest.raises(UsageError, match="ask for bars"):
        figure(small_labels, "curves")
    with pytest.raises(UsageError, match="a check of this run"):
        figure(small, "methods", check="labels")
    with pytest.raises(UsageError, match="larger --gallery"):
        figure(small, "cascade", image=9)
    with pytest.raises(UsageError, match="expected scores"):
        figure(small, "curves", similarity="telepathy")


def test_an_independent_run_has_its_figure(tmp_path: Path) -> None:
    recipe = Recipe(stages=("fc", "conv"), methods=FEW, images=4, gallery=1, side=8)
    run = read_run(write_cascade(tmp_path, replace(recipe, order="independent")))
    assert figure(run, "independent").axes
    assert figure(run, "cascade").axes


def test_dollar_signs_in_names_are_not_mathematics(small: Run) -> None:
    (part,) = small.parts
    stages = (*part.record.stages, {"name": "$\\frac{", "index": 4})
    pixels(figure(replace(part, record=replace(part.record, stages=stages)), "curves"))


def test_each_check_of_a_run_has_its_figures(several: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(several, tmp_path / "run"))
    names = {path.stem for path in write_figures(folder, formats=("png",))}
    assert {"methods-signed", "cascade-signed", "turned-signed", "moved-absolute"} <= names
    assert {"cascade-curves-signed-hog", "turned-bars-hog", "moved-bars-ssim"} <= names
    run = read_run(folder)
    assert np.array_equal(pixels(figure(run, "moved")), pixels(figure(run.parts[2], "states")))
    assert np.array_equal(
        pixels(figure(run, "bars", check="turned")), pixels(figure(run.parts[1], "bars"))
    )


def test_bands_below_zero_are_drawn_whole(plain: Path) -> None:
    (part,) = read_run(plain).parts
    low = part.curves.assign(S_low=part.curves["S_low"] - 0.6)
    vars(part)["curves"] = low
    bottom = min(axes.get_ylim()[0] for axes in figure(part, "curves").axes)
    shown = low[(low["view"] == "absolute") & (low["similarity"] == part.similarities[0])]
    assert bottom <= shown["S_low"].min()

"""What people have in Python: tables, figures, texts, progress and log of a run."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor, nn

import salsanity
from networks import chain
from salsanity.errors import SpecError, StoreError, TrainingError
from salsanity.narrator import Silent
from salsanity.suite import judging, opening
from salsanity.suite.opening import narrator_for
from salsanity.suite.terminal import NotebookNarrator, TerminalNarrator
from salsanity.training.settings import TrainingSettings

X = torch.randn(9, 2, 12, 12, generator=torch.Generator().manual_seed(5))
FAST: dict[str, Any] = {
    "similarities": "spearman",
    "draws": 3,
    "gallery": 1,
    "batch_size": 8,
    "memory_format": "contiguous",
}


@pytest.fixture(autouse=True, scope="module")
def no_drawing() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "draw_report", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> salsanity.Result:
    """Two checks, one of which has two lines."""
    return salsanity.run(
        ["cascade", "class"],
        chain().float(),
        X,
        methods=["gradient", "input_x_gradient"],
        out=tmp_path_factory.mktemp("python") / "run",
        **FAST,
    )


def test_one_similarity_may_be_named_without_a_list(result: salsanity.Result) -> None:
    assert set(result.scores["similarity"]) == {"spearman"}
    assert result.spec["similarities"] == ["spearman"]


def test_intervals_are_two_columns_under_one_name_in_all_checks(result: salsanity.Result) -> None:
    table = result.verdicts
    assert not [name for name in table if name.endswith("_ci")]
    for check in ("cascade", "class"):
        rows = table[(table["check"] == check) & table["view"].notna()]
        bounds = rows[["retained_low", "retained", "retained_high"]].dropna()
        assert len(bounds) > 3
        assert bounds.dtypes.eq(float).all()
        assert bounds["retained"].between(bounds["retained_low"], bounds["retained_high"]).all()
    assert {"retained_half_low", "retained_half_high"} <= set(table.columns)


def test_curves_are_a_table_with_intervals(result: salsanity.Result) -> None:
    table = result.curves("cascade")
    assert set(table["check"]) == {"cascade"}
    assert set(result.curves()["check"]) == {"cascade", "class"}
    scores = result.scores
    one = table[(table["method"] == "gradient") & (table["view"] == "signed")].iloc[-1]
    same = scores[
        (scores["check"] == "cascade")
        & (scores["method"] == "gradient")
        & (scores["view"] == "signed")
        & (scores["stage"] == one["stage"])
    ]
    assert one["value"] == pytest.approx(same["value"].mean())
    assert one["chance"] == pytest.approx(same["chance"].mean())
    assert one["value_low"] < one["value"] < one["value_high"]
    assert one["retained_low"] < one["retained"] < one["retained_high"]


def test_figures_show_themselves_in_a_notebook_and_are_saved(
    result: salsanity.Result, tmp_path: Path
) -> None:
    drawn = result.figure("curves", path=tmp_path / "new" / "curves.pdf")
    assert isinstance(drawn, Figure)
    shown: Any = drawn
    assert shown._repr_png_().startswith(b"\x89PNG")
    saved = (tmp_path / "new" / "curves.pdf").read_bytes()
    assert b"/Type3" not in saved
    assert b"/FontFile2" in saved, "fonts are embedded"


def test_a_notebook_shows_the_picture_and_the_table(result: salsanity.Result) -> None:
    shown = result._repr_html_()
    assert shown.index("data:image/png") < shown.index("Kept")


def test_texts_for_papers_and_model_cards(result: salsanity.Result) -> None:
    latex, markdown, numbers = result.to_latex(), result.to_markdown(), result.to_csv()
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 3  # the card and two checks
    assert markdown.startswith("## Sanity checks")
    assert markdown.count("| Gradient |") == 1
    table = pd.read_csv(io.StringIO(numbers))
    assert {"headline", "cell", "stage", "signal", "fact"} <= set(table["kind"])


def test_every_number_of_the_verdicts_stands_in_the_csv(result: salsanity.Result) -> None:
    table = pd.read_csv(io.StringIO(result.to_csv()))
    cells = table[table["kind"] == "cell"]
    for verdict in (v for part in result.run.parts for v in part.verdicts if v.view):
        for kept in verdict.kept:
            row = cells[
                (cells["check"] == verdict.check)
                & (cells["method"] == verdict.method)
                & (cells["view"] == verdict.view)
                & (cells["line"] == kept.line)
            ]
            found = row[["retained", "retained_low", "retained_high"]].to_numpy()
            np.testing.assert_allclose(found, [[kept.retained, *kept.retained_ci]], equal_nan=True)


def test_a_later_run_s_pictures_are_not_shown_as_an_earlier_one_s(tmp_path: Path) -> None:
    """The explainer is another one by then, under the same name."""
    places = [torch.zeros(1, 2, 12, 12), torch.zeros(1, 2, 12, 12)]
    places[0][..., 2, 2], places[1][..., 9, 9] = 1, 1

    def asked(weight: Tensor) -> salsanity.Result:
        def mine(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
            model(x)
            return weight * x

        return salsanity.run("class", chain().float(), X, methods=[mine], out=tmp_path, **FAST)

    first = asked(places[0])
    before = first.run.parts[0].gallery[0].map(first.spec["methods"][0], "trained").copy()
    second = asked(places[1])
    with pytest.raises(StoreError, match="those of a later run"):
        first.figure("states")
    after = second.run.parts[0].gallery[0].map(second.spec["methods"][0], "trained")
    assert not np.array_equal(before, after)


def test_pictures_that_a_later_run_left_alone_are_still_shown(tmp_path: Path) -> None:
    first = salsanity.run("class", chain().float(), X, methods=["gradient"], out=tmp_path, **FAST)
    salsanity.run(
        "class", chain().float(), X, methods=["gradient", "smoothgrad"], out=tmp_path, **FAST
    )
    assert first.figure("states").axes
    assert first.run.parts[0].gallery[0].has("gradient", "trained")
    assert not first.run.parts[0].gallery[0].has("smoothgrad", "trained")


# Progress and log.


def test_a_run_tells_what_it_does_to_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="salsanity"):
        salsanity.run("class", chain().float(), X, methods=["gradient"], out=tmp_path, **FAST)
    said = [r.getMessage() for r in caplog.records if r.name == "salsanity"]
    assert any("passes" in text for text in said)


def test_what_nobody_may_miss_is_a_warning_in_the_log_too(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.warns(UserWarning, match="odd"):
        Silent().warn("odd")
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_nothing_is_logged_to_the_screen_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    TerminalNarrator(Console(file=io.StringIO())).warn("odd")
    assert capfd.readouterr() == ("", "")


def test_a_notebook_has_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    narrator = NotebookNarrator(Console(file=io.StringIO()), out)
    narrator.begin("Explaining", 40)
    for k in range(40):
        narrator.note(f"unit {k}")
        narrator.advance(1)
    narrator.end()
    drawn = out.getvalue()
    assert drawn.rstrip("\n").count("\n") == 0, "one line that is drawn again"
    assert re.search(r"Explaining: 100%\|", drawn)


def test_a_notebook_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert isinstance(narrator_for(True), NotebookNarrator)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: False)
    assert isinstance(narrator_for(True), TerminalNarrator)
    assert isinstance(narrator_for(False), Silent)


# A training of the user's own.


def build() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 3))


def bars(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (count,), generator=generator)
    x = torch.rand(count, 1, 6, 6, generator=generator)
    for i, row in enumerate(y.tolist()):
        x[i, 0, 2 * row : 2 * row + 2] += 0.8
    return x, y


def taught(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        adam.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        adam.step()


def barely(model: nn.Module, images: Tensor, labels: Tensor) -> nn.Module:
    return model


def labels_test(out: Path, training: Any) -> salsanity.Result:
    return salsanity.data_randomization_test(
        build,
        bars(60, 0),
        bars(60, 1),
        training=training,
        methods=["gradient"],
        similarities="spearman",
        out=out,
        gallery=0,
        max_images=12,
        batch_size=12,
    )


def test_training_may_be_a_function(tmp_path: Path) -> None:
    found = labels_test(tmp_path / "run", taught)
    networks = found.spec["networks"]
    assert len(networks) == 4
    assert all(network["train_accuracy"] > 0.95 for network in networks)
    stamps = [p.stat().st_mtime_ns for p in sorted((tmp_path / "run" / "networks").iterdir())]
    labels_test(tmp_path / "run", taught)
    again = [p.stat().st_mtime_ns for p in sorted((tmp_path / "run" / "networks").iterdir())]
    assert again == stamps, "what was trained is read again"


def test_a_training_that_does_not_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected a train accuracy above"):
        labels_test(tmp_path, barely)
    with pytest.raises(SpecError, match="expected training="):
        labels_test(tmp_path / "other", "fast")


def test_settings_of_our_training_are_taken_as_before() -> None:
    settings = TrainingSettings(epochs=3)
    assert opening.teaching_of(settings) is settings

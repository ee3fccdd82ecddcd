"""Presets, files of options and the command line: what is laid over what, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from salsanity.checks.cascade import Cascade
from salsanity.checks.class_ import ClassChange
from salsanity.checks.labels import LabelTest
from salsanity.checks.named import BUILT_IN, DEFAULT
from salsanity.cli import check, labels, train
from salsanity.cli.app import run
from salsanity.cli.opening import Trained
from salsanity.cli.parameters import Command, Given, flag
from salsanity.cli.wishes import QUICK, Wanted, Wishes, wanted
from salsanity.errors import SpecError, UsageError
from salsanity.options import described
from salsanity.training.settings import TrainingSettings
from salsanity.units.spec import RunSpec

OLD_CHECK = """model images data data-dir weights class-names size resize mean std channels max-pixels max-bytes
method similarity order stages blocks init batchnorm target keep layer draws max-images samples
steps seed d-full d-half quick until-decided preset device batch-size precision memory-format replay
unit-timeout gallery executor json junit out config"""
OLD_LABELS = """model data data-dir true permuted networks train-images epochs learning-rate threshold method
similarity max-images samples steps seed preset device batch-size memory-format unit-timeout gallery
executor json junit out"""
OLD_TRAIN = """model data out data-dir epochs learning-rate train-images permute-labels preset seed device"""


def said(command: Command = check.COMMAND, **values: Any) -> Given:
    """What a command line that names a network and says `values` gives."""
    return Given({"model": "file.py:f", **values}, command.groups())


def asked(**values: Any) -> Wanted:
    given = said(**values)
    return wanted(given, preset=check._choices(given))


def file_of(folder: Path, text: str) -> Path:
    path = folder / "options.toml"
    path.write_text(text)
    return path


def shown(command: str, capfd: pytest.CaptureFixture[str]) -> str:
    """The help of a command, without its line breaks."""
    assert run([command, "--help"]) == 0
    return re.sub(r"\n {3,}", " ", capfd.readouterr().out)


@pytest.mark.parametrize(
    ("command", "old"), [("check", OLD_CHECK), ("labels", OLD_LABELS), ("train", OLD_TRAIN)]
)
def test_every_option_of_the_first_version_is_shown(
    command: str, old: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = shown(command, capfd)
    assert {name for name in old.split() if not re.search(rf"^  --{name}\b", text, re.M)} == set()


def test_help_has_every_option_of_runs_and_checks_with_its_facts(
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = shown("check", capfd)
    kinds = [kind for name, kind in BUILT_IN.items() if name not in ("labels", "shortcut")]
    for kind in (RunSpec, Wishes, *kinds):
        for known in described(kind):
            assert (flag(known) in text) == known.facts.on_command_line
    assert "[top_down, independent, bottom_up; default: top_down]" in text
    assert "[from 1 to 10000; default: 8]" in text
    assert "--threshold" not in text


def test_labels_shows_no_option_that_it_does_not_have(
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = shown("labels", capfd)
    for absent in ("--draws", "--until-decided", "--target", "--init ", "--class-choice"):
        assert absent not in text


def test_shortcut_shows_its_own_options_and_those_of_every_run_that_it_has(
    capfd: pytest.CaptureFixture[str],
) -> None:
    text = shown("shortcut", capfd)
    for name in ("--mark", "--d-shortcut", "--networks", "--train-images", "--epochs", "--seed"):
        assert f"{name} " in text
    for absent in ("--draws", "--until-decided", "--target", "--threshold", "--true", "--preset"):
        assert absent not in text


def test_without_a_word_the_cascade_is_run_as_its_fields_say() -> None:
    found = asked()
    assert found.checks == (Cascade(),)
    assert found.spec == RunSpec()
    assert next(iter(BUILT_IN)) == DEFAULT


def test_options_go_to_what_they_belong_to() -> None:
    found = asked(
        check=["cascade,class"],
        draws=3,
        order="bottom_up",
        class_choice="least",
        blocks=["fc,conv"],
        keep=["a", "b"],
    )
    assert found.checks == (
        Cascade(order="bottom_up", blocks=("fc", "conv"), keep=("a", "b")),
        ClassChange(class_choice="least"),
    )
    assert found.spec == RunSpec(draws=3)


@pytest.mark.parametrize(
    ("given", "expected"), [(["auto"], "auto"), (["layer"], "layer"), (["fc"], ("fc",))]
)
def test_a_word_for_blocks_is_no_list_of_names(given: list[str], expected: object) -> None:
    (cascade,) = asked(blocks=given).checks
    assert cascade.blocks == expected


@pytest.mark.parametrize(("given", "expected"), [("auto", None), ("12", 12)])
def test_a_batch_size_is_a_word_or_a_number(given: str, expected: int | None) -> None:
    assert asked(batch_size=given).spec.batch_size == expected


def test_methods_and_similarities_are_split_at_commas() -> None:
    wishes = asked(method=["gradient,smoothgrad(samples=2, sd=.1)", "gradcam"]).wishes
    assert wishes.method == ("gradient", "smoothgrad(samples=2, sd=.1)", "gradcam")


def test_quick_is_eight_images_and_five_draws() -> None:
    spec = asked(quick=True).spec
    assert (spec.max_images, spec.draws, spec.samples, spec.steps) == (8, 5, 5, 5)
    assert asked(quick=True, draws=7).spec.draws == 7


def test_a_preset_gives_way_and_leaves_out_what_no_check_has() -> None:
    found = asked(quick=True, preset="paper", check=["shift"])
    assert found.spec == RunSpec(max_images=8, samples=5, steps=5, endpoints=True, target="own")
    assert "draws" in QUICK


@pytest.mark.parametrize(
    ("model", "init", "sd"),
    [("reference:cnn", "fresh", 0.01), ("torchvision:inception_v3", "he", 0.01)],
)
def test_the_paper_s_preset_draws_as_its_code_did(model: str, init: str, sd: float) -> None:
    found = asked(model=model, preset="paper")
    (cascade,) = found.checks
    assert (cascade.init, cascade.init_sd, cascade.stages) == (init, sd, "all")
    spec = found.spec
    assert (spec.target, spec.samples, spec.steps, spec.max_images) == ("own", 50, 50, 200)


def test_the_file_is_laid_over_the_preset_and_the_command_line_over_the_file(
    tmp_path: Path,
) -> None:
    path = file_of(
        tmp_path,
        'check = "cascade,class"\nmethod = ["gradient"]\nsimilarity = "ssim,hog"\nout = "runs/a"\nexecutor = "serial"\n'
        'junit = "j.xml"\ndraws = 3\nmax_images = 5\norder = "bottom_up"\nblocks = ["auto"]\nuntil_decided = true\n'
        'batch_size = "auto"\nd_class = 0.5\ninit_sd = 0.5\n',
    )
    found = asked(config=path, quick=True, draws=4, until_decided=False, out=Path("b"))
    assert found.checks == (Cascade(order="bottom_up", init_sd=0.5), ClassChange(d_class=0.5))
    assert found.spec == RunSpec(draws=4, max_images=5, samples=5, steps=5)
    assert found.wishes == Wishes(
        ("gradient",), ("ssim", "hog"), "serial", Path("b"), Path("j.xml")
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("method = 3", "method as texts"),
        ("similarity = [1]", "similarity as texts"),
        ("out = []", "out as the path"),
        ("junit = 1", "junit as the path"),
        ("executor = 1", "executor as text"),
        ("check = 1", "check as texts"),
        ("draws = true", "draws as a whole number from 1 to 10000"),
        ("draws = '3'", "draws as a whole number"),
        ("order = 'sideways'", "order to be one of top_down, independent, bottom_up"),
        ("endpoints = 1", "endpoints as true or false"),
        ("keep = [1]", "keep as texts"),
        ("d_full = 1", "d_full as a number between 0 and 1"),
        ("[draws]\nx = 1", "draws as a whole number"),
        ("nonsense = 1", "unknown option 'nonsense'"),
        ("d_class = 0.5", "'d_class' is an option of the check class"),
        ("x = " + "[" * 5000, "TOML"),
        ("model = 'x'", "--model on the command line"),
        ("class_names = 'x'", "--class-names on the command line"),
        ("size = 3", "--size on the command line"),
        ("quick = true", "--quick on the command line"),
        ("config = 'x'", "--config on the command line"),
    ],
)
def test_a_file_is_refused_with_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=re.escape(words)):
        asked(config=file_of(tmp_path, text))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"threshold": 0.3}, "'threshold' is an option of the check labels, which is not asked for (asked: cascade)"),
        ({"check": ["class"], "order": "bottom_up"}, "'order' is an option of the check cascade"),
        ({"check": ["shift"], "draws": 5}, "'draws' is no option of the check shift"),
        ({"check": ["class", "class"]}, "twice"),
    ],
)  # fmt: skip
def test_an_option_that_no_check_has_is_refused(values: Mapping[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        asked(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"init": "he"}, "'init' is an option of the check cascade, which is not asked for (asked: labels)"),
        ({"draws": 8}, "'draws' is no option of the check labels"),
        ({"until_decided": False}, "'until_decided' is no option"),
        ({"target": "trained"}, "'target' is no option"),
    ],
)  # fmt: skip
def test_labels_refuses_options_of_others(values: Mapping[str, Any], words: str) -> None:
    given = said(labels.COMMAND, data="digits", **values)
    with pytest.raises(SpecError, match=re.escape(words)):
        wanted(given, checks=("labels",))


def test_labels_takes_its_own() -> None:
    given = said(
        labels.COMMAND, data="digits", threshold=0.3, networks=1, samples=2, target="label"
    )
    found = wanted(given, checks=("labels",))
    (test,) = found.checks
    assert isinstance(test, LabelTest)
    assert (test.networks, test.threshold) == (1, 0.3)
    assert (found.spec.samples, found.spec.target) == (2, "label")


def test_the_command_line_refuses_what_it_reads_for_another_check(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["labels", "--model", "reference:cnn", "--data", "digits", "--init", "he"]) == 2
    assert "'init' is an option of the check cascade" in capfd.readouterr().err
    given = ["--model", "reference:cnn", "--data", "digits", "--check", "class"]
    assert run(["check", *given, "--order", "bottom_up"]) == 2
    assert "'order' is an option of the check cascade" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_checks_with_options_of_one_name_would_be_seen() -> None:
    """One flag serves both then; the kinds must agree."""
    kinds: dict[str, object] = {}
    for kind in (RunSpec, Wishes, *BUILT_IN.values()):
        for known in described(kind):
            assert kinds.setdefault(known.name, known.kinds) == known.kinds, known.name


def test_training_settings_are_those_of_the_preset_but_for_what_was_said() -> None:
    lessons = said(train.COMMAND, data="d", out=Path("o"), epochs=3).of(train.Lessons)
    assert train.settings_of(None, lessons).epochs == 3
    assert train.settings_of(None, lessons).learning_rate == pytest.approx(3e-4)
    assert train.settings_of("paper", lessons).learning_rate == pytest.approx(1e-4)


def test_the_preset_means_the_papers_training_of_its_own_networks() -> None:
    def found(model: str, **changes: Any) -> TrainingSettings:
        lessons = said(train.COMMAND, data="d", out=Path("o"), **changes).of(train.Lessons)
        return train.settings_of("paper", lessons, model=model)

    cnn, mlp = found("reference:cnn"), found("reference:mlp")
    for settings in (cnn, mlp):
        assert (settings.batch_size, settings.least_steps, settings.epochs) == (50, 20_000, 100)
        assert settings.stop_at == settings.wanted == pytest.approx(0.95)
    assert (cnn.l2, cnn.l2_spares, mlp.l2) == (pytest.approx(1e-3), ("fc2",), 0)
    assert found("reference:mlp", l2=1e-3).l2 == pytest.approx(1e-3)
    assert found("file.py:f").l2_spares == ()


def test_values_of_a_command_line_are_dataclasses_again() -> None:
    given = said(weights=Path("w.pt"))
    assert given.of(Trained) == Trained("file.py:f", Path("w.pt"))
    assert {f.name for f in fields(Trained)} == {
        "model",
        "weights",
        "weights_key",
        "class_names",
    }


def test_the_list_of_commands_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom salsanity.cli.app import run\nassert run(['--help']) == 0 and run(['--version']) == 0\n"
        "assert not {'torch', 'numpy', 'scipy', 'pandas', 'matplotlib'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("salsanity 0.1.0\n")


def test_the_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "salsanity", "--version"]
    assert (
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
        == "salsanity 0.1.0\n"
    )

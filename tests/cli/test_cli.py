"""The command line: exit codes, one sentence per error, nothing but verdicts on stdout with --json."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import save_file

from salsanity.cli.app import run
from salsanity.cli.values import numbers, split_outside_brackets
from salsanity.errors import UsageError
from salsanity.models.reference import cnn
from salsanity.suite import judging

SMALL = ["--draws", "2", "--max-images", "8", "--samples", "2", "--steps", "2", "--gallery", "1"]


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "cnn.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(cnn(size=32).state_dict(), path)
    return path


def check(*arguments: object) -> int:
    return run(["check", *map(str, arguments)])


def test_a_check_on_digits_prints_verdicts_alone_on_stdout(
    weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = check("--model", "reference:cnn", "--weights", weights, "--data", "digits", "--method", "gradient,gradcam",
                 *SMALL, "--json", "--out", tmp_path / "run")  # fmt: skip
    out, err = capfd.readouterr()
    verdicts = json.loads(out)
    assert {v["method"] for v in verdicts} >= {"gradient", "gradcam", "edge", "noise"}
    assert "passes" in err
    assert "Traceback" not in err
    assert code in (0, 1, 3, 4)


def test_verdicts_are_written_as_junit_xml(weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "reports" / "junit.xml"
    code = check("--model", "reference:cnn", "--weights", weights, "--data", "digits", "--method", "gradient",
                 *SMALL, "--executor", "serial", "--junit", file, "--out", tmp_path / "run")  # fmt: skip
    (suite,) = ElementTree.parse(file).getroot()
    assert [c.attrib["name"] for c in suite.iter("testcase")] == ["controls and gates", "gradient"]
    kinds = {c.tag for case in suite.iter("testcase") for c in case}
    assert ("error" in kinds) == (code == 4)
    assert ("failure" in kinds) == (code == 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "reference:cnn", "--data", "digits"], "trained weights"),
        (["--model", "nonsense", "--data", "digits"], "nonsense"),
        (["--model", "torch.nn:NoSuchThing", "--data", "digits"], "NoSuchThing"),
        (["--model", "no/such/file.py:f", "--data", "digits"], "no/such/file.py"),
        (["--model", "reference:cnn", "--weights", "{missing}", "--data", "digits"], "missing"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "nothing"], "nothing"),
        (["--model", "reference:cnn", "--weights", "{weights}"], "--images"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--images", "{empty}"], "image"),
        (["--model", "reference:mlp", "--weights", "{weights}", "--data", "digits"], "fit"),
        (["--model", "reference:cnn", "--weights", "{broken}", "--data", "digits"], "broken"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--method", "gradeint"], "gradeint"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--similarity", "x"], "'x'"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--draws", "0"], "draws"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--draws", "x"], "draws"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--mean", "a,b"], "--mean"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--preset", "p"], "preset"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--check", "x"], "'x'"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--check", "labels"], "of its own"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--config", "{broken}"], "broken"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--junit", "{empty}"], "--junit"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--junit", "{broken}/x"], "--junit"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--executor", "raay"], "'raay'"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--init", "modul"], "'modul'"),
        (["--model", "reference:cnn", "--weights", "{weights}", "--data", "digits", "--init", "none.py:f"], "none.py"),
        (["--no-such-option"], "no-such-option"),
        ([], "--model"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: str, weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.safetensors").write_bytes(b"\xff not weights")
    places = {
        "missing": "missing.safetensors",
        "weights": weights,
        "empty": tmp_path / "empty",
        "broken": tmp_path / "broken.safetensors",
    }
    assert check(*(a.format(**places) for a in arguments)) == 2
    out, err = capfd.readouterr()
    assert words in err.replace("\n", " ")
    assert "Traceback" not in err
    assert not out
    assert not list(tmp_path.glob("salsanity-runs/*/scores/*"))


def test_labels_want_other_images_to_test_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["labels", "--model", "reference:cnn", "--data", str(tmp_path)]) == 2
    assert "folders train and test" in " ".join(capfd.readouterr().err.split())


def test_labels_take_networks_that_were_trained_elsewhere_and_a_file_of_options(
    weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = tmp_path / "options.toml"
    options.write_text(
        f"method = 'gradient'\nmax_images = 4\ngallery = 0\nthreshold = 0.4\njunit = '{tmp_path / 'junit.xml'}'\n"
    )
    out = tmp_path / "run"
    code = run(["labels", "--model", "reference:cnn", "--data", "digits", "--true", f"{weights},{weights}",
                "--permuted", str(weights), "--config", str(options), "--json", "--out", str(out)])  # fmt: skip
    assert {v["check"] for v in json.loads(capfd.readouterr().out)} == {"labels"}
    assert code == 4  # untrained networks know no labels
    (record,) = json.loads((out / "spec.json").read_text())["checks"]
    assert record["lines"][0]["threshold"] == 0.4
    assert record["draws"] == 2
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"


def test_weights_with_code_in_them_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return Path.touch, (tmp_path / "exploded",)

    path = tmp_path / "bomb.pt"
    path.write_bytes(pickle.dumps(Bomb()))
    assert check("--model", "reference:cnn", "--weights", path, "--data", "digits") == 2
    assert not (tmp_path / "exploded").exists()
    assert "Traceback" not in capfd.readouterr().err


def test_training_writes_weights_that_check_takes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.safetensors"
    code = run(
        [
            "train",
            "--model",
            "reference:cnn",
            "--data",
            "digits",
            "--train-images",
            "60",
            "--epochs",
            "40",
            "--out",
            str(out),
        ]
    )
    assert code == 0, capfd.readouterr().err
    assert "train accuracy" in capfd.readouterr().out
    assert not list(tmp_path.glob(".w*"))
    asked = [
        "--model",
        "reference:cnn",
        "--weights",
        out,
        "--data",
        "digits",
        "--method",
        "gradient",
    ]
    assert check(*asked, *SMALL, "--out", tmp_path / "run") in (0, 1, 3, 4)


def test_lists_split_at_commas_outside_brackets() -> None:
    assert split_outside_brackets("a, b(x=(1, 2), y='p,q'),c") == ["a", "b(x=(1, 2), y='p,q')", "c"]


def test_numbers_are_read_or_refused() -> None:
    assert numbers("--mean", ".485,.456,.406") == (0.485, 0.456, 0.406)
    with pytest.raises(UsageError, match="--mean"):
        numbers("--mean", "1,two")


@pytest.mark.parametrize("command", ["checks", "methods", "similarities", "models", "data"])
def test_listings(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([command]) == 0
    assert len(capfd.readouterr().out.splitlines()) >= 5


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, salsanity; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; print(salsanity.__all__)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom salsanity.cli.app import run\nrun(['--help'])\nassert 'torch' not in sys.modules\n"
        "assert 'pandas' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


FOLDERS = [
    Path(__file__).parent.parent / "assets" / name for name in ("check-format-1", "labels-format-1")
]


def test_a_card_of_several_folders_is_written_in_every_form(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"card.{form}" for form in ("html", "csv", "tex")]
    outs = [word for file in files for word in ("--out", str(file))]
    assert run(["card", *map(str, FOLDERS), *outs]) == 0
    assert capfd.readouterr().out.split() == [str(file) for file in files]
    head = files[1].read_text().splitlines()[0]
    assert "cascade outcome" in head
    assert "labels outcome" in head


@pytest.mark.parametrize(("out", "words"), [("card.doc", "ends with"), ("", "spec.json")])
def test_a_card_of_nothing_or_in_no_form_is_refused(
    out: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good, bad = str(tmp_path / "card.md"), str(tmp_path / out)
    given = [str(FOLDERS[0]), "--out", good, "--out", bad] if out else [str(tmp_path)]
    assert run(["card", *given]) == 2
    assert list(tmp_path.iterdir()) == []  # nothing is written before everything can be
    assert words in " ".join(capfd.readouterr().err.split())


def test_formats_of_a_report_may_be_joined_by_commas(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(FOLDERS[0], folder)
    assert run(["report", str(folder), "--format", "md,tex", "--format", "csv"]) == 0
    written = [Path(line).suffix for line in capfd.readouterr().out.split()]
    assert written == [".md", ".tex", ".csv"]
    assert run(["report", str(folder), "--format", "md,doc"]) == 2
    assert "'doc'" in capfd.readouterr().err

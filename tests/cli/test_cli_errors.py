"""What nobody expects still ends in one sentence, with a log where the run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from salsanity.cli.app import run
from salsanity.suite import judging, running
from salsanity.suite.terminal import shown

SUBJECT = Path(__file__).resolve().parent.parent / "stress" / "subject.py"


def check(out: Path, *arguments: str) -> int:
    data = [
        "--data",
        f"{SUBJECT}:plain_images",
        "--max-images",
        "2",
        "--draws",
        "1",
        "--gallery",
        "0",
    ]
    return run(
        [
            "check",
            "--model",
            f"{SUBJECT}:honest",
            *data,
            "--method",
            "gradient",
            "--out",
            str(out),
            *arguments,
        ]
    )


def test_an_unexpected_error_has_its_traceback_in_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("odd")

    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setattr(running, "conclude", fails)
    assert check(tmp_path / "run") == 4
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert str(tmp_path / "run" / "errors.log") in err
    assert "KeyError: 'odd'" in (tmp_path / "run" / "errors.log").read_text()


def test_code_that_exits_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    file = tmp_path / "exits.py"
    file.write_text("import sys\nsys.exit(0)\n")
    assert run(["check", "--model", f"{file}:f", "--data", "digits"]) == 4
    assert "sys.exit" in capfd.readouterr().err


@pytest.mark.parametrize("model", ["x" * 5000 + ".py:f", "a\0b.py:f"])
def test_names_that_no_file_can_have(model: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--model", model, "--data", "digits"]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_names_cannot_drive_the_terminal() -> None:
    assert shown("a\x1b[31mb\udcffc\nd") == "a\\x1b[31mb\\udcffc\nd"

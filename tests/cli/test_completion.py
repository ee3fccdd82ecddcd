"""A shell asks for completions as typer's own scripts do, and gets commands and the options of the command that stands there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from salsanity.cli import app


def completed(line: str, *, shell: str = "bash") -> str:
    words = line.split(" ")
    environment = {
        **os.environ,
        "_SALSANITY_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line if shell != "bash" else "",
    }
    done = subprocess.run(
        [sys.executable, "-m", "salsanity"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_are_completed() -> None:
    assert completed("salsanity ca").split() == ["card"]


def test_options_of_the_command_are_completed() -> None:
    assert completed("salsanity check --dr", shell="zsh").count("--draws") == 1


def test_the_script_for_a_shell_is_shown_and_help_says_how(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.run(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out
    monkeypatch.setattr("shellingham.detect_shell", lambda *given: ("bash", "/bin/bash"))
    assert app.run(["--show-completion"]) == 0
    assert "_SALSANITY_COMPLETE=complete_bash" in capsys.readouterr().out


def test_twin_words_of_the_line_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "salsanity check --dr")
    assert app._command_in(app._words()) == "check"
    monkeypatch.delenv("COMP_WORDS")
    assert app._command_in(app._words()) == ""  # then no command has options, and none is found

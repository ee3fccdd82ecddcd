"""The command line: `main` turns errors into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from salsanity.cli import check, demo, labels, listing, report, train
from salsanity.errors import SalsanityError, StoreError, TrainingError, UsageError

_WRONG_USE: Any = typer.BadParameter.__mro__[2]
"""The parser's own base error; typer brings its copy of click along and exports only this subclass of it."""

app = typer.Typer(
    name="salsanity",
    help="Which saliency maps of a PyTorch image classifier depend on what the network learned?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("labels")(labels.labels)
app.command("train")(train.train)
app.command("report")(report.report)
for _name, _command in listing.COMMANDS.items():
    app.command(_name)(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        code = app(args=list(arguments), standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return 130
    except _WRONG_USE as error:
        error.show()
        return 2
    except UsageError as error:
        return _say(str(error), 2)
    except (StoreError, TrainingError, SalsanityError) as error:
        return _say(str(error), 4)
    except KeyboardInterrupt:
        return _say("Interrupted. What is finished is kept; the same command continues.", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 4
    except Exception as error:  # noqa: BLE001 - the last line of defence: one sentence, and a log
        log = _log()
        return _say(f"Unexpected {type(error).__name__}: {error}. The traceback is in {log}", 4)
    return int(code or 0)


def _say(text: str, code: int) -> int:
    from salsanity.suite.terminal import terminal

    prefix = "" if code == 130 else "Error: "
    terminal().print(prefix + " ".join(text.split(" ")), markup=False)
    return code


def _log() -> Path:
    """Write the traceback into the run folder that was being worked in, or else a private temporary file."""
    handle, name = tempfile.mkstemp(prefix="salsanity-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(traceback.format_exc())
    return Path(name)

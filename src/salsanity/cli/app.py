"""The command line: `main` turns errors into one sentence and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from salsanity import __version__
from salsanity.cli import check, demo, labels, listing, report, shortcut, train
from salsanity.cli.parameters import Command, Sectioned
from salsanity.errors import SalsanityError, StoreError, TrainingError, UsageError

_WRONG_USE: Any = typer.BadParameter.__mro__[2]
"""The parser's own base error; typer brings its copy of click along and exports only this subclass of it."""

_INTERRUPTED = 130
_CONTINUES = "Interrupted. What is finished is kept; the same command continues."

NAME: Final = "salsanity"

COMPLETES: Final = "_SALSANITY_COMPLETE"
"""The variable by which a shell asks for completions, as the parser names it."""

COMMANDS: Final[Mapping[str, Command | Callable[..., int]]] = {
    "demo": demo.demo,
    "check": check.COMMAND,
    "labels": labels.COMMAND,
    "shortcut": shortcut.COMMAND,
    "train": train.COMMAND,
    "report": report.report,
    "card": report.card,
    "merge": report.merge,
    **listing.COMMANDS,
}


def app_for(asked: str) -> typer.Typer:
    """Return the command line. Only the command that is asked for has its options, since they are read where torch is needed."""
    app = typer.Typer(
        name=NAME,
        help="Which saliency maps of a PyTorch image classifier depend on what the network learned?",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_start)
    for name, command in COMMANDS.items():
        if isinstance(command, Command):
            made = command.function() if name == asked else command.listed()
            app.command(name, cls=Sectioned)(made)
        else:
            app.command(name)(command)
    return app


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


def _start(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """Say nothing: every command speaks for itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        words = _words() if COMPLETES in os.environ else arguments
        app = app_for(_command_in(words))
        code = app(args=list(arguments), prog_name=NAME, standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except _WRONG_USE as error:
        error.show()
        return 2
    except UsageError as error:
        return _say(str(error), 2)
    except (StoreError, TrainingError, SalsanityError) as error:
        return _say(str(error), 4)
    except (KeyboardInterrupt, typer.Abort):
        return _say(_CONTINUES, _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 4
    except OSError as error:
        return _say_of_file(error)
    except SystemExit as stop:
        if not _command_in(arguments):  # the parser leaves so, once a shell has its completion
            return int(stop.code or 0)
        # a verdict is never made of user code that says "all is well"
        return _say(f"code of yours ended the run by sys.exit({stop.code!r}); take that out", 4)
    except BaseException as error:  # noqa: BLE001 - the last line of defence: one sentence, and a log
        return _say(_unexpected(error), 4)
    if code == _INTERRUPTED:  # the parser makes this code of a KeyboardInterrupt in a command
        return _say(_CONTINUES, _INTERRUPTED)
    return int(code or 0)


def _command_in(words: Sequence[str]) -> str:
    return next((word for word in words if not word.startswith("-")), "")


def _words() -> list[str]:
    """Return what stands on a shell's line after the program, while it completes."""
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return line.split()[1:]


def _say(text: str, code: int) -> int:
    from salsanity.suite.terminal import shown, terminal

    prefix = "" if code == _INTERRUPTED else "Error: "
    terminal().print(prefix + shown(" ".join(text.split(" "))), markup=False)
    return code


_OF_A_NAME = (
    *(errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)


def _say_of_file(error: OSError) -> int:
    """Say which file that the user named cannot be used."""
    if error.errno in _OF_A_NAME and error.filename is not None:
        return _say(
            f"expected a file or folder that can be used, got {str(error.filename)[:200]!r}: {error.strerror}",
            2,
        )
    return _say(_unexpected(error), 4)


def _unexpected(error: BaseException) -> str:
    """Say in one sentence what nobody expected, and where its traceback is."""
    from salsanity.passes.foreign import out_of_memory

    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("The traceback")]
    where = notes[0] if notes else f"The traceback is in {_log()}"
    if out_of_memory(error):
        advice = "what is finished is kept; give a smaller --batch-size, or find what keeps memory"
        return f"memory ran out: {advice}. {where}"
    return f"Unexpected {type(error).__name__}: {error}. {where}"


def _log() -> Path:
    """Write the traceback into a private temporary file: no run folder was open yet."""
    handle, name = tempfile.mkstemp(prefix="salsanity-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(traceback.format_exc())
    return Path(name)

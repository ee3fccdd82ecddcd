"""One attempt of the command line in this process: what it answered, and whether that is a proper answer."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SUBJECT = HERE / "subject.py"
TINY = [
    *("--draws", "1", "--samples", "1", "--steps", "1", "--max-images", "4", "--gallery", "1"),
    *("--batch-size", "4", "--similarity", "spearman", "--device", "cpu"),
]
LONGEST = 60.0
"""Seconds after which an attempt counts as hanging."""


@dataclass(frozen=True)
class Case:
    """A bad input: options of `check`, and whether it must be refused (2), must finish, or may do either."""

    name: str
    options: Sequence[str]
    must: str = "refuse"
    says: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    tiny: Sequence[str] = tuple(TINY)
    method: Sequence[str] = ("--method", "gradient")


@dataclass(frozen=True)
class Answer:
    """Exit code, what was printed, and the run folder."""

    code: int
    out: str
    err: str
    folder: Path
    seconds: float

    def verdicts(self) -> list[dict[str, Any]]:
        """Return verdicts.json, empty where there is none."""
        path = self.folder / "verdicts.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else []

    def text(self) -> str:
        """Return everything that a user is told, on the terminal and in the folder."""
        told = [self.out, self.err]
        for name in ("gates.json", "verdicts.json", "spec.json"):
            path = self.folder / name
            told += [path.read_text("utf-8")] if path.exists() else []
        return " ".join(" ".join(told).split())


class Hanging(BaseException):
    """An attempt took too long."""


def attempt(case: Case, folder: Path) -> Answer:
    """Give the command line a case, in this process, without figures."""
    arguments = ["check", *case.tiny, *case.method, "--out", str(folder), *case.options]
    return command(arguments, folder, case.environment)


def command(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Answer:
    """Run the command line in this process."""
    from salsanity.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    began = time.perf_counter()
    with environ(environment), redirect_stdout(out), redirect_stderr(err), no_figures(), alarm():
        try:
            code = run(list(arguments))
        except Hanging:
            code = -1
        except BaseException as error:
            code = -2
            err.write(f"escaped: {type(error).__name__}: {error}")
    return Answer(code, out.getvalue(), err.getvalue(), folder, time.perf_counter() - began)


@contextmanager
def environ(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update({"COLUMNS": "400", **values})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def no_figures() -> Iterator[None]:
    """Figures take seconds and are tried elsewhere."""
    from salsanity.suite import judging

    kept = judging.draw_report
    judging.draw_report = lambda *_: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        judging.draw_report = kept


@contextmanager
def alarm() -> Iterator[None]:
    """Raise `Hanging` in the main thread after `LONGEST` seconds (SIGALRM is the product's own)."""

    def stop(*_: object) -> None:
        raise Hanging

    main = threading.main_thread().ident or 0
    watch = threading.Timer(LONGEST, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    previous = signal.signal(signal.SIGUSR1, stop)
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
        signal.signal(signal.SIGUSR1, previous)


def fault(case: Case, answer: Answer) -> str | None:
    """Say what is wrong with the answer to a bad input; None where it is a proper one."""
    sentence = answer.err.strip()
    checks = {
        f"hangs ({answer.seconds:.0f} s)": answer.code == -1,
        f"an exception escaped: {sentence[-200:]}": answer.code == -2,
        f"a traceback: {sentence[-300:]}": "Traceback (most" in answer.err + answer.out,
        f"nobody expected it: {sentence[-300:]}": "Unexpected" in answer.err,
        f"exit code {answer.code}": answer.code not in (0, 1, 2, 3, 4),
        f"expected a refusal, got exit code {answer.code}": case.must == "refuse"
        and answer.code != 2,
        f"expected a finished run, got {answer.code}: {sentence[-300:]}": case.must == "finish"
        and not answer.verdicts(),
        f"no sentence on the terminal: {sentence[-300:]}": answer.code == 2
        and not ("Error" in sentence and len(sentence.splitlines()) <= 40),
        f"a half-written folder: {leftovers(answer.folder)}": bool(leftovers(answer.folder)),
        "a verdict made of nothing": any(is_made_of_nothing(v) for v in answer.verdicts()),
        "control characters on the terminal": "\x1b" in answer.err + answer.out,
        f"expected it to say {case.says!r}: {sentence[-300:]}": case.says not in answer.text(),
    }
    return next((words for words, is_wrong in checks.items() if is_wrong), None)


def leftovers(folder: Path) -> list[str]:
    """List what an unfinished run must not leave: anything without verdicts, and temporary files."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    parts = [name for name in names if ".part" in name]
    if (folder / "verdicts.json").exists():
        return parts
    kept = {".lock", "errors.log"}
    return parts + [name for name in names if name not in kept]


def is_made_of_nothing(verdict: Mapping[str, Any]) -> bool:
    """Whether a verdict passes or fails a method without a score behind it."""
    if verdict["outcome"] not in ("PASS", "FAIL"):
        return False
    kept = [verdict.get(name) for name in ("retained_full", "retained_half", "retained")]
    finite = [v for v in kept if isinstance(v, float | int) and math.isfinite(v)]
    return not finite or verdict["n_images"] < 1


def fresh_folder() -> Path:
    """Return a private folder that goes with the process."""
    return Path(tempfile.mkdtemp(prefix="salsanity-stress-"))


sys.path.insert(0, str(HERE))

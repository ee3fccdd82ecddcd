"""Runs of `check` and `labels` that can be killed, and what must be equal between two run folders."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from attempts import SUBJECT, environ, no_figures
from safetensors import safe_open

CHECK = (
    *(
        "check",
        "--model",
        f"{SUBJECT}:honest_float32",
        "--data",
        f"{SUBJECT}:plain_images",
        "--device",
        "cpu",
    ),
    *(
        "--method",
        "gradient,smoothgrad,integrated_gradients",
        "--draws",
        "3",
        "--max-images",
        "12",
        "--samples",
        "2",
    ),
    *(
        "--steps",
        "2",
        "--gallery",
        "4",
        "--batch-size",
        "8",
        "--memory-format",
        "contiguous",
        "--similarity",
        "spearman,ssim",
    ),
)
LABELS = (
    *(
        "labels",
        "--model",
        f"{SUBJECT}:trainable",
        "--data",
        f"{SUBJECT}:data",
        "--networks",
        "1",
        "--device",
        "cpu",
    ),
    *(
        "--epochs",
        "150",
        "--learning-rate",
        "0.005",
        "--max-images",
        "12",
        "--samples",
        "2",
        "--steps",
        "2",
    ),
    *(
        "--method",
        "gradient,smoothgrad",
        "--similarity",
        "spearman",
        "--gallery",
        "2",
        "--batch-size",
        "8",
        "--memory-format",
        "contiguous",
    ),
)


def child(
    arguments: Sequence[str], *, figures: bool = False, before: Callable[[], None] | None = None
) -> int:
    """Fork a process that runs the command line and exits with its code; return its id.

    A fork, because starting Python and importing torch takes longer than these runs; it is a process of its own all the same.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about threads: the child uses none of them
        process = os.fork()
    if process:
        return process
    code = 99
    told = os.dup(2)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        code = here(arguments, figures=figures, before=before)
    except BaseException as error:
        os.write(told, f"escaped: {''.join(traceback.format_exception(error))}\n".encode())
    finally:
        os._exit(code)


def here(
    arguments: Sequence[str], *, figures: bool = False, before: Callable[[], None] | None = None
) -> int:
    """Run the command line in this process and return its exit code."""
    from salsanity.cli.app import run

    if before is not None:
        before()
    with environ({}):
        if figures:
            return run(list(arguments))
        with no_figures():
            return run(list(arguments))


def warm(arguments: Sequence[str], folder: Path, *, figures: bool = False) -> None:
    """Run once in this process, so that what children need is imported before they are forked."""
    with Path(os.devnull).open("w") as null, redirect_stdout(null), redirect_stderr(null):
        here([*arguments, "--out", str(folder)], figures=figures)


def ended(process: int, seconds: float) -> int | None:
    """Wait up to `seconds` for a child; return its exit code (minus the signal's number), None if it still runs."""
    deadline = time.perf_counter() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.perf_counter() >= deadline:
            return None
        time.sleep(0.002)


def stopped(process: int, number: signal.Signals) -> int:
    """Send a signal to a child and return its exit code."""
    with suppress(ProcessLookupError):
        os.kill(process, number)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def whole_units(folder: Path) -> dict[str, tuple[int, str]]:
    """Return the finished files of a folder (units, networks): when they were written, and their digest."""
    from salsanity.store.directory import DirectoryStore

    store = DirectoryStore(folder)
    units = [p for p in folder.glob("scores/*.parquet") if store.get(p) is not None]
    networks = list(folder.glob("networks/*.safetensors"))
    return {
        str(p.relative_to(folder)): (
            p.stat().st_mtime_ns,
            hashlib.sha256(p.read_bytes()).hexdigest(),
        )
        for p in (*units, *networks)
    }


@dataclass(frozen=True)
class Outcome:
    """All of a run folder that must not depend on how often the run was interrupted."""

    names: frozenset[str]
    scores: pd.DataFrame
    files: Mapping[str, str]
    documents: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Outcome:
        from salsanity.suite.result import Result

        digests = {
            str(p.relative_to(folder)): tensors_digest(p)
            for place in ("gallery", "networks")
            for p in (folder / place).glob("*")
        }
        names = frozenset(p.name for p in (folder / "scores").iterdir())
        return cls(names, Result(folder).scores, digests, _documents(folder))

    def difference(self, other: Outcome) -> str | None:
        """Say in what two runs differ; None where they are equal bit for bit."""
        if self.names != other.names:
            return f"other units: {sorted(self.names ^ other.names)}"
        try:
            pd.testing.assert_frame_equal(self.scores, other.scores, check_exact=True)
        except AssertionError as error:
            return f"other scores: {str(error).splitlines()[0]}"
        for mine, theirs in ((self.files, other.files), (self.documents, other.documents)):
            different = [n for n in {*mine, *theirs} if mine.get(n) != theirs.get(n)]
            if different:
                return f"other content of {', '.join(sorted(different))}"
        return None


def tensors_digest(path: Path) -> str:
    """Digest a safetensors file's tensors and facts: their order in the file is left to chance by its writer."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = sorted((file.metadata() or {}).items())
    whole = hashlib.sha256(repr(facts).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
    return whole.hexdigest()


def _documents(folder: Path) -> dict[str, Any]:
    names = ("spec.json", "verdicts.json", "gates.json", "coverage.json")
    found = {name: json.loads((folder / name).read_text("utf-8")) for name in names}
    found["gates.json"].pop("time")
    return found


def temporary_files(folder: Path) -> list[str]:
    """List what a killed process left half-written."""
    return [p.name for p in folder.rglob("*") if ".part" in p.name]

"""Memory that runs out: in one batch, for ever, by a leak; in child processes under a limit on their address space."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attempts import HERE, SUBJECT, Answer, Case, attempt, fault, fresh_folder
from ledger import Entry, Ledger
from runs import CHECK, whole_units

LIMIT = 4 * 2**30


def limited(
    arguments: Sequence[str], folder: Path, environment: dict[str, str], *, limit: int = LIMIT
) -> Answer:
    """Run the command line in a fresh process that may map at most `limit` bytes."""
    code = (
        "import sys; from salsanity.suite import judging; judging.draw_report = lambda *_: None; "
        "from salsanity.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--out", str(folder)],
        env={
            **os.environ,
            "COLUMNS": "400",
            "PYTHONPATH": str(HERE),
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Answer(done.returncode, done.stdout, done.stderr, folder, 0.0)


def for_ever(entry: Entry, top: Path) -> None:
    """A network or an explainer that allocates without end: at once, and after some calls."""
    data = ("--data", f"{SUBJECT}:plain_images")
    for after in ("0", "20", "45"):
        case = Case("", (), "either")
        arguments = ["check", *case.tiny, *case.method, "--model", f"{SUBJECT}:hostile", *data]
        answer = limited(
            arguments, top / f"network{after}", {"HOSTILE": "allocate", "HOSTILE_AFTER": after}
        )
        wrong = memory_fault(case, answer)
        entry.attempt(wrong is None, f"network, after {after} calls: {wrong}")
    arguments = ["check", *Case("", ()).tiny, "--model", f"{SUBJECT}:honest", *data]
    answer = limited(
        [*arguments, "--method", f"gradient,{SUBJECT}:allocates"], top / "explainer", {}
    )
    wrong = memory_fault(Case("", (), "either"), answer)
    entry.attempt(wrong is None, f"explainer: {wrong}")


def memory_fault(case: Case, answer: Answer) -> str | None:
    wrong = fault(case, answer)
    if wrong is None and answer.code not in (2, 4):
        return f"exit code {answer.code}"
    return wrong


def halves(entry: Entry, top: Path) -> None:
    """A network that needs memory in proportion to its batch: batches are halved until they fit, scores stay."""
    arguments = [
        part if part != f"{SUBJECT}:honest_float32" else f"{SUBJECT}:greedy" for part in CHECK
    ]
    easy = limited(arguments, top / "easy", {"GREEDY": "1"})
    hard = limited(arguments, top / "hard", {"GREEDY": str(400 * 2**20)})
    entry.attempt(bool(hard.verdicts()), f"exit code {hard.code}: {hard.err[-300:]}")
    sizes = batch_sizes(top / "hard")
    entry.attempt(bool(sizes) and max(sizes) < 8, f"batches were not halved: {sizes}")
    entry.remarks.append(f"batch size 8 became {sorted(set(sizes))}")
    difference = largest_difference(top / "easy", top / "hard")
    entry.attempt(easy.code == hard.code and difference <= 1e-6, f"scores differ by {difference}")


def batch_sizes(folder: Path) -> list[int]:
    from salsanity.store.directory import DirectoryStore

    return [int(record.notes["batch_size"]) for record in DirectoryStore(folder).records()]


def largest_difference(one: Path, other: Path) -> float:
    from salsanity.suite.result import Result

    a, b = (Result(folder).scores[["value", "chance"]].to_numpy() for folder in (one, other))
    return float(np.nanmax(np.abs(a - b))) if a.shape == b.shape else float("inf")


def leaks(entry: Entry, top: Path) -> None:
    """A network that leaks dies in the middle; its finished units are kept, and the run goes on where there is room."""
    arguments = [
        part if part != f"{SUBJECT}:honest_float32" else f"{SUBJECT}:leaking" for part in CHECK
    ]
    for after in (55, 70, 80):
        folder = top / f"leak{after}"
        limited(arguments, folder, {"LEAK": str(100 * 2**20), "LEAK_AFTER": str(after)})
        kept = whole_units(folder)
        again = limited(arguments, folder, {"LEAK": "1"})
        now = whole_units(folder)
        changed = [name for name, state in kept.items() if now.get(name) != state]
        is_well = bool(kept) and len(kept) < len(now) and bool(again.verdicts()) and not changed
        entry.attempt(
            is_well, f"from call {after}: {len(kept)} kept, changed {changed} {again.err[-200:]}"
        )
        entry.remarks.append(f"{len(kept)} of {len(now)} units were finished, and kept")


def made_up(entry: Entry, top: Path, *, calls: Sequence[int] = range(0, 60, 4)) -> None:
    """Errors as torch raises them on a GPU and in the CPU allocator, at every call number in turn."""
    options = ("--model", f"{SUBJECT}:hostile", "--data", f"{SUBJECT}:plain_images")
    for what in ("cuda memory", "cpu memory"):
        for after in calls:
            environment = {"HOSTILE": what, "HOSTILE_AFTER": str(after)}
            answer = attempt(
                Case("", options, "either", environment=environment), top / f"{what}{after}"
            )
            wrong = fault(Case("", options, "either"), answer)
            entry.attempt(wrong is None, f"{what} at call {after}: {wrong}")


def stress(ledger: Ledger) -> None:
    """Let memory run out in every way."""
    top = fresh_folder()
    programs = {
        "memory runs out in one batch (4 GiB of address space): halved, the same scores": halves,
        "user code that allocates without end (4 GiB)": for_ever,
        "a network that leaks (4 GiB): finished units survive": leaks,
        "out-of-memory errors of CPU and GPU at one call": made_up,
    }
    for name, program in programs.items():
        with ledger.entry(name) as entry:
            program(entry, top)
    shutil.rmtree(top)


if __name__ == "__main__":
    found = Ledger()
    stress(found)
    print(found.table())
    sys.exit(bool(found.lost))

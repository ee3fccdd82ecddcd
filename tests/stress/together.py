"""Two processes on one run folder: the second is refused, and a killed holder leaves no lock behind."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from attempts import SUBJECT, command, fresh_folder
from ledger import Entry, Ledger
from runs import CHECK, Outcome, child, ended, stopped, warm


def refused(entry: Entry, folder: Path) -> None:
    """Start a run that never ends, ask for the same folder, kill the first, and ask again."""
    method = CHECK[CHECK.index("--method") + 1]
    slow = [
        *(part if part != method else f"gradient,{SUBJECT}:sleeps" for part in CHECK),
        "--out",
        str(folder),
    ]
    holder = child(slow)
    while not (folder / ".lock").exists() and os.waitpid(holder, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    time.sleep(1)  # it holds the folder by now, and explains for ever
    second = command([*CHECK, "--out", str(folder)], folder, {})
    is_refused = second.code == 2 and "another salsanity process" in " ".join(second.err.split())
    entry.attempt(is_refused, f"the second was not refused: {second.code} {second.err[-200:]}")
    stopped(holder, signal.SIGKILL)
    third = command([*CHECK, "--out", str(folder)], folder, {})
    entry.attempt(
        third.code in (0, 1, 3, 4) and bool(third.verdicts()), f"a stale lock: {third.err[-200:]}"
    )


def raced(entry: Entry, folder: Path, wanted: Outcome) -> int:
    """Start two at the same moment; each finishes or is refused, and the folder is as one would have left it."""
    both = [child([*CHECK, "--out", str(folder)]) for _ in range(2)]
    codes = [ended(process, 120) for process in both]
    proper = all(code in (0, 1, 2, 3, 4) for code in codes) and codes != [2, 2]
    difference = Outcome.of(folder).difference(wanted) if proper else "no run"
    entry.attempt(proper and difference is None, f"exit codes {codes}: {difference}")
    return codes.count(2)


def stress(ledger: Ledger, *, times: int = 20) -> None:
    """Try both many times."""
    top = fresh_folder()
    warm(CHECK, top / "undisturbed")
    wanted = Outcome.of(top / "undisturbed")
    with ledger.entry(
        "a second process on a folder is refused; after kill -9 of the first it is not"
    ) as entry:
        for k in range(times):
            refused(entry, top / f"held{k}")
    with ledger.entry("two processes started at once on one folder") as entry:
        count = sum(raced(entry, top / f"raced{k}", wanted) for k in range(times))
        entry.remarks.append(f"{count} were refused")
    shutil.rmtree(top)


if __name__ == "__main__":
    import sys

    found = Ledger()
    stress(found, times=int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    print(found.table())
    sys.exit(bool(found.lost))

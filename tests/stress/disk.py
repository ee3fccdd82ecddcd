"""A disk that fills up: a small tmpfs, and an injected error at each write; then the same command, with room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from attempts import command, fresh_folder
from ledger import Entry, Ledger
from runs import CHECK, LABELS, Outcome, temporary_files, warm, whole_units

WRITERS: Sequence[tuple[Any, str]] = (
    (os, "fsync"),
    (os, "open"),
    (tempfile, "mkstemp"),
    (pq, "write_table"),
    (Path, "write_text"),
    (Path, "write_bytes"),
    (Path, "replace"),
    (Path, "mkdir"),
    (Path, "chmod"),
)
"""Everything through which a run writes; reading goes other ways."""


class FullDisk:
    """Makes the n-th write fail as a full disk does."""

    def __init__(self, fails_at: int, place: Path) -> None:
        self.fails_at, self.place, self.calls = fails_at, place, 0

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if name == "open" and not (arguments[1] & (os.O_WRONLY | os.O_RDWR)):
                return real(*arguments, **named)
            self.calls += 1
            if self.calls == self.fails_at:
                raise OSError(errno.ENOSPC, "No space left on device", str(self.place))
            return real(*arguments, **named)

        return call

    @contextmanager
    def installed(self) -> Iterator[None]:
        kept = [(owner, name, getattr(owner, name)) for owner, name in WRITERS]
        for owner, name, real in kept:
            setattr(owner, name, self.wrap(name, real))
        try:
            yield
        finally:
            for owner, name, real in kept:
                setattr(owner, name, real)


def proper(code: int, err: str) -> str | None:
    """Say what is wrong with the answer to a full disk."""
    if code not in (2, 4):
        return f"exit code {code}"
    if "Traceback (most" in err or "Unexpected" in err:
        return f"no sentence: {err[-300:]}"
    return None if "No space left" in err else f"does not say why: {err[-300:]}"


def injected(entry: Entry, arguments: Sequence[str], top: Path, step: int) -> None:
    """Fail at every `step`-th write of a run in turn, each in a folder of its own, and continue it."""
    warm(arguments, top / "undisturbed")
    wanted = Outcome.of(top / "undisturbed")
    fails_at = 1
    while True:
        folder = top / f"fails{fails_at}"
        disk = FullDisk(fails_at, folder)
        with disk.installed():
            answer = command([*arguments, "--out", str(folder)], folder, {})
        if disk.calls < fails_at:
            break
        wrong = proper(answer.code, answer.err)
        entry.attempt(wrong is None, f"write {fails_at}: {wrong}")
        finish(entry, arguments, folder, wanted, f"write {fails_at}")
        shutil.rmtree(folder, ignore_errors=True)
        fails_at += step
    entry.remarks.append(f"{disk.calls} writes in a run")


def finish(
    entry: Entry, arguments: Sequence[str], folder: Path, wanted: Outcome, name: str
) -> None:
    """Give the same command again, and compare with the undisturbed run."""
    kept = whole_units(folder)
    warm_code = here_silently(arguments, folder)
    if warm_code not in (0, 1, 3, 4):
        entry.lose(f"{name}: does not continue, exit code {warm_code}")
        return
    now = whole_units(folder)
    changed = [n for n, state in kept.items() if now.get(n) != state]
    if changed:
        entry.lose(f"{name}: finished units lost or computed again: {changed}")
    difference = Outcome.of(folder).difference(wanted)
    if difference:
        entry.lose(f"{name}: {difference}")
    if temporary_files(folder):
        entry.lose(f"{name}: left behind {temporary_files(folder)}")


def here_silently(arguments: Sequence[str], folder: Path) -> int:
    return command([*arguments, "--out", str(folder)], folder, {}).code


def tmpfs(entry: Entry, arguments: Sequence[str], top: Path, sizes: Sequence[int]) -> None:
    """Run on mounts of so many KiB; then enlarge each, and continue."""
    warm(arguments, top / "undisturbed")
    wanted = Outcome.of(top / "undisturbed")
    mount = top / "mount"
    mount.mkdir()
    full = 0
    for size in sizes:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(mount)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            entry.remarks.append("not possible here: mounting needs root")
            return
        try:
            folder = mount / "run"
            answer = command([*arguments, "--out", str(folder)], folder, {})
            is_full = "No space left" in answer.err
            full += is_full
            wrong = proper(answer.code, answer.err) if is_full or not answer.verdicts() else None
            entry.attempt(wrong is None, f"{size} KiB: {wrong}")
            subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
            finish(entry, arguments, folder, wanted, f"{size} KiB")
        finally:
            subprocess.run(["umount", str(mount)], check=True)
    entry.remarks.append(f"full {full} times")


def stress(
    ledger: Ledger, *, step: int = 1, sizes: Sequence[int] = tuple(range(8, 400, 16))
) -> None:
    """Fill the disk in every way that is known."""
    for name, arguments in (("check", CHECK), ("labels", LABELS)):
        top = fresh_folder()
        with ledger.entry(f"no space at each write of `{name}` in turn") as entry:
            injected(
                entry, arguments, top / "injected", step if name == "check" else max(1, 4 * step)
            )
        with ledger.entry(f"`{name}` on a tmpfs that is too small") as entry:
            (top / "tmpfs").mkdir()
            tmpfs(entry, arguments, top / "tmpfs", sizes)
        shutil.rmtree(top)


if __name__ == "__main__":
    import sys

    found = Ledger()
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    stress(found, step=every, sizes=range(8, 400, 16 * every))
    print(found.table())
    sys.exit(bool(found.lost))

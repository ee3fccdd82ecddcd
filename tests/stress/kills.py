"""`check` and `labels` killed at random moments; the same command continues, and ends as if nothing had been."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attempts import fresh_folder
from ledger import Entry, Ledger
from runs import CHECK, LABELS, Outcome, child, ended, stopped, temporary_files, warm, whole_units

SEED = 20260
EXPECTED = {signal.SIGKILL: (-9,), signal.SIGTERM: (-15, 143), signal.SIGINT: (130,)}
"""Exit codes after a signal; a run that had just ended gives its own."""


@dataclass
class Killing:
    """Kills runs of one command at random moments of a run's length, until enough were hit."""

    command: Sequence[str]
    number: signal.Signals
    entry: Entry
    top: Path
    figures: bool = False

    def go(self, times: int, rng: random.Random) -> None:
        """Kill `times` times; count how many kills one run took, and how many finished units survived."""
        warm(self.command, self.top / "warm", figures=self.figures)
        began = time.perf_counter()
        self.finish(self.top / "undisturbed")
        length = time.perf_counter() - began
        wanted = Outcome.of(self.top / "undisturbed")
        runs = units = 0
        while self.entry.tried < times:
            folder = self.top / f"run{runs}"
            units += self.one_run(folder, wanted, times, length, rng)
            runs += 1
            shutil.rmtree(folder)
        self.entry.remarks.append(
            f"{runs} runs of {length:.1f} s; {units} finished units met a kill"
        )

    def finish(self, folder: Path) -> int:
        """Let a run come to its end."""
        code = ended(self.start(folder), 600)
        if code not in (0, 1, 3, 4):
            raise RuntimeError(f"expected a run to finish, got {code}")
        return code

    def start(self, folder: Path) -> int:
        return child([*self.command, "--out", str(folder)], figures=self.figures)

    def one_run(
        self, folder: Path, wanted: Outcome, times: int, length: float, rng: random.Random
    ) -> int:
        """Kill one run again and again until it ends, or until enough kills were made; return the units that survived."""
        survived = 0
        kills = 0
        while self.entry.tried < times and kills < 12:
            process = self.start(folder)
            moment = rng.uniform(0, length)
            code = ended(process, moment)
            if code is not None:
                break
            kept = whole_units(folder)
            code = stopped(process, self.number)
            kills += 1
            survived += len(kept)
            proper = code in EXPECTED[self.number] or code in (0, 1, 3, 4)
            self.entry.attempt(
                proper, f"exit code {code} after {self.number.name} at {moment:.3f} s"
            )
            self.compare_kept(folder, kept)
        kept = whole_units(folder)
        self.finish(folder)
        self.compare_kept(folder, kept)
        difference = Outcome.of(folder).difference(wanted)
        if difference:
            self.entry.lose(f"after {kills} kills: {difference}")
        if temporary_files(folder):
            self.entry.lose(f"left behind: {temporary_files(folder)}")
        return survived

    def compare_kept(self, folder: Path, kept: dict[str, tuple[int, str]]) -> None:
        """Check that no finished unit was lost or written again."""
        now = whole_units(folder)
        changed = [name for name, state in kept.items() if now.get(name) != state]
        if changed:
            self.entry.lose(f"finished units lost or computed again: {changed}")


def stress(ledger: Ledger, *, kills: int = 200) -> None:
    """Kill `check` and `labels`: by far the most with SIGKILL, some with the signals that can be caught."""
    plan = (
        ("check", CHECK, signal.SIGKILL, kills // 2 - kills // 10, False),
        ("check with its figures", CHECK, signal.SIGKILL, kills // 10, True),
        ("labels", LABELS, signal.SIGKILL, kills // 2, False),
        ("check", CHECK, signal.SIGTERM, kills // 10, False),
        ("labels", LABELS, signal.SIGTERM, kills // 10, False),
        ("check", CHECK, signal.SIGINT, kills // 10, False),
        ("labels", LABELS, signal.SIGINT, kills // 10, False),
    )
    for k, (name, command, number, times, figures) in enumerate(plan):
        top = fresh_folder()
        with ledger.entry(f"{number.name} at random moments of `{name}`") as entry:
            Killing(command, number, entry, top, figures).go(times, random.Random(SEED + k))
        shutil.rmtree(top)


if __name__ == "__main__":
    import sys

    found = Ledger()
    stress(found, kills=int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    print(found.table())
    sys.exit(bool(found.lost))

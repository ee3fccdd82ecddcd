"""Running what is missing and storing it, unit by unit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from salsanity.errors import UnitError
from salsanity.executors.serial import Executor, Failure
from salsanity.records import UnitKey, UnitResult
from salsanity.store.directory import DirectoryStore
from salsanity.suite.narrator import Narrator

LOG = "errors.log"


@dataclass(frozen=True)
class Work:
    """Work on a unit under a time limit; `after` runs before the unit counts as done."""

    compute: Callable[[UnitKey], UnitResult]
    after: Callable[[], None]
    timeout: float | None = None

    def __call__(self, key: UnitKey) -> UnitResult:
        """Compute one unit."""
        with time_limit(self.timeout):
            record = self.compute(key)
        self.after()
        return record


def execute(
    work: Work,
    units: Sequence[UnitKey],
    *,
    store: DirectoryStore,
    executor: Executor,
    narrator: Narrator,
    total: float,
) -> list[dict[str, Any]]:
    """Run the units, store each as it is done, and return what failed: digest, draw and reason."""
    failed = []
    if units:
        narrator.begin("Explaining and comparing", total)
    try:
        for unit, found in executor.run(work, units):
            if isinstance(found, Failure):
                failed.append({"unit": unit.digest, "draw": unit.draw, "reason": found.words})
                _log(store, unit, found)
            else:
                store.put(found)
    finally:
        if units:
            narrator.end()
    return failed


def _log(store: DirectoryStore, unit: UnitKey, failure: Failure) -> None:
    with (store.folder / LOG).open("a", encoding="utf-8") as file:
        file.write(f"unit {unit.digest} (draw {unit.draw})\n{failure.trace}\n")


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `UnitError` in the block after `seconds`; only the main thread can be interrupted so."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_: int, __: FrameType | None) -> None:
        raise UnitError(
            f"the unit took longer than {seconds:g} s; raise --unit-timeout, or leave out what hangs"
        )

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

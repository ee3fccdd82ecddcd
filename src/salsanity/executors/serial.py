"""The executor that runs units here, one after another."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, final

from salsanity.errors import UnitError
from salsanity.records import UnitKey, UnitResult
from salsanity.units.job import Job, Lot, Opened, Tick


@dataclass(frozen=True)
class Failure:
    """A unit that raised: the error in one line, and its traceback for the log."""

    error: BaseException
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the failure that an error in hand is."""
        return cls(error, "".join(traceback.format_exception(error)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes: an error that cannot be pickled goes as its words."""
        return Failure, (_travelling(self.error, self.words), self.trace)

    @property
    def words(self) -> str:
        """Return the error's type and message in one line."""
        return f"{type(self.error).__name__}: {' '.join(str(self.error).split())}"


def _travelling(error: BaseException, words: str) -> BaseException:
    try:
        pickle.dumps(copy.copy(error))  # which makes it anew, as unpickling will
    except Exception:  # noqa: BLE001 - the user's errors may raise anything
        return UnitError(words)
    return error


Done = tuple[UnitKey, UnitResult | Failure]


Results = Generator[Done, None, None]
"""Closing it ends the work."""


class Executor(Protocol):
    """Runs the units of a job, here or elsewhere; results come in any order."""

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Tick | None = None) -> Results:
        """Yield every unit with its result, or with the failure that spoiled it alone.

        Each process opens the job once (`job.open()`) and does units (`opened.do(unit)`), those of a lot together. `tick`
        may be told of evaluations while a unit is computed, in this process; results alone are enough. An executor may also
        have `threads` (of PyTorch in its workers: a run is prepared with as many), `told()` (sentences for the person who
        waits) and `close()` (what was started is ended).
        """


@final
@dataclass(frozen=True)
class SerialExecutor:
    """Runs every unit in this process, in order."""

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Tick | None = None) -> Results:
        """Yield each unit as soon as it is done; Ctrl-C passes through."""
        opened = job.open(tick=tick)
        for lot in lots:
            for unit in lot:
                yield unit, done(opened, unit)


def done(opened: Opened, unit: UnitKey) -> UnitResult | Failure:
    """Do a unit; whatever user code raises, `SystemExit` too, becomes its failure. Ctrl-C passes through."""
    try:
        return opened.do(unit)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything; it is reported
        return Failure.of(error)

"""The executor that runs units here, one after another."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar, final

U = TypeVar("U")
R = TypeVar("R")


@dataclass(frozen=True)
class Failure:
    """A unit that raised: the error in one line, and its traceback for the log."""

    error: BaseException
    trace: str

    @property
    def words(self) -> str:
        """Return the error's type and message in one line."""
        return f"{type(self.error).__name__}: {' '.join(str(self.error).split())}"


class Executor(Protocol):
    """Runs work on units, here or elsewhere; results come in any order."""

    def run(self, work: Callable[[U], R], units: Iterable[U]) -> Iterator[tuple[U, R | Failure]]:
        """Yield every unit with its result, or with the failure that spoiled it alone."""


@final
@dataclass(frozen=True)
class SerialExecutor:
    """Runs every unit in this process, in order."""

    def run(self, work: Callable[[U], R], units: Iterable[U]) -> Iterator[tuple[U, R | Failure]]:
        """Yield each unit as soon as it is done; Ctrl-C passes through."""
        for unit in units:
            try:
                yield unit, work(unit)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything; it is reported
                yield unit, Failure(error, traceback.format_exc())

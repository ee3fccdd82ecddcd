"""Executors that keep the contract: salsanity's own, ten lines, a pool of processes; every test of the contract can fail."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from pools import InProcess, Pool
from twins import every_test_has_a_twin, fails

from salsanity import testing
from salsanity.errors import UnitError
from salsanity.executors.serial import Done, Failure, SerialExecutor, done
from salsanity.records import UnitKey, UnitResult
from salsanity.testing import ExecutorContract
from salsanity.units.containing import contained
from salsanity.units.job import Job, Lot, Opened


class TestSerial(ExecutorContract):
    def executor(self) -> Any:
        return "serial"


class TestInProcess(ExecutorContract):
    def executor(self) -> Any:
        return InProcess()


class TestPool(ExecutorContract):
    def executor(self) -> Any:
        return Pool()


@dataclass(frozen=True)
class Threads:
    """Two threads at a time; `how` a unit is done is the fault."""

    how: Callable[[Job, Opened, UnitKey], Any]

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Any = None) -> Iterator[Done]:
        opened = job.open()
        with ThreadPoolExecutor(2) as pool:
            for lot in lots:
                running = [(unit, pool.submit(self.how, job, opened, unit)) for unit in lot]
                yield from [(unit, future.result()) for unit, future in running]


def sharing(job: Job, opened: Opened, unit: UnitKey) -> Any:
    """One network in two threads, as an executor might that was written for functions."""
    return done(opened, unit)


def sharing_unguarded(job: Job, opened: Opened, unit: UnitKey) -> Any:
    """The same, past the guard of `Opened.do`."""
    try:
        with contained(opened.network, None):
            return opened.worker.compute(unit)
    except Exception as error:  # noqa: BLE001 - as an executor must
        return Failure.of(error)


_own = threading.local()


def apart(job: Job, opened: Opened, unit: UnitKey) -> Any:
    """A network for each thread; but Python's, NumPy's and torch's random states belong to the process."""
    if getattr(_own, "job", None) is not job:
        _own.job, _own.opened = job, job.open()
    return done(_own.opened, unit)


class Broken:
    """The serial executor with a fault."""

    def __init__(self, fault: str) -> None:
        self.fault, self.ran = fault, 0

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Any = None) -> Any:
        self.ran += 1
        if self.fault == "once" and self.ran > 1:
            return iter([])
        if self.fault == "needs a list" and not hasattr(lots, "__len__"):
            return iter([])
        if self.fault == "list":
            return iter(list(SerialExecutor().run(job, lots)))
        if self.fault == "eager":
            lots = list(lots)
        if self.fault == "takes back" and tick:
            tick(-1)
        return self.results(job, lots)

    def results(self, job: Job, lots: Iterable[Lot]) -> Iterator[tuple[UnitKey, Any]]:
        if self.fault == "always one":
            yield UnitKey("cascade", 0, (), (), (), (), ""), None
        try:
            opened = job.open()
        except Exception as error:
            if self.fault == "opens in silence":
                return
            if self.fault == "loses the reason":
                raise RuntimeError("a process ended") from error
            raise
        before: UnitResult | None = None
        for unit in (unit for lot in lots for unit in lot):
            try:
                found: Any = done(opened, unit)
            except KeyboardInterrupt as error:
                match self.fault:
                    case "swallows Ctrl-C":
                        continue
                    case "Ctrl-C is a failure":
                        found = Failure.of(error)
                    case _:
                        raise
            if isinstance(found, Failure):
                match self.fault:
                    case "stops":
                        return
                    case "swallows errors":
                        continue
                    case "no failure":
                        found = UnitResult(unit, {}, {})
                    case "no trace":
                        found = replace(found, trace="")
                    case "no words":
                        found = Failure.of(RuntimeError("something failed"))
            yield from self.given(unit, found, before)
            before = found
            if self.fault == "touches the network":
                with torch.no_grad():
                    next(iter(job.model.parameters())).add_(1)

    def given(self, unit: UnitKey, found: Any, before: Any) -> Iterator[tuple[UnitKey, Any]]:
        is_last = unit.draw == 1 and unit.check == "cascade"
        if self.fault == "drops one" and is_last:
            return
        if self.fault == "doubles one" and is_last:
            yield unit, found
        if self.fault == "swaps results" and before is not None:
            found = replace(before, key=found.key if is_last else before.key)
        if self.fault == "rounds" and is_last:
            values = [float(f"{v:.12g}") for v in found.columns["value"]]
            found = replace(found, columns={**found.columns, "value": values})
        if self.fault == "loses pictures":
            found = replace(found, pictures={}) if isinstance(found, UnitResult) else found
        yield unit, found


def broken(fault: str) -> Callable[[], Any]:
    return lambda: Broken(fault)


NOT_SERIAL = "are not as in a serial run"
TWINS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "test_every_unit_comes_once_with_its_own_result": [
        (broken("drops one"), "lost"),
        (broken("doubles one"), "once"),
        (broken("swaps results"), "other values|another unit's"),
        (broken("rounds"), "column value"),
        (broken("loses pictures"), "pictures"),
        (lambda: Threads(sharing), "one unit at a time"),
        (lambda: Threads(sharing_unguarded), NOT_SERIAL),
        (lambda: Threads(apart), NOT_SERIAL),
    ],
    "test_a_job_that_was_opened_here_gives_the_same": [
        (lambda: Threads(sharing), "one unit at a time"),
        (broken("touches the network"), "values changed"),
    ],
    "test_gives_what_another_process_gives": [(broken("rounds"), "new process")],
    "test_takes_any_iterable": [(broken("needs a list"), "lost")],
    "test_no_units_are_no_work": [(broken("always one"), "no units")],
    "test_runs_again": [(broken("once"), "lost")],
    "test_tells_of_progress_only_what_was_done": [(broken("takes back"), "numbers of evaluations")],
    "test_a_failure_is_returned_and_spoils_nothing_else": [
        (broken("stops"), "also after a failure"),
        (broken("swallows errors"), "also after a failure"),
        (broken("no failure"), "failed, but has"),
        (broken("no trace"), "traceback"),
        (broken("no words"), "expected the error"),
    ],
    "test_a_job_that_cannot_be_opened_says_why": [
        (broken("opens in silence"), "0 of 2 units"),
    ],
    "test_an_interruption_passes_through": [
        (broken("swallows Ctrl-C"), "swallowed"),
        (broken("Ctrl-C is a failure"), "swallowed"),
        (broken("swaps results"), "not whole"),
    ],
    "test_may_be_left_early": [(broken("eager"), "all units"), (broken("list"), "generator")],
}
CASES = [(test, *case) for test, cases in TWINS.items() for case in cases]


@pytest.mark.parametrize(("test", "wrong", "words"), CASES)
def test_twin_a_broken_executor_is_noticed(test: str, wrong: Callable[[], Any], words: str) -> None:
    fails(ExecutorContract, test, "executor", wrong, words)


def test_twin_a_lost_reason_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="a process ended"):
        type(
            "Lost", (ExecutorContract,), {"executor": lambda self: Broken("loses the reason")}
        )().test_a_job_that_cannot_be_opened_says_why()


def test_every_test_of_the_contract_has_a_twin() -> None:
    every_test_has_a_twin(ExecutorContract, TWINS)


@pytest.mark.parametrize("wrong", ["nonsense", object()])
def test_an_unknown_executor_is_refused(wrong: object) -> None:
    with pytest.raises(Exception, match="expected an executor"):
        type("Wrong", (ExecutorContract,), {"executor": lambda self: wrong})().test_runs_again()


class Unpicklable(Exception):
    """Its arguments are not those of its constructor, as it happens in users' code."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def test_a_failure_travels_with_its_words_whatever_the_error() -> None:
    for error in (UnitError("late"), Unpicklable("a", "b"), SystemExit(3)):
        failure = Failure.of(error)
        again = pickle.loads(pickle.dumps(failure))
        assert failure.words in again.words
        assert again.trace == failure.trace


def test_nothing_is_collected_from_the_library_itself() -> None:
    assert not [name for name in testing.__all__ if name.lower().startswith("test")]

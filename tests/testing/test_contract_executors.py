"""The executor of salsanity keeps the contract, and so does one that runs in threads; every test of the contract can fail."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest
from twins import every_test_has_a_twin, fails

from salsanity import testing
from salsanity.executors.serial import Failure, SerialExecutor
from salsanity.testing import ExecutorContract


class TestSerial(ExecutorContract):
    def executor(self) -> Any:
        return "serial"


@dataclass(frozen=True)
class Threads:
    """Two at a time, the later one given first: results need no order."""

    def run(self, work: Callable[[Any], Any], units: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        with ThreadPoolExecutor(2) as pool:
            source = iter(units)
            while pair := list(islice(source, 2)):
                running = [(unit, pool.submit(work, unit)) for unit in pair]
                for unit, future in reversed(running):
                    error = future.exception()
                    if isinstance(error, Exception):
                        trace = "".join(traceback.format_exception(error))
                        yield unit, Failure(error, trace)
                    else:
                        yield unit, future.result()


class TestThreads(ExecutorContract):
    def executor(self) -> Any:
        return Threads()


@dataclass
class Broken:
    """The serial executor with a fault."""

    fault: str
    ran: int = 0

    def run(self, work: Callable[[Any], Any], units: Iterable[Any]) -> Any:
        self.ran += 1
        if self.fault == "once" and self.ran > 1:
            raise RuntimeError("used up")
        if self.fault == "needs a list":
            units = range(len(units)) if hasattr(units, "__len__") else []
        if self.fault == "list":
            return iter(list(SerialExecutor().run(work, units)))
        if self.fault == "eager":
            units = list(units)
        return self.results(work, units)

    def results(
        self, work: Callable[[Any], Any], units: Iterable[Any]
    ) -> Iterator[tuple[Any, Any]]:
        last = None
        if self.fault == "always one":
            yield 0, 0
        for unit in units:
            try:
                found = work(unit)
            except KeyboardInterrupt as error:
                if self.fault != "swallows":
                    raise
                yield unit, Failure(error, "")  # type: ignore[arg-type]
                continue
            except Exception as error:  # noqa: BLE001 - as an executor must
                match self.fault:
                    case "stops":
                        return
                    case "no failure":
                        yield unit, None
                        continue
                    case "no trace":
                        yield unit, Failure(error, "")
                        continue
                yield unit, Failure(error, traceback.format_exc())
                continue
            if self.fault == "loses one" and unit == 3:
                continue
            yield unit, last if self.fault == "mixes" and last is not None else found
            last = found


TWINS: dict[str, list[tuple[str, str]]] = {
    "test_every_unit_comes_once_with_its_own_result": [
        ("loses one", "once"), ("always one", "once"), ("mixes", "another's")],
    "test_takes_any_iterable": [("needs a list", "of a generator")],
    "test_no_units_are_no_work": [("always one", "no units")],
    "test_a_failure_is_returned_and_spoils_nothing_else": [
        ("stops", "expected every unit"), ("no failure", "failed, but has"), ("no trace", "traceback")],
    "test_an_interruption_passes_through": [("swallows", "swallowed"), ("mixes", "wrong results")],
    "test_may_be_left_early": [("eager", "all units"), ("list", "generator")],
}  # fmt: skip
CASES = [(test, *case) for test, cases in TWINS.items() for case in cases]


@pytest.mark.parametrize(("test", "fault", "words"), CASES)
def test_twin_a_broken_executor_is_noticed(test: str, fault: str, words: str) -> None:
    fails(ExecutorContract, test, "executor", lambda: Broken(fault), words)


def test_twin_an_executor_that_serves_once_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="used up"):
        type(
            "Once", (ExecutorContract,), {"executor": lambda self: Broken("once")}
        )().test_runs_again()


def test_every_test_of_the_contract_has_a_twin() -> None:
    every_test_has_a_twin(ExecutorContract, {*TWINS, "test_runs_again"})


@pytest.mark.parametrize("wrong", ["nonsense", object()])
def test_an_unknown_executor_is_refused(wrong: object) -> None:
    with pytest.raises(Exception, match="expected an executor"):
        type("Wrong", (ExecutorContract,), {"executor": lambda self: wrong})().test_runs_again()


def test_nothing_is_collected_from_the_library_itself() -> None:
    assert not [name for name in testing.__all__ if name.lower().startswith("test")]

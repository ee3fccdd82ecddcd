"""`ExecutorContract`: what salsanity relies on in what runs its units of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

from salsanity.executors.named import executor as executor_named
from salsanity.executors.serial import Executor, Failure


def doubled(unit: int) -> int:
    """Work that succeeds; a function of a module, so that other processes can import it."""
    return 2 * unit


def failing_at_multiples_of_three(unit: int) -> int:
    """Work that sometimes fails."""
    if unit % 3 == 0:
        raise ValueError(f"unit {unit} does not work")
    return 2 * unit


def interrupted_at_four(unit: int) -> int:
    """Work during which Ctrl-C is pressed."""
    if unit == 4:
        raise KeyboardInterrupt
    return 2 * unit


class ExecutorContract:
    """The contract of an executor: inherit it in a test module and return yours from `executor`.

    Results may come in any order.
    """

    count: ClassVar[int] = 20
    """How many units are run."""

    def executor(self) -> Any:
        """Return the executor on trial, or its name as in `--executor`."""
        raise NotImplementedError("return the executor on trial from `executor`")

    def test_every_unit_comes_once_with_its_own_result(self) -> None:
        """No unit is lost, doubled, or given another's result."""
        found = list(self._executor().run(doubled, range(self.count)))
        units = Counter(unit for unit, _ in found)
        assert units == Counter(range(self.count)), f"expected every unit once, got {units}"
        wrong = [unit for unit, result in found if result != 2 * unit]
        assert not wrong, f"units {wrong} have another's result"

    def test_takes_any_iterable(self) -> None:
        """Units may come from a generator, one by one."""
        found = dict(self._executor().run(doubled, (unit for unit in range(self.count))))
        wrong = [unit for unit in range(self.count) if found.get(unit) != 2 * unit]
        assert not wrong, f"units {wrong} of a generator have no results, or wrong ones"

    def test_no_units_are_no_work(self) -> None:
        """Nothing to do is no error."""
        found: list[tuple[int, Any]] = list(self._executor().run(doubled, []))
        assert not found, f"expected no results of no units, got {found}"

    def test_runs_again(self) -> None:
        """An executor may serve several runs."""
        runner = self._executor()
        for _ in range(2):
            found = dict(runner.run(doubled, range(5)))
            assert found == {unit: 2 * unit for unit in range(5)}, f"another run gave {found}"

    def test_a_failure_is_returned_and_spoils_nothing_else(self) -> None:
        """A unit that raises comes back as a `Failure` with its error and traceback; the others have their results."""
        found = dict(self._executor().run(failing_at_multiples_of_three, range(self.count)))
        assert sorted(found) == list(range(self.count)), f"expected every unit, got {sorted(found)}"
        for unit, result in found.items():
            if unit % 3:
                assert result == 2 * unit, f"unit {unit} did not fail, but has {result!r}"
                continue
            assert isinstance(result, Failure), f"unit {unit} failed, but has {result!r}"
            assert f"unit {unit} does not work" in result.words, f"another error: {result.words}"
            assert "failing_at_multiples_of_three" in result.trace, "the traceback is lost"

    def test_an_interruption_passes_through(self) -> None:
        """Ctrl-C ends the run: it is neither swallowed nor made a `Failure`; what came before is whole."""
        seen: dict[int, Any] = {}
        try:
            for unit, result in self._executor().run(interrupted_at_four, range(self.count)):
                seen[unit] = result
        except KeyboardInterrupt:
            wrong = [unit for unit, result in seen.items() if result != 2 * unit]
            assert not wrong, f"units {wrong} have wrong results"
            return
        raise AssertionError(f"the interruption was swallowed; {len(seen)} units came")

    def test_may_be_left_early(self) -> None:
        """Closing the results ends the work: units are not all taken from their source first."""
        taken: list[int] = []

        def units() -> Iterator[int]:
            for unit in range(1000):
                taken.append(unit)
                yield unit

        results = iter(self._executor().run(doubled, units()))
        next(results)
        close = getattr(results, "close", None)
        assert close is not None, "expected a generator of results, which can be closed"
        close()
        assert len(taken) < 1000, "all units were taken before the first result was given"

    def _executor(self) -> Executor:
        return executor_named(self.executor())

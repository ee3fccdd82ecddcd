"""`ExecutorContract`: what salsanity relies on in what runs its units of work."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from salsanity.checks.cascade import Cascade
from salsanity.errors import ModelError
from salsanity.executors.named import executor as executor_named
from salsanity.executors.serial import Executor, Failure
from salsanity.records import UnitKey
from salsanity.testing.jobs import (
    EXITS_AT,
    FAILS_AT,
    INTERRUPTED_AT,
    NoisyWeights,
    difference,
    lots_for,
    prepared_here,
    results_elsewhere,
    right_results,
    small_job,
    unit_of,
)
from salsanity.testing.traces import Traces
from salsanity.units.job import Job, Lot

MANY: Final = 100
"""Lots of a run that is left early; an executor may take some ahead."""


class ExecutorContract:
    """The contract of an executor: inherit it in a test module and return yours from `executor`.

    It is given a small real job: a cascade on images of three chunks, two draws each, with an explainer that takes its time
    and draws from the global random state. Results may come in any order.
    """

    def executor(self) -> Any:
        """Return the executor on trial, or its name as in `--executor`."""
        raise NotImplementedError("return the executor on trial from `executor`")

    def test_every_unit_comes_once_with_its_own_result(self) -> None:
        """No unit is lost, doubled, or given another's result; scores, pictures and notes are those of a serial run, bit
        for bit."""
        job = small_job()
        found = list(self._executor().run(job, lots_for(job, Cascade.name)))
        self._right(found)

    def test_a_job_that_was_opened_here_gives_the_same(self) -> None:
        """A run hands over a job with its own network inside, which other threads must not take; it is as before."""
        job = prepared_here(small_job())
        assert job.here is not None
        own, theirs = Traces.of(job.here.network.module), Traces.of(job.model)
        found = list(self._executor().run(job, lots_for(job, Cascade.name)))
        self._right(found)
        for traces in (own, theirs):
            for changed in (traces.values_changed, traces.modes_changed, traces.attributes_changed):
                assert changed() is None, f"{changed.__name__.replace('_', ' ')}: {changed()}"

    def test_gives_what_another_process_gives(self) -> None:
        """The job, opened in a new process, comes to the same, bit for bit; and so does one that came from there."""
        job: Job = pickle.loads(pickle.dumps(small_job()))  # noqa: S301 - just written
        found = dict(self._executor().run(job, lots_for(job, Cascade.name)))
        wrong = [difference(found.get(unit), right) for unit, right in results_elsewhere().items()]
        wrong = [why for why in wrong if why]
        assert not wrong, f"{len(wrong)} units are not as in a new process; the first: {wrong[0]}"

    def test_takes_any_iterable(self) -> None:
        """Lots may come from a generator, one by one."""
        job = small_job()
        self._right(self._executor().run(job, (lot for lot in lots_for(job, Cascade.name))))

    def test_no_units_are_no_work(self) -> None:
        """Nothing to do is no error."""
        found = list(self._executor().run(small_job(), []))
        assert not found, f"expected no results of no units, got {len(found)}"

    def test_runs_again(self) -> None:
        """An executor may serve several runs, and rounds of one run."""
        runner, job = self._executor(), small_job()
        for lot in lots_for(job, Cascade.name)[:2]:
            self._right(runner.run(job, [lot]), only=lot)

    def test_tells_of_progress_only_what_was_done(self) -> None:
        """`tick` may stay silent; what it is told are evaluations, or what dear explainers are worth in them."""
        told: list[Any] = []
        job = small_job()
        list(self._executor().run(job, lots_for(job, Cascade.name)[:1], tick=told.append))
        wrong = [n for n in told if isinstance(n, bool) or not isinstance(n, int | float) or n < 0]
        assert not wrong, f"expected numbers of evaluations, got {wrong[:3]}"

    def test_a_failure_is_returned_and_spoils_nothing_else(self) -> None:
        """A unit that raises, or exits, comes back as a `Failure` with its error and traceback; the others have their
        results."""
        job = small_job()
        failing = lots_for(job, NoisyWeights.name, draws=(0, FAILS_AT, EXITS_AT))
        lots = [(*a, *b) for a, b in zip(failing, lots_for(job, Cascade.name), strict=True)]
        found = list(self._executor().run(job, lots))
        units = Counter(unit for unit, _ in found)
        wanted = Counter(unit for lot in lots for unit in lot)
        assert units == wanted, f"expected every unit once, also after a failure, got {len(found)}"
        for unit, result in found:
            if unit.check == NoisyWeights.name and unit.draw:
                _check_failure(unit, result)
            else:
                assert not isinstance(result, Failure), f"a failure spoiled others: {result.words}"
        self._right((unit, result) for unit, result in found if unit.check == Cascade.name)

    def test_a_job_that_cannot_be_opened_says_why(self) -> None:
        """An error, or a `Failure` for every unit, in which the reason stands; nothing hangs and nothing is silent."""
        job = replace(small_job(), fingerprint="another")
        lots = lots_for(job, Cascade.name)[:1]
        try:
            found = list(self._executor().run(job, lots))
        except ModelError as error:
            words = [str(error)]
        else:
            assert len(found) == len(lots[0]), f"{len(found)} of {len(lots[0])} units came"
            words = [result.words for _, result in found if isinstance(result, Failure)]
            assert len(words) == len(found), "units of a job that cannot be opened have results"
        lost = [text for text in words if "when the run began" not in text]
        assert not lost, f"the reason is lost: {lost[:1]}"

    def test_an_interruption_passes_through(self) -> None:
        """Ctrl-C ends the run: it is neither swallowed nor made a `Failure`; what came before is whole."""
        job = small_job()
        draws = (0, 4, INTERRUPTED_AT, 5)
        lots = [
            (unit,) for lot in lots_for(job, NoisyWeights.name, draws=draws)[:2] for unit in lot
        ]
        seen: list[tuple[UnitKey, Any]] = []
        try:
            for done in self._executor().run(job, lots):
                seen.append(done)
        except KeyboardInterrupt:
            whole = [unit for unit, result in seen if getattr(result, "key", None) == unit]
            assert len(whole) == len(seen), "what came before the interruption is not whole"
            return
        raise AssertionError(f"the interruption was swallowed; {len(seen)} units came")

    def test_may_be_left_early(self) -> None:
        """Closing the results ends the work: units are not all taken from their source first."""
        job, taken = small_job(draws=MANY), []
        images = tuple(entry.id for entry in job.entries[:2])

        def lots() -> Iterator[Lot]:
            for draw in range(4, MANY):
                taken.append(draw)
                yield (
                    replace(unit_of(job, NoisyWeights.name, draw, images), methods=("gradient",)),
                )

        results = iter(self._executor().run(job, lots()))
        next(results)
        close = getattr(results, "close", None)
        assert close is not None, "expected a generator of results, which can be closed"
        close()
        assert len(taken) < MANY - 4, "all units were taken before the first result was given"

    def _executor(self) -> Executor:
        return executor_named(self.executor())

    def _right(self, found: Iterable[tuple[UnitKey, Any]], only: Lot | None = None) -> None:
        """Assert that these are the results of a serial run, each once."""
        results = list(found)
        right = right_results()
        wanted = list(right) if only is None else list(only)
        units = Counter(unit for unit, _ in results)
        lost = [unit.draw for unit in wanted if not units[unit]]
        assert not lost, f"{len(lost)} of {len(wanted)} units were lost, of draws {sorted(lost)}"
        assert len(results) == len(wanted), f"expected every unit once, got {len(results)} results"
        wrong = [difference(result, right[unit]) for unit, result in results]
        wrong = [why for why in wrong if why]
        assert not wrong, f"{len(wrong)} units are not as in a serial run; the first: {wrong[0]}"


def _check_failure(unit: UnitKey, result: Any) -> None:
    wanted = "does not work" if unit.draw == FAILS_AT else "the explainer left"
    assert isinstance(result, Failure), f"draw {unit.draw} failed, but has {type(result).__name__}"
    assert wanted in result.words, f"expected the error {wanted!r}, got {result.words}"
    assert "changed" in result.trace, f"the traceback of draw {unit.draw} is lost"

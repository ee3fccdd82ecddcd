"""Running what is missing and storing it, unit by unit: one writer, here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, final

from salsanity.errors import StoreError, UnitError
from salsanity.executors.serial import Done, Executor, Failure
from salsanity.narrator import Narrator
from salsanity.records import UnitKey, UnitResult
from salsanity.store.directory import Brief, DirectoryStore
from salsanity.store.folder import append_log
from salsanity.store.gallery import Gallery
from salsanity.suite.planning import Costs
from salsanity.suite.prepared import Run
from salsanity.units.job import Lot, lots_of


@final
class Progress:
    """Moves the bar: by what an executor ticks while a unit runs, and by the rest of a unit once it is done."""

    def __init__(self, costs: Costs, narrator: Narrator) -> None:
        self.narrator, self.costs = narrator, costs
        self.worth: dict[UnitKey, float] = {}
        self.ticked = 0.0

    def begin(self, lot: Lot) -> None:
        """Take note of the units that are to come of a chunk."""
        self.worth |= self.costs.each(lot)

    def tick(self, amount: float) -> None:
        """Take note of evaluations within a unit."""
        self.ticked += amount
        self.narrator.advance(amount)

    def done(self, unit: UnitKey) -> None:
        """Take note that a unit is done."""
        self.narrator.advance(max(0.0, self.worth.pop(unit) - self.ticked))
        self.ticked = 0.0


def execute(
    run: Run,
    units: Sequence[UnitKey],
    *,
    gallery: Gallery,
    executor: Executor,
    narrator: Narrator,
) -> list[dict[str, Any]]:
    """Run the units, store each as it is done, and return what failed: digest, check, draw and reason."""
    if not units:
        return []
    lots = lots_of(units)
    costs = Costs(run, [unit for lot in lots for unit in lot])
    return execute_lots(
        run, lots, costs=costs, gallery=gallery, executor=executor, narrator=narrator
    )


def execute_lots(
    run: Run,
    lots: Iterable[Lot],
    *,
    costs: Costs,
    gallery: Gallery,
    executor: Executor,
    narrator: Narrator,
) -> list[dict[str, Any]]:
    """Run lots as they come, store each unit as it is done, and return what failed."""
    failed: list[dict[str, Any]] = []
    printed, progress = {one.said for one in run.tries}, Progress(costs, narrator)
    waiting: dict[UnitKey, None] = {}
    noted = _noted(lots, waiting, progress)
    taken = list(noted) if isinstance(lots, list) else noted
    narrator.begin("Explaining and comparing", costs.total)
    try:
        with closing(executor.run(run.job(), taken, tick=progress.tick)) as results:
            for unit, found in whole(results, waiting):
                progress.done(unit)
                if isinstance(found, Failure) and isinstance(found.error, StoreError):
                    raise found.error  # the disk fails every unit alike
                if isinstance(found, Failure):
                    failed.append(_entry(unit, found))
                    _log(run.store, unit, found)
                else:
                    _keep(run.store, gallery, found)
                    _log_printed(run.store, found, printed)
    finally:
        narrator.end()
        for sentence in _told(executor):
            narrator.say(sentence)
    return failed


def _told(executor: Executor) -> Iterable[str]:
    """Return what an executor has to tell beside its results, such as deaths of workers, where it does so."""
    told = getattr(executor, "told", None)
    return told() if callable(told) else ()


def _noted(lots: Iterable[Lot], waiting: dict[UnitKey, None], progress: Progress) -> Iterator[Lot]:
    """Yield lots, and note what is then waited for."""
    for lot in lots:
        progress.begin(lot)
        waiting.update((unit, None) for unit in lot)
        yield lot


def whole(results: Iterable[Done], waiting: dict[UnitKey, None]) -> Iterator[Done]:
    """Yield every unit that is waited for once; one that an executor lost, or gave another's result, is a failure."""
    for unit, found in results:
        if unit not in waiting:
            continue
        del waiting[unit]
        is_own = isinstance(found, Failure) or getattr(found, "key", None) == unit
        yield unit, found if is_own else _fault("gave another unit's result for it")
    for unit in [*waiting]:
        yield unit, _fault("lost it")


def _fault(words: str) -> Failure:
    return Failure.of(
        UnitError(f"the executor {words}; test it with salsanity.testing.ExecutorContract")
    )


def intact_units(store: DirectoryStore, gallery: Gallery) -> list[Brief]:
    """List the finished units, without those whose pictures were damaged: they draw them again with their scores."""
    return store.finished(lost=gallery.damaged())


def _keep(store: DirectoryStore, gallery: Gallery, found: UnitResult) -> None:
    """Write pictures first: a unit whose scores are there counts as done."""
    gallery.add(found.pictures)
    store.put(found)


def _log_printed(store: DirectoryStore, found: UnitResult, known: set[str]) -> None:
    """Log what explainers printed, each text once."""
    for method, text in found.notes.get("printed", {}).items():
        if text not in known:
            known.add(text)
            append_log(store.folder, f"{method} printed:\n{text}")


def _entry(unit: UnitKey, failure: Failure) -> dict[str, Any]:
    return {
        "unit": unit.digest,
        "check": unit.check,
        "draw": unit.draw,
        "reason": failure.words,
    }


def _log(store: DirectoryStore, unit: UnitKey, failure: Failure) -> None:
    about = f"unit {unit.digest} ({unit.check}, draw {unit.draw})"
    append_log(store.folder, f"{about}\n{failure.trace}")

"""Executing a large run, whose images are found while it goes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, final

from salsanity.executors.serial import Executor
from salsanity.narrator import Narrator
from salsanity.records import UnitKey
from salsanity.store.directory import units_asked
from salsanity.store.gallery import Gallery
from salsanity.suite.costs import tell_cost
from salsanity.suite.document import document_of
from salsanity.suite.execute import execute_lots, intact_units
from salsanity.suite.planning import Costs, expected, streamed
from salsanity.suite.prepared import Run
from salsanity.suite.streaming import MoreImages
from salsanity.units.job import Lot, lots_of
from salsanity.units.plan import Finished


@final
class Streamed:
    """A large run: units come chunk by chunk, as its images are found; what must be said of all of them grows."""

    def __init__(self, run: Run, more: MoreImages, gallery: Gallery, narrator: Narrator) -> None:
        self.run, self.more, self.gallery, self.narrator = run, more, gallery, narrator
        self.places: list[str] = []
        self.last: list[UnitKey] = []

    def execute(self, executor: Executor) -> list[dict[str, Any]]:
        """Run what is missing, and return what failed."""
        have = intact_units(self.run.store, self.gallery)
        wanted = sum(1 for _ in expected(self.run))
        costs = Costs(self.run, islice(expected(self.run), min(len(have), wanted), None))
        tell_cost(self.run, costs, self.narrator, wanted=wanted)
        failed = execute_lots(
            self.run,
            self._lots(Finished.of(have)),
            costs=costs,
            gallery=self.gallery,
            executor=executor,
            narrator=self.narrator,
        )
        self._tell()
        return failed

    def document(self) -> dict[str, Any]:
        """Write spec.json of the whole run and return it; images are no longer found then."""
        units = {**units_asked(self.last), "places": self.places}
        images = self.more.listed([entry.to_json() for entry in self.run.entries])
        document = document_of(self.run, images, units)
        self.run.store.write_json("spec.json", document)
        self.more.forget()
        return document

    @property
    def accuracy(self) -> dict[str, Any] | None:
        """Return the accuracy on all images whose labels are known."""
        before, more = self.run.accuracy, self.more
        if before is None or not more.known:
            return before
        right = before["trained"] * before["n"] + more.right
        n = before["n"] + more.known
        return {**before, "trained": right / n, "n": n}

    def _lots(self, finished: Finished) -> Iterator[Lot]:
        for units in streamed(self.run):
            self.places += [unit.place for unit in units]
            self.last = units
            yield from lots_of(finished.lacking(units))

    def _tell(self) -> None:
        index = self.more.index
        if index.duplicates:
            self.narrator.say(
                f"{index.duplicates} image(s) have the pixels of another and were left out."
            )
        if index.problems:
            self.narrator.warn(
                f"{len(index.problems)} image(s) could not be used; the first: {index.problems[0]}"
            )

"""Running what is missing and storing it, unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from salsanity.errors import StoreError
from salsanity.executors.serial import Executor, Failure
from salsanity.models.network import Network
from salsanity.records import UnitKey, UnitResult
from salsanity.store.directory import DirectoryStore
from salsanity.store.folder import append_log
from salsanity.suite.containing import contained
from salsanity.suite.gallery import Gallery
from salsanity.suite.narrator import Narrator


@dataclass(frozen=True)
class Work:
    """Work on a unit, contained against what user code does to `network`; `after` runs before the unit counts as done."""

    network: Network
    compute: Callable[[UnitKey], UnitResult]
    after: Callable[[], None]
    timeout: float | None = None

    def __call__(self, key: UnitKey) -> UnitResult:
        """Compute one unit."""
        with contained(self.network, self.timeout):
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
            if isinstance(found, Failure) and isinstance(found.error, StoreError):
                raise found.error  # the disk fails every unit alike
            if isinstance(found, Failure):
                failed.append({"unit": unit.digest, "draw": unit.draw, "reason": found.words})
                _log(store, unit, found)
            else:
                store.put(found)
    finally:
        if units:
            narrator.end()
    return failed


def intact_units(store: DirectoryStore, gallery: Gallery) -> list[UnitKey]:
    """List the finished units, without those whose pictures were damaged: they draw them again with their scores."""
    damaged = gallery.damaged()
    return [k for k in store.keys() if k.draw > 0 or damaged.isdisjoint(k.images)]  # noqa: SIM118


def _log(store: DirectoryStore, unit: UnitKey, failure: Failure) -> None:
    append_log(store.folder, f"unit {unit.digest} (draw {unit.draw})\n{failure.trace}")

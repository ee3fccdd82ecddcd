"""`--until-decided`: images and draws come in growing rounds; a method leaves the run once its verdict is settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from salsanity.checks.health import pooled
from salsanity.records import UnitKey
from salsanity.store.directory import DirectoryStore, all_scores
from salsanity.suite.judging import gates_of, rules_of
from salsanity.suite.narrator import Narrator
from salsanity.verdicts.sequential import Look, plan_looks, settled_at

GROUPS_PER_CHUNK = 1
"""Rounds end with a group of images, so units hold one."""


@final
@dataclass(frozen=True)
class Rounds:
    """The rounds of a run: what each adds, and who has left before it."""

    wanted: tuple[UnitKey, ...]
    looks: tuple[Look, ...]
    ids: tuple[str, ...]
    document: Mapping[str, Any]
    accuracy: Mapping[str, Any] | None

    @classmethod
    def of(
        cls,
        wanted: Sequence[UnitKey],
        ids: Sequence[str],
        document: Mapping[str, Any],
        accuracy: Mapping[str, Any] | None,
    ) -> Rounds:
        """Plan the rounds of a run of `document` that ends with all of `wanted` at the latest."""
        return cls(
            tuple(wanted), plan_looks(len(ids), document["draws"]), tuple(ids), document, accuracy
        )

    def run(
        self,
        store: DirectoryStore,
        compute: Callable[[Sequence[UnitKey]], list[dict[str, Any]]],
        narrator: Narrator,
    ) -> list[dict[str, Any]]:
        """Compute round after round until every method has left; return what failed."""
        failed: list[dict[str, Any]] = []
        for number, look in enumerate(self.looks, 1):
            settled = self.settled(store, number - 1)
            open_methods = [m for m in self.document["methods"] if m not in settled]
            if not open_methods:
                break
            narrator.say(
                f"Round {number} of {len(self.looks)}: {look.images} images, {look.draws} draws; "
                f"open: {', '.join(open_methods)}."
            )
            failed = compute(self.units(look, settled))
        return failed

    def settled(self, store: DirectoryStore, looked: int) -> dict[str, int]:
        """Return the look at which each method was settled, after so many looks."""
        if not looked:
            return {}
        records = store.records_of(self.document)
        health = pooled(entry for record in records for entry in record.notes.get("health", ()))
        return settled_at(
            all_scores(records),
            methods=self.document["methods"],
            controls=self.document["controls"],
            images=self.ids,
            looks=self.looks,
            looked=looked,
            rules=rules_of(self.document),
            gates=gates_of(self.document, self.accuracy, health),
        )

    def units(self, look: Look, settled: Mapping[str, int]) -> list[UnitKey]:
        """Return the units of a look without the methods that have left."""
        seen = set(self.ids[: look.images])
        return [
            replace(
                key, methods=tuple(m for m in key.methods if m.partition("#")[0] not in settled)
            )
            for key in self.wanted
            if key.draw < look.draws and seen.issuperset(key.images)
        ]

"""`--until-decided`: images and draws come in growing rounds; a method leaves a check once its verdict is settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from salsanity.narrator import Narrator
from salsanity.records import CheckRecord, UnitKey
from salsanity.store.directory import DirectoryStore, all_scores
from salsanity.suite.judging import Facts, checks_of, gates_of, has_rounds
from salsanity.verdicts import Look, plan_looks, settled_at

Settled = Mapping[str, Mapping[str, int]]
"""By check: the look at which each method was settled."""


@final
@dataclass(frozen=True)
class Rounds:
    """The rounds of a run: what each adds, and who has left before it."""

    wanted: tuple[UnitKey, ...]
    ids: tuple[str, ...]
    document: Mapping[str, Any]
    facts: Facts

    @property
    def records(self) -> list[CheckRecord]:
        """The checks of the run."""
        return checks_of(self.document)

    def looks(self, record: CheckRecord) -> tuple[Look, ...]:
        """Return the looks of a check, which end with everything; one where it is judged as a whole."""
        return plan_looks(
            len(self.ids), record.draws, **({} if has_rounds(record) else {"looks": 1})
        )

    def run(
        self,
        store: DirectoryStore,
        compute: Callable[[Sequence[UnitKey]], list[dict[str, Any]]],
        narrator: Narrator,
    ) -> list[dict[str, Any]]:
        """Compute round after round until every method has left every check; return what failed."""
        failed: list[dict[str, Any]] = []
        rounds = max(len(self.looks(record)) for record in self.records)
        for number in range(rounds):
            settled = self.settled(store, number)
            open_methods = self._open(settled)
            if not any(open_methods.values()):
                break
            narrator.say(self._told(number, rounds, open_methods))
            failed = compute(self.units(number, settled))
        return failed

    def settled(self, store: DirectoryStore, looked: int) -> dict[str, dict[str, int]]:
        """Return, by check, the look at which each method was settled, after so many looks."""
        in_rounds = [record for record in self.records if has_rounds(record)]
        whole = {r.name: dict.fromkeys(self.document["methods"], 0) for r in self.records}
        if not looked:
            return {record.name: {} for record in self.records}
        records = store.records_of(self.document)
        scores = all_scores(records)
        return whole | {
            record.name: settled_at(
                scores[scores["check"] == record.name],
                record,
                methods=self.document["methods"],
                controls=self.document["controls"],
                images=self.ids,
                looks=self.looks(record),
                looked=looked,
                gates=gates_of(record, self.facts, records),
            )
            for record in in_rounds
        }

    def units(self, number: int, settled: Settled) -> list[UnitKey]:
        """Return the units of a round without the methods that have left; a check with fewer looks ends with its last."""
        looks = {record.name: self.looks(record) for record in self.records}
        found = []
        whole = {record.name for record in self.records if not has_rounds(record)}
        for key in self.wanted:
            if key.check in whole:
                found.append(key)
                continue
            look = looks[key.check][min(number, len(looks[key.check]) - 1)]
            seen = set(self.ids[: look.images])
            if key.draw < look.draws and seen.issuperset(key.images):
                gone = settled[key.check]
                left = tuple(m for m in key.methods if m.partition("#")[0] not in gone)
                found.append(replace(key, methods=left))
        return found

    def _open(self, settled: Settled) -> dict[str, list[str]]:
        methods = self.document["methods"]
        return {name: [m for m in methods if m not in gone] for name, gone in settled.items()}

    def _told(self, number: int, rounds: int, open_methods: Mapping[str, Sequence[str]]) -> str:
        first = self.looks(self.records[0])
        look = first[min(number, len(first) - 1)]
        told = [", ".join(names) for names in open_methods.values() if names]
        if len(open_methods) > 1:
            told = [
                f"{check}: {', '.join(names)}" for check, names in open_methods.items() if names
            ]
        return (
            f"Round {number + 1} of {rounds}: {look.images} images, {look.draws} draws; "
            f"open: {'; '.join(told)}."
        )

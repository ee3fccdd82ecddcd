"""From a folder of scores to verdicts, gates and a report; every check is judged by its own record."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from salsanity.narrator import Narrator
from salsanity.passes.overheard import Aside
from salsanity.records import CONTROLS, REFERENCE_STAGE, CheckRecord, Verdict
from salsanity.report import read_run, write_figures, write_report
from salsanity.rows import RowArray, Rows
from salsanity.store.directory import DirectoryStore, UnitNotes, UnitRecord
from salsanity.store.merging import BEFOREHAND
from salsanity.store.pieces import plain
from salsanity.units.health import pooled
from salsanity.verdicts import (
    Gate,
    accuracy_gate,
    collapse_gates,
    distrust,
    judge,
    judge_until_decided,
    plan_looks,
    to_json,
    with_samples,
)

PLACED: Final = ("similarity", "view", "image", "draw", "stage")
"""Columns that tell a method's scores apart."""

Noted = UnitNotes | UnitRecord


@final
@dataclass(frozen=True)
class Judged:
    """A check's record, its verdicts, and the reasons why nothing can be said of anything."""

    record: CheckRecord
    verdicts: tuple[Verdict, ...]
    gates: tuple[Gate, ...]

    @property
    def controls(self) -> dict[str, Any]:
        """Return what each control had to be and what it was."""
        found = {v.method: v.outcome for v in self.verdicts if v.view is None}
        expected = self.record.controls
        return {
            name: {
                "expected": expected.get(name),
                "outcome": found[name],
                "ok": name not in expected or found[name] is expected[name],
            }
            for name in CONTROLS
            if name in found
        }

    @property
    def reasons(self) -> list[str]:
        """Return why the check cannot be trusted, or nothing."""
        whole = [g.reason for g in self.gates if g.forbids == "verdict" and g.methods is None]
        return [*distrust(self.verdicts, self.record), *whole]


@final
@dataclass(frozen=True)
class Facts:
    """What judging needs beside scores: gates of checks that were known beforehand, accuracy, failures and time.

    `unwatched`: explainers of which it is known that they depend on the network, though it is not heard to run.
    """

    gates: Mapping[str, Sequence[str]]
    accuracy: Mapping[str, Any] | None
    failed: Sequence[Mapping[str, Any]]
    seconds: float
    unwatched: frozenset[str] = frozenset()


def conclude(
    store: DirectoryStore, document: Mapping[str, Any], facts: Facts, narrator: Narrator
) -> None:
    """Judge the scores that belong to the run of `document`, and write verdicts, gates, figures and the report."""
    rows = _judge_and_write(store, document, facts, narrator)
    told = {k: v if k == "images" else plain(v) for k, v in document.items()}  # as in spec.json
    draw_report(store.folder, narrator, rows, told)


def _judge_and_write(
    store: DirectoryStore, document: Mapping[str, Any], facts: Facts, narrator: Narrator
) -> Rows:
    scores = Rows(folder=store.folder)
    records = list(store.collect(document, scores))
    health = pooled(entry for record in records for entry in record.notes.get("health", ()))
    judged = [
        _judged(scores, record, document, gates_of(record, facts, records))
        for record in checks_of(document)
    ]
    enlarged = {
        method: size
        for record in records
        for method, size in record.notes.get("enlarged", {}).items()
        if method in record.methods  # the rest of a unit may be another's by now
    }
    for method, size in enlarged.items():
        narrator.say(
            f"Maps of {method} came at {' x '.join(map(str, size))} and were enlarged bilinearly to the images' size."
        )
    store.write_json("verdicts.json", [to_json(v) for one in judged for v in one.verdicts])
    reasons = _reasons(judged, facts.failed)
    store.write_json(
        "gates.json",
        {
            "trusted": not reasons,
            "reasons": reasons,
            "checks": {one.record.name: one.reasons for one in judged},
            "controls": {one.record.name: one.controls for one in judged},
            "health": health,
            "accuracy": facts.accuracy,
            "equal_maps": equal_maps(scores, document["methods"]),
            "enlarged": enlarged,
            "unheard": unheard(records, facts),
            "time": {"seconds": _seconds(records, facts.seconds), "this_time": facts.seconds},
            "failed_units": list(facts.failed),
            BEFOREHAND: {
                "gates": {name: list(reasons) for name, reasons in facts.gates.items()},
                "unwatched": sorted(facts.unwatched),
            },
        },
    )
    return scores


def checks_of(document: Mapping[str, Any]) -> list[CheckRecord]:
    """Return the records of the run's checks."""
    return [CheckRecord.from_json(record) for record in document["checks"]]


def has_rounds(record: CheckRecord) -> bool:
    """Whether a check can be judged on some of its draws: its columns are a sample, and each stands for itself."""
    return record.test == "retained" and not record.is_fixed


def gates_of(record: CheckRecord, facts: Facts, units: Sequence[Noted]) -> tuple[Gate, ...]:
    """Return what stands in the way of verdicts: accuracy at chance, a collapsed signal where it decides, what the check said,
    explainers that gave maps without running the network that they were given."""
    decisive = {line.stage for line in record.lines}
    found = [unit for unit in units if unit.key.check == record.name]
    health = pooled(entry for unit in found for entry in unit.notes.get("health", ()))
    own = (h for h in health if h["check"] == record.name and h["stage"] in decisive)
    return (
        *(Gate(reason) for reason in facts.gates.get(record.name, ())),
        *accuracy_gate(facts.accuracy),
        *collapse_gates(own, init=record.init),
        *(Gate(str(Aside(False).refusal(m)), methods=(m,)) for m in unheard(found, facts)),
    )


def unheard(units: Iterable[Noted], facts: Facts) -> list[str]:
    """Name the explainers that gave maps without running the network that they were given."""
    found = {
        method
        for unit in units
        for method in unit.notes.get("unheard", ())
        if method in unit.methods  # the rest of a unit may be another's by now
    }
    return sorted(found - facts.unwatched)


def _judged(
    scores: Rows, record: CheckRecord, document: Mapping[str, Any], gates: tuple[Gate, ...]
) -> Judged:
    asked: dict[str, Any] = {
        "methods": document["methods"],
        "controls": document["controls"],
        "gates": gates,
        "multiplied": frozenset(document.get("multiplied", ())),
    }
    if not document.get("until_decided") or not has_rounds(record):
        found = judge(scores, record, **asked)
    else:
        ids = [image["id"] for image in document["images"]]
        looks = plan_looks(len(ids), record.draws)
        found = judge_until_decided(
            scores.frame(record.name), record, images=ids, looks=looks, **asked
        )
    return Judged(record, tuple(with_samples(found, record, samples_of(document))), gates)


def samples_of(document: Mapping[str, Any]) -> dict[str, int]:
    """Return the samples of each method that draws some, as spec.json has them."""
    told = document.get("method_settings", {})
    return {name: one["samples"] for name, one in told.items() if one.get("samples")}


def _reasons(judged: Iterable[Judged], failed: Sequence[Mapping[str, Any]]) -> list[str]:
    reasons = list(dict.fromkeys(reason for one in judged for reason in one.reasons))
    if failed:
        reasons.append(
            f"{len(failed)} unit(s) of work failed; the first: {failed[0]['reason']} (errors.log has the traceback)"
        )
    return reasons


def _seconds(records: Sequence[Noted], this_time: float) -> float:
    """Add up what the units took, whenever they ran."""
    return max(this_time, sum(float(record.notes.get("seconds") or 0) for record in records))


def equal_maps(scores: Rows, methods: Sequence[str]) -> list[list[str]]:
    """Name pairs of methods whose scores are all equal: their maps are, as for a linear network."""
    found = {name: _summed(scores, name) for name in methods}
    times = Counter(found.values())  # sorted prints are dear: only of those that may be equal
    found = {
        name: _sorted_print(scores, name) if summed and times[summed] > 1 else summed
        for name, summed in found.items()
    }
    pairs = combinations([name for name in methods if found[name]], 2)
    return [[a, b] for a, b in pairs if found[a] == found[b]]


def _summed(scores: Rows, method: str) -> str:
    """Name how many scores a method has in each check and their sums, to nine places; empty where there are none."""
    found = {}
    for check in sorted({name for name, _ in scores.buckets}):
        total = np.zeros(3, dtype=np.int64)
        for pair in scores.cells(check, method):
            part = _compared(scores, scores.read_cell(check, method, *pair))
            total += [len(part), *(_rounded(part, name).sum() for name in ("value", "chance"))]
        found[check] = total.tolist()
    return repr(found) if any(count for count, *_ in found.values()) else ""


def _sorted_print(scores: Rows, method: str) -> str:
    """Digest a method's scores to nine places, in a fixed order."""
    whole = hashlib.sha256()
    for check in sorted({name for name, _ in scores.buckets}):
        part = _compared(scores, scores.read(check, method))
        part = part[np.lexsort([part[name] for name in PLACED])]
        whole.update(f"{check} {len(part)} ".encode())
        for name in ("value", "chance"):
            whole.update(_rounded(part, name).tobytes())
    return whole.hexdigest()


def _compared(scores: Rows, part: RowArray) -> RowArray:
    """Leave out what was compared with the reference itself."""
    return part[~np.isin(part["stage"], scores.places("stage", [REFERENCE_STAGE]))]


def _rounded(part: RowArray, name: str) -> NDArray[np.int64]:
    """Return scores to nine places, as the integers that their bits are."""
    return (part[name].round(9) + 0.0).view(np.int64)


def draw_report(
    folder: Path,
    narrator: Narrator,
    rows: Rows | None = None,
    document: Mapping[str, Any] | None = None,
) -> None:
    """Draw the figures and the page; the verdicts are on disk already, so a fault here loses none of them.

    `rows`, `document`: the run's scores, and what its spec.json says, where they were read already.
    """
    narrator.say("Drawing the figures and the report.")
    held = {} if document is None else {"spec.json": document}
    run = read_run(folder, rows=rows, documents=held)
    write_figures(run, formats=("png",))
    write_report(run)

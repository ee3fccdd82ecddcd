"""The tests that a check may ask for: how a cell is measured at a line, and how the cells of a method are decided.

Rows of each, beside those of docs/reference.md:

- `retained`: similarities, set between chance and the ceiling, or another stage's agreement (`Line.against`).
- `exchange`: see `salsanity.verdicts.exchange`.
- `statistic`: `similarity` is the statistic's name, `value` the statistic of the changed map (rows of a line's stage) or of the
  reference map (stage `self`); `chance` is not looked at. Measured is (changed - reference) / reference over (image, draw); never
  a verdict.
- `cue`: `value` is the statistic q of the map of the network that follows the cue, `chance` that of the plain network of the
  same pair (`draw`: the pair) and image. Measured is D = sum(q - q_plain) / sum(1 - q_plain); lines have must="stay": PASS
  above, FAIL below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, final

import numpy as np

from salsanity.errors import StoreError
from salsanity.records import Line, Outcome
from salsanity.verdicts import words
from salsanity.verdicts.answers import Answer, Cell, Decision, Exchanged
from salsanity.verdicts.cells import decide
from salsanity.verdicts.exchange import decide_exchanged, exchanged, of_trained
from salsanity.verdicts.intervals import ALPHA
from salsanity.verdicts.retained import (
    Retained,
    mean,
    measured,
    retained_agreement,
    retained_similarity,
)
from salsanity.verdicts.table import Place, Scores


class Decide(Protocol):
    """Decides all cells of one method."""

    def __call__(self, cells: Sequence[Cell], *, alpha: float = ALPHA) -> list[Decision]:
        """Return a decision for each cell."""


@final
@dataclass(frozen=True)
class Procedure:
    """One test. `exchange`: what exchanging networks gives, where that is asked."""

    measure: Callable[[Scores, Place, Line], Retained]
    says: Callable[[str, Answer], str] = words.retains
    decide: Decide = decide
    exchange: Callable[[Scores, Place, Line], Exchanged] | None = None


def procedure(test: str) -> Procedure:
    """Return the test of a check's record.

    Raises:
        StoreError: there is no such test.
    """
    if test not in PROCEDURES:
        raise StoreError(
            f"expected a test among {', '.join(PROCEDURES)}, got {test!r}; read the folder with the version that wrote it"
        )
    return PROCEDURES[test]


def of_similarity(index: Scores, place: Place, line: Line) -> Retained:
    """Measure R against the ceiling, or against the agreement at another stage."""
    if line.against is None:
        return retained_similarity(index.table(place, line.stage))
    mixed = index.table(place, line.stage, beside=(line.against,))
    return retained_agreement(mixed, index.table(place, line.against, beside=(line.stage,)))


def of_cue(index: Scores, place: Place, line: Line) -> Retained:
    """Measure D, how much more of the map lies on the cue where the network follows it."""
    table = index.table(place, line.stage, needs=("value", "chance"))
    kept = retained_similarity(replace(table, ceiling=np.ones(table.shape[0])))
    plain, followed = np.isfinite(table.chance), np.isfinite(table.value)
    blank = mean((~followed).astype(np.float64))
    return replace(kept, alive=mean(plain.astype(np.float64)), blank=blank)


def of_statistic(index: Scores, place: Place, line: Line) -> Retained:
    """Measure how a statistic changes, as a share of its value on the reference map."""
    table = index.table(place, line.stage, needs=("value", "ceiling"))
    reference = np.where(table.ceiling == 0, np.nan, table.ceiling)[:, None]
    change = (table.value - reference) / reference
    used = np.isfinite(change)
    found = measured(change[used], used)
    kept = retained_similarity(table)  # for the counts of holes
    A = mean(np.broadcast_to(reference, used.shape)[used])
    S, nothing = mean(table.value[used]), math.nan
    return replace(
        kept,
        S=S,
        C=nothing,
        A=A,
        R=found.mean,
        top=A,
        floor=nothing,
        interval=found.interval,
        spread=found.spread,
        alone=found.alone,
        used=used,
    )


def of_pairs(index: Scores, place: Place, line: Line) -> Exchanged:
    """Exchange the networks whose maps were compared."""
    return exchanged(index.table(place, line.stage, needs=("value",)))


def measured_only(cells: Sequence[Cell], *, alpha: float = ALPHA) -> list[Decision]:
    """Write down what was measured, which is no verdict."""
    return [_measured(cell) for cell in cells]


def _measured(cell: Cell) -> Decision:
    first = cell.answers[0]
    if first.gate is not None:
        return Decision(cell, Outcome.INCONCLUSIVE, first.gate, first)
    if math.isnan(first.retained.R):
        reason = f"a measurement without a verdict, and no map has one: {words.uninformative(cell.name, first)}"
        return Decision(cell, Outcome.UNINFORMATIVE, reason, first)
    reason = f"a measurement without a verdict: {first.says(cell.name, first)}"
    return Decision(cell, Outcome.UNINFORMATIVE, reason, first)


PROCEDURES: Final[Mapping[str, Procedure]] = {
    "retained": Procedure(of_similarity),
    "exchange": Procedure(of_trained, decide=decide_exchanged, exchange=of_pairs),
    "statistic": Procedure(of_statistic, says=words.measures, decide=measured_only),
    "cue": Procedure(of_cue, says=words.shows),
}

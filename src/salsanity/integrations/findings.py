"""What trackers and cards are told of a result: one finding per check and method."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from salsanity.records import Outcome
from salsanity.report import card_of
from salsanity.report.card import CardCell, CardColumn
from salsanity.suite.result import Result

FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9_.: -]+")
"""What some tracker refuses in the name of a number; a slash divides a name into its parts."""
LONGEST: Final = 200
"""Characters of a name at most, of the 250 that trackers take."""


@final
@dataclass(frozen=True)
class Finding:
    """What one check says of one method; `number`, `low` and `high` are NaN where nothing was measured.

    `number`: what is left of a map's similarity, in the cell that decides, with its 90 % interval.
    """

    check: str
    method: str
    outcome: Outcome
    number: float
    low: float
    high: float
    reason: str
    is_trusted: bool


def findings(result: Result) -> tuple[Finding, ...]:
    """Return what every check says of every method, controls left out."""
    card = card_of(result.run)
    return tuple(
        _finding(column, row.method, cell)
        for k, column in enumerate(card.columns)
        for row in card.rows
        if (cell := row.cells[k]) is not None
    )


def _finding(column: CardColumn, method: str, cell: CardCell) -> Finding:
    low, high = cell.interval
    return Finding(
        column.key, method, cell.outcome, cell.number, low, high, cell.reason, column.trusted
    )


def numbers(result: Result, *, prefix: str) -> dict[str, float]:
    """Return what was measured as `prefix/check/method/retained`, with its bounds under `.../low` and `.../high`."""
    found = findings(result)
    told = {
        f"{name}/{part}": value
        for name, one in zip(names(found, prefix=prefix), found, strict=True)
        for part, value in (("retained", one.number), ("low", one.low), ("high", one.high))
    }
    return {name: value for name, value in told.items() if math.isfinite(value)}


def outcomes(result: Result, *, prefix: str) -> dict[str, str]:
    """Return the outcomes by name, `prefix/check/method`."""
    found = findings(result)
    return {
        name: str(one.outcome) for name, one in zip(names(found, prefix=prefix), found, strict=True)
    }


def settings(result: Result, *, prefix: str) -> dict[str, object]:
    """Return how it was run, by name: sizes, seed, and whether it can be trusted."""
    spec = result.spec
    plain = {name: spec[name] for name in ("draws", "seed", "init") if _is_plain(spec.get(name))}
    counted = {"images": len(spec.get("images", ())), "trusted": result.trusted}
    return {f"{prefix}.{name}": value for name, value in {**plain, **counted}.items()}


def names(found: Sequence[Finding], *, prefix: str) -> tuple[str, ...]:
    """Return a name for each finding that every tracker takes; no two are the same."""
    return tuple(_unlike_others(f"{prefix}/{_plain(f.check)}/{_plain(f.method)}" for f in found))


def _plain(text: str) -> str:
    return FORBIDDEN.sub("_", text).strip("_ ")


def _unlike_others(wanted: Iterator[str]) -> Iterator[str]:
    """Number what would be told twice, after it was cut and freed of signs."""
    used: set[str] = set()
    for name in wanted:
        own, count = name[:LONGEST], 2
        while own in used:
            own, count = f"{name[:LONGEST]}_{count}", count + 1
        used.add(own)
        yield own


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def as_table(found: Sequence[Finding]) -> Mapping[str, list[object]]:
    """Return findings as columns."""
    return {
        "check": [one.check for one in found],
        "method": [one.method for one in found],
        "outcome": [str(one.outcome) for one in found],
        "retained": [one.number for one in found],
        "low": [one.low for one in found],
        "high": [one.high for one in found],
        "reason": [one.reason for one in found],
    }

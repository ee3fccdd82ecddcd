"""Verdicts as JSON values: outcomes as strings, NaN and infinite bounds as null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from salsanity.errors import StoreError
from salsanity.records import Kept, Outcome, Verdict

FLOATS: Final = frozenset(f.name for f in fields(Verdict) if f.type == "float")
BY_LINE: Final = "retained"
"""How the keys begin that repeat, for readers, what stands in `kept`: `retained`, `retained_<line>`, and both with `_ci`."""


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Return the fields of a verdict as JSON values, and what was retained at each line under its name."""
    value = {name: _plain(field) for name, field in asdict(verdict).items()}
    first = {"retained": verdict.retained, "retained_ci": verdict.retained_ci}
    by_line = {
        key: number
        for kept in verdict.kept
        for key, number in (
            (f"retained_{kept.line}", kept.retained),
            (f"retained_{kept.line}_ci", kept.retained_ci),
        )
    }
    return {**value, **{key: _plain(number) for key, number in {**first, **by_line}.items()}}


def from_json(value: Mapping[str, Any]) -> Verdict:
    """Read what `to_json` wrote.

    Raises:
        StoreError: the keys or the outcome are those of no verdict.
    """
    try:
        own = {k: v for k, v in value.items() if not k.startswith(BY_LINE)}
        read: dict[str, Any] = {k: _number(v) if k in FLOATS else v for k, v in own.items()}
        kept = tuple(map(_kept, value["kept"]))
        return Verdict(**{**read, "outcome": Outcome(value["outcome"]), "kept": kept})
    except (TypeError, KeyError, ValueError) as error:
        raise StoreError(
            f"expected a verdict of this version's format; got {dict(value)!r} ({error}); "
            "read the folder with the version of salsanity that wrote it"
        ) from error


def _kept(value: Mapping[str, Any]) -> Kept:
    low, high = value["retained_ci"]
    numbers = {"retained": _number(value["retained"]), "retained_ci": (_number(low), _number(high))}
    return Kept(**{**value, **numbers})


def _plain(value: Any) -> Any:
    if isinstance(value, Outcome):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _plain(field) for name, field in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)

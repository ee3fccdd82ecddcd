"""Verdicts as JSON values: outcomes as strings, NaN as null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from salsanity.errors import StoreError
from salsanity.records import LabelVerdict, Outcome, Verdict


def to_json(verdict: Verdict | LabelVerdict) -> dict[str, Any]:
    """Return the fields of a verdict as JSON values."""
    return {name: _plain(value) for name, value in asdict(verdict).items()}


def from_json(value: Mapping[str, Any]) -> Verdict | LabelVerdict:
    """Read what `to_json` wrote; `retained` marks a verdict of the data randomisation answer.

    Raises:
        StoreError: the keys or the outcome are those of no verdict.
    """
    kind: type[LabelVerdict] | type[Verdict] = LabelVerdict if "retained" in value else Verdict
    numbers = {f.name for f in fields(kind) if f.type in ("float", "tuple[float, float]")}
    try:
        read: dict[str, Any] = {k: _number(v) if k in numbers else v for k, v in value.items()}
        return kind(**{**read, "outcome": Outcome(value["outcome"])})
    except (TypeError, KeyError, ValueError) as error:
        raise StoreError(
            f"expected a verdict of this version's format; got {dict(value)!r} ({error}); "
            "read the folder with the version of salsanity that wrote it"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Outcome):
        return str(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _number(value: Any) -> float | tuple[float, ...]:
    if isinstance(value, list | tuple):
        return tuple(math.nan if v is None else float(v) for v in value)
    return math.nan if value is None else float(value)

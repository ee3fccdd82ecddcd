"""Taking over the finished units of a folder of format 1, so that the same command continues it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from salsanity.records import UnitKey, UnitResult
from salsanity.store.directory import DirectoryStore, UnitRecord, asked_units
from salsanity.store.upgrade import NAMES, renamed


def adopt(store: DirectoryStore, old: Mapping[str, Any], wanted: Sequence[UnitKey]) -> int:
    """Write units of format 1 again under the keys that they have today, and return how many.

    `old`: the folder's spec.json, upgraded; that network, images and settings are the same was found out before. Units of
    another run in the folder are left alone; so is what explainers of the user's gave, whose code format 1 did not know.
    """
    asked = asked_units(old)
    places = {(key.images, key.draw, key.check): key for key in wanted}
    adopted = 0
    for record in [*store.records()]:
        today = places.get((record.key.images, record.key.draw, NAMES.get(record.key.check, "")))
        if today is None or (asked is not None and record.key.place not in asked["places"]):
            continue
        result = _today(record, today)
        if result is not None:
            store.put(result)
            store.unit_path(record.key).unlink()
            adopted += 1
    return adopted


def _today(record: UnitRecord, today: UnitKey) -> UnitResult | None:
    """Return the unit's scores under today's key; None where nothing in it is what is wanted today, or stages lack."""
    scores = renamed(record.scores)
    if not set(today.stages) <= set(scores["stage"]):
        return None
    methods = tuple(m for m in record.key.methods if m in today.methods)
    similarities = tuple(s for s in record.key.similarities if s in today.similarities)
    if not methods or not similarities:
        return None
    names = [key.partition("#")[0] for key in methods]
    kept = scores[scores["method"].isin(names)]
    kept = kept[kept["similarity"].isin([key.partition("#")[0] for key in similarities])]
    health = [{"check": today.check, **entry} for entry in record.notes.get("health", ())]
    key = replace(today, methods=methods, similarities=similarities)
    columns = {str(name): kept[name].tolist() for name in kept.columns}
    return UnitResult(key, columns, {**record.notes, "health": health})

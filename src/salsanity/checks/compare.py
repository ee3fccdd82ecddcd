"""From maps to rows of scores: the same image before and after, and another image for chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from salsanity.checks.explain import Explained
from salsanity.records import VIEWS
from salsanity.similarity import Scores, Similarity, View, view

Cell = tuple[str, str, str]
"""(method, view, similarity)."""


STACKED: Final = 16
"""Maps that are prepared together at most."""


@dataclass(frozen=True)
class Prepared:
    """Features of one method's maps of a batch, or why there are none."""

    features: Any
    reasons: tuple[str | None, ...]


@dataclass(frozen=True)
class Reference:
    """Features of the trained network's maps, and those maps that no pass made, by method."""

    features: dict[Cell, Prepared]
    passless: dict[str, Tensor]

    @classmethod
    def of(
        cls, maps: Mapping[str, Explained], similarities: Sequence[Similarity[Any]]
    ) -> Reference:
        """Compute the features of reference maps."""
        passless = {m: e.maps.clone() for m, e in maps.items() if e.passless and e.maps is not None}
        return cls(prepare(maps, similarities), passless)


def prepare(
    maps: Mapping[str, Explained],
    similarities: Sequence[Similarity[Any]],
    known: Reference | None = None,
) -> dict[Cell, Prepared]:
    """Compute the features of every method, view and similarity once.

    Maps that no pass made and that equal those of `known` have its features: controls that see the image alone. Methods of few
    maps are prepared together, so that there is enough to spread over threads.
    """
    found: dict[Cell, Any] = {}
    given = {m: explained.maps for m, explained in maps.items() if explained.maps is not None}
    if known is not None:
        again = {m for m, made in given.items() if _equal(known.passless.get(m), made)}
        found = {c: old.features for c, old in known.features.items() if c[0] in again}
        given = {m: made for m, made in given.items() if m not in again}
    for name in VIEWS:
        for stack in _stacks({m: _view(made, name) for m, made in given.items()}):
            for similarity in similarities:
                for method, features in _features(similarity, stack).items():
                    found[method, name, similarity.name] = features
    cells = [(m, name, s.name) for m in maps for name in VIEWS for s in similarities]
    return {cell: Prepared(found.get(cell), maps[cell[0]].reasons) for cell in cells}


def _stacks(views: Mapping[str, View]) -> list[dict[str, View]]:
    """Put methods together whose views have one shape, up to `STACKED` maps.

    On a CPU only: elsewhere a sum over a row may depend on how many rows there are.
    """
    stacks: list[dict[str, View]] = []
    for method, seen in views.items():
        shape = seen.values.shape
        on_cpu = seen.values.device.type == "cpu"
        if stacks and on_cpu and (len(stacks[-1]) + 1) * shape[0] <= STACKED:
            first = next(iter(stacks[-1].values())).values
            if first.shape == shape and first.dtype == seen.values.dtype:
                stacks[-1][method] = seen
                continue
        stacks.append({method: seen})
    return stacks


def _features(similarity: Similarity[Any], stack: Mapping[str, View]) -> dict[str, Any]:
    if len(stack) == 1:
        return {method: similarity.prepare(seen) for method, seen in stack.items()}
    views = list(stack.values())
    together = similarity.prepare(View(torch.cat([v.values for v in views]), views[0].signed))
    size = len(views[0].values)
    return {m: together.take(range(i * size, (i + 1) * size)) for i, m in enumerate(stack)}


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b)


def _view(maps: Tensor, name: str) -> View:
    return view(maps if maps.dim() > 2 else maps.unsqueeze(1), signed=name == "signed")


@dataclass
class Rows:
    """Columns of scores, growing; `stage`, `draw` and the rest as in the run folder."""

    check: str
    images: tuple[str, ...]
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def add(
        self,
        cell: Cell,
        *,
        stage: tuple[str, int],
        draw: int,
        values: Sequence[float],
        chances: Sequence[float],
        reasons: Sequence[str | None],
    ) -> None:
        """Append one row per image."""
        n = len(self.images)
        method, view_name, similarity = cell
        added: dict[str, Sequence[Any]] = {
            "check": [self.check] * n,
            "draw": [draw] * n,
            "stage": [stage[0]] * n,
            "stage_index": [stage[1]] * n,
            "image": self.images,
            "method": [method] * n,
            "view": [view_name] * n,
            "similarity": [similarity] * n,
            "value": values,
            "chance": chances,
            "reason": reasons,
        }
        for name, column in added.items():
            self.columns.setdefault(name, []).extend(column)


@dataclass(frozen=True)
class Comparison:
    """Similarities of one cell at one stage: with the same image, and with its partner."""

    values: list[float]
    chances: list[float]
    reasons: list[str | None]


def compare(
    similarity: Similarity[Any],
    reference: Prepared,
    changed: Prepared,
    partners: Sequence[int | None] | None,
) -> Comparison:
    """Compare reference map i with changed map i, and, for chance, with changed map `partners[i]`."""
    n = len(reference.reasons)
    if reference.features is None or changed.features is None:
        reasons = [a or b for a, b in zip(reference.reasons, changed.reasons, strict=True)]
        return Comparison([math.nan] * n, [math.nan] * n, [r or "no map" for r in reasons])
    values, reasons = _values(
        similarity.compare(reference.features, changed.features), reference, changed, range(n)
    )
    if partners is None:
        return Comparison(values, [math.nan] * n, reasons)
    order = [i if partner is None else partner for i, partner in enumerate(partners)]
    chances, why = [math.nan] * n, list[str | None]([None] * n)
    if any(partner is not None for partner in partners):
        others = similarity.compare(reference.features, changed.features.take(order))
        chances, why = _values(others, reference, changed, order)
    for i, partner in enumerate(partners):
        if partner is None:
            chances[i], why[i] = math.nan, "no other image to compare with"
    merged = [a or (b and f"chance: {b}") for a, b in zip(reasons, why, strict=True)]
    return Comparison(values, chances, merged)


def _values(
    scores: Scores, reference: Prepared, changed: Prepared, order: Sequence[int]
) -> tuple[list[float], list[str | None]]:
    values = scores.values.to("cpu", torch.float64).tolist()
    reasons = [
        reference.reasons[i] or changed.reasons[j] or scores.reasons[i] for i, j in enumerate(order)
    ]
    kept = [math.nan if why else value for value, why in zip(values, reasons, strict=True)]
    return kept, reasons

"""From maps to rows of scores: the same image before and after, and another image for chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from salsanity.records import VIEWS
from salsanity.similarity import Scores, Similarity, View, view
from salsanity.units.explain import Explained

Cell = tuple[str, str, str]
"""(method, view, similarity)."""


STACKED: Final = 16
"""Maps that are prepared together at most."""


@dataclass(frozen=True)
class Prepared:
    """Features of one method's maps of a batch, or why there are none; which maps are finite and not constant."""

    features: Any
    reasons: tuple[str | None, ...]
    alive: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Reference:
    """Features of the trained network's maps, and those maps that no pass made, by method."""

    features: dict[Cell, Prepared]
    passless: dict[str, Tensor]

    @classmethod
    def of(cls, features: dict[Cell, Prepared], maps: Mapping[str, Explained]) -> Reference:
        """Keep features, and copies of the maps that no pass made: a method may write its buffer anew."""
        own = {m: e.maps.clone() for m, e in maps.items() if e.passless and e.maps is not None}
        return cls(features, own)


def prepare(
    maps: Mapping[str, Explained],
    similarities: Sequence[Similarity[Any]],
    known: Reference | None = None,
    *,
    views: Sequence[str] = VIEWS,
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
    for name in views:
        for stack in _stacks({m: _view(made, name) for m, made in given.items()}):
            for similarity in similarities:
                for method, features in _features(similarity, stack).items():
                    found[method, name, similarity.name] = features
    cells = [(m, name, s.name) for m in maps for name in views for s in similarities]
    alive = {m: alive_maps(explained) for m, explained in maps.items()}
    return {c: Prepared(found.get(c), maps[c[0]].reasons, alive[c[0]]) for c in cells}


def alive_maps(explained: Explained) -> tuple[bool, ...]:
    """Say of each image whether its map is there, finite and not constant."""
    if explained.maps is None:
        return (False,) * len(explained.reasons)
    flat = explained.maps.flatten(1)
    alive = torch.isfinite(flat).all(1) & (flat.amax(1) > flat.amin(1))
    return tuple(a and not why for a, why in zip(alive.tolist(), explained.reasons, strict=True))


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
    partners: Sequence[Sequence[int]] | None,
    *,
    most: int = 1,
) -> Comparison:
    """Compare reference map i with changed map i and, for chance, with those of the next `most` alive partners.

    `partners`: per image, positions in order; None: no chance is asked for. Chance is the mean over the partners with which the
    similarity is defined. Source: docs/science.md.
    """
    n = len(reference.reasons)
    if reference.features is None or changed.features is None:
        reasons = [a or b for a, b in zip(reference.reasons, changed.reasons, strict=True)]
        return Comparison([math.nan] * n, [math.nan] * n, [r or "no map" for r in reasons])
    values, reasons = _values(
        similarity.compare(reference.features, changed.features), reference, changed, range(n)
    )
    if partners is None:
        return Comparison(values, [math.nan] * n, reasons)
    chances, why = chance(similarity, reference, changed, partners, most=most)
    merged = [a or (b and f"chance: {b}") for a, b in zip(reasons, why, strict=True)]
    return Comparison(values, chances, merged)


def chance(
    similarity: Similarity[Any],
    reference: Prepared,
    changed: Prepared,
    partners: Sequence[Sequence[int]],
    *,
    most: int,
) -> tuple[list[float], list[str | None]]:
    """Return the mean similarity of reference map i and its partners' changed maps, and why there is none."""
    chosen = [[j for j in row if changed.alive[j]][:most] for row in partners]
    sums, counts = [0.0] * len(chosen), [0] * len(chosen)
    why: list[str | None] = [_no_partner(row) for row in partners]
    for k in range(max(map(len, chosen), default=0)):
        order = [row[k] if k < len(row) else i for i, row in enumerate(chosen)]
        scores = similarity.compare(reference.features, changed.features.take(order))
        values, reasons = _values(scores, reference, changed, order)
        for i, row in enumerate(chosen):
            if k >= len(row):
                continue
            if reasons[i] is None:
                sums[i] += values[i]
                counts[i] += 1
            else:
                why[i] = reasons[i]
    means = [total / n if n else math.nan for total, n in zip(sums, counts, strict=True)]
    return means, [None if n else reason for n, reason in zip(counts, why, strict=True)]


def _no_partner(row: Sequence[int]) -> str:
    if row:
        return "every other map of the group is blank"
    return "no other image to compare with"


def _values(
    scores: Scores, reference: Prepared, changed: Prepared, order: Sequence[int]
) -> tuple[list[float], list[str | None]]:
    values = scores.values.to("cpu", torch.float64).tolist()
    reasons = [
        reference.reasons[i] or changed.reasons[j] or scores.reasons[i] for i, j in enumerate(order)
    ]
    kept = [math.nan if why else value for value, why in zip(values, reasons, strict=True)]
    return kept, reasons

"""From maps to rows of scores: the same image before and after, and another image for chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from salsanity.records import VIEWS
from salsanity.similarity import Similarity, View, view
from salsanity.similarity.batches import CACHED_ELEMENTS, extremes
from salsanity.units.explain import Explained

Cell = tuple[str, str, str]
"""(method, view, similarity)."""


STACKED: Final = 16
"""Maps that are prepared together at most, or as many as fit the cache where they are small."""


@dataclass(frozen=True)
class Prepared:
    """Features of one method's maps of a batch, or why there are none; which maps are finite and not constant.

    `rounds`: how often the batch may be compared in one call, each time in another order.
    """

    features: Any
    reasons: tuple[str | None, ...]
    alive: tuple[bool, ...] = ()
    rounds: int = 1


@dataclass(frozen=True)
class Reference:
    """Features of the trained network's maps, and those maps that no pass made, by method."""

    features: dict[Cell, Prepared]
    passless: dict[str, Tensor]
    itself: dict[tuple[Cell, bool], Comparison] = field(default_factory=dict)
    """What comparing a cell with itself gave, without and with chance."""

    @classmethod
    def of(cls, features: dict[Cell, Prepared], maps: Mapping[str, Explained]) -> Reference:
        """Keep features, and copies of the maps that no pass made: a method may write its buffer anew."""
        own = {m: e.maps.clone() for m, e in maps.items() if e.passless and e.maps is not None}
        return cls(features, own)

    def compared(
        self,
        cell: Cell,
        similarity: Similarity[Any],
        changed: Prepared,
        partners: Sequence[Sequence[int]] | None,
        *,
        most: int,
    ) -> Comparison:
        """Return `compare` with changed maps of a cell; where `prepare` took this reference's over, it is made once.

        `partners` and `most` are those of the chunk whenever they are given.
        """
        prepared, place = self.features[cell], (cell, partners is not None)
        if changed is prepared and place in self.itself:
            return self.itself[place]
        found = compare(similarity, prepared, changed, partners, most=most)
        if changed is prepared:
            self.itself[place] = found
        return found


def prepare(
    maps: Mapping[str, Explained],
    similarities: Sequence[Similarity[Any]],
    known: Reference | None = None,
    *,
    views: Sequence[str] = VIEWS,
) -> dict[Cell, Prepared]:
    """Compute the features of every method, view and similarity once.

    Maps that no pass made and that equal those of `known` are taken over from it: controls that see the image alone. Methods
    of few or small maps are prepared together, so that there is enough to spread over threads.
    """
    known = known or Reference({}, {})
    again = {m for m, e in maps.items() if _equal(known.passless.get(m), e.maps)}
    found = {c: _again(old, maps[c[0]]) for c, old in known.features.items() if c[0] in again}
    given = {m: e.maps for m, e in maps.items() if e.maps is not None and m not in again}
    alive = {m: alive_maps(explained) for m, explained in maps.items() if m not in again}
    for name in views:
        for stack in _stacks({m: _view(made, name) for m, made in given.items()}):
            for similarity in similarities:
                for m, features in _features(similarity, stack).items():
                    rounds = max(1, _room(stack[m]) // max(1, len(stack[m].values)))
                    done = Prepared(features, maps[m].reasons, alive[m], rounds)
                    found[m, name, similarity.name] = done
    cells = [(m, name, s.name) for m in maps for name in views for s in similarities]
    lacking = {m: Prepared(None, maps[m].reasons, made) for m, made in alive.items()}
    return {c: found.get(c) or lacking[c[0]] for c in cells}


def _again(old: Prepared, explained: Explained) -> Prepared:
    """Return features of the same maps; the images that have none now may be others."""
    if old.reasons == explained.reasons:
        return old
    return replace(old, reasons=explained.reasons, alive=alive_maps(explained))


def alive_maps(explained: Explained) -> tuple[bool, ...]:
    """Say of each image whether its map is there, finite and not constant."""
    if explained.maps is None:
        return (False,) * len(explained.reasons)
    low, high = extremes(explained.maps.flatten(1))  # both are NaN where a map has NaN
    alive = low.isfinite() & high.isfinite() & (high > low)
    return tuple(a and not why for a, why in zip(alive.tolist(), explained.reasons, strict=True))


def _stacks(views: Mapping[str, View]) -> list[dict[str, View]]:
    """Put methods together whose views have one shape, up to `STACKED` maps or as many as there is room for."""
    stacks: list[dict[str, View]] = []
    for method, seen in views.items():
        shape = seen.values.shape
        most = max(STACKED, _room(seen)) if seen.values.device.type == "cpu" else 0
        if stacks and (len(stacks[-1]) + 1) * shape[0] <= most:
            first = next(iter(stacks[-1].values())).values
            if first.shape == shape and first.dtype == seen.values.dtype:
                stacks[-1][method] = seen
                continue
        stacks.append({method: seen})
    return stacks


def _room(seen: View) -> int:
    """Return how many such maps fit the cache together.

    0 but on a CPU: elsewhere a sum over a row may depend on how many rows there are.
    """
    pixels = seen.values.shape[1:].numel()
    return CACHED_ELEMENTS // max(1, pixels) if seen.values.device.type == "cpu" else 0


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
    chosen = _chosen(partners or (), changed, most)
    first, *others = _scored(similarity, reference, changed, [range(n), *_orders(chosen)])
    if partners is None:
        return Comparison(first.values, [math.nan] * n, first.reasons)
    chances, why = _means(others, chosen, partners)
    merged = [a or (b and f"chance: {b}") for a, b in zip(first.reasons, why, strict=True)]
    return Comparison(first.values, chances, merged)


def chance(
    similarity: Similarity[Any],
    reference: Prepared,
    changed: Prepared,
    partners: Sequence[Sequence[int]],
    *,
    most: int,
) -> tuple[list[float], list[str | None]]:
    """Return the mean similarity of reference map i and its partners' changed maps, and why there is none."""
    chosen = _chosen(partners, changed, most)
    return _means(_scored(similarity, reference, changed, _orders(chosen)), chosen, partners)


def _chosen(partners: Sequence[Sequence[int]], changed: Prepared, most: int) -> list[list[int]]:
    return [[j for j in row if changed.alive[j]][:most] for row in partners]


def _orders(chosen: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return, for the first partner of each image, the second and so on, whose map is compared; without one its own."""
    return [
        [row[k] if k < len(row) else i for i, row in enumerate(chosen)]
        for k in range(max(map(len, chosen), default=0))
    ]


@dataclass(frozen=True)
class _Round:
    """Similarities of every image of a batch with one other map, and why there is none."""

    values: list[float]
    reasons: list[str | None]


def _means(
    rounds: Iterable[_Round], chosen: Sequence[Sequence[int]], partners: Sequence[Sequence[int]]
) -> tuple[list[float], list[str | None]]:
    """Return the mean of each image over the partners with which there is a similarity, and why there is none."""
    sums, counts = [0.0] * len(chosen), [0] * len(chosen)
    why: list[str | None] = [_no_partner(row) for row in partners]
    for k, one in enumerate(rounds):
        for i, row in enumerate(chosen):
            if k >= len(row):
                continue
            if one.reasons[i] is None:
                sums[i] += one.values[i]
                counts[i] += 1
            else:
                why[i] = one.reasons[i]
    means = [total / n if n else math.nan for total, n in zip(sums, counts, strict=True)]
    return means, [None if n else reason for n, reason in zip(counts, why, strict=True)]


def _no_partner(row: Sequence[int]) -> str:
    if row:
        return "every other map of the group is blank"
    return "no other image to compare with"


def _scored(
    similarity: Similarity[Any],
    reference: Prepared,
    changed: Prepared,
    orders: Sequence[Sequence[int]],
) -> Iterator[_Round]:
    """Compare reference map i with changed map order[i], for every order; small maps in several orders at once."""
    n = len(reference.reasons)
    for start in range(0, len(orders), changed.rounds):
        together = orders[start : start + changed.rounds]
        ours, theirs = list(range(n)) * len(together), [j for order in together for j in order]
        a, b = (_in_order(p.features, at, n) for p, at in ((reference, ours), (changed, theirs)))
        scores = similarity.compare(a, b)
        values = scores.values.to("cpu", torch.float64).tolist()
        reasons = [
            reference.reasons[i] or changed.reasons[j] or told
            for i, j, told in zip(ours, theirs, scores.reasons, strict=True)
        ]
        kept = [math.nan if why else value for value, why in zip(values, reasons, strict=True)]
        for first in range(0, len(kept), n):
            yield _Round(kept[first : first + n], reasons[first : first + n])


def _in_order(features: Any, order: Sequence[int], n: int) -> Any:
    """Take features in an order; all n of them as they are."""
    return features if order == list(range(n)) else features.take(order)

"""From a spec to units: which images share a chunk, who is whose partner for chance, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar, final

from salsanity.records import GROUP, UnitKey
from salsanity.store.directory import Brief

Entry = TypeVar("Entry")


def grouped(count: int, *, size: int = GROUP) -> list[range]:
    """Cut `count` images into consecutive groups of `size`; a last group of one joins the one before."""
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], count]
    return [range(start, end) for start, end in zip(starts, ends, strict=True)]


def chunked(count: int, *, gallery: int, groups_per_chunk: int) -> list[range]:
    """Join groups into chunks; those of the gallery come first and are kept apart from the others."""
    groups = grouped(count)
    shown = sum(1 for group in groups if group.start < gallery)
    chunks = [*groups[:shown]]
    rest = groups[shown:]
    for first in range(0, len(rest), groups_per_chunk):
        part = rest[first : first + groups_per_chunk]
        chunks.append(range(part[0].start, part[-1].stop))
    return chunks


def in_chunks(
    entries: Iterable[Entry], *, gallery: int, groups_per_chunk: int
) -> Iterator[list[Entry]]:
    """Cut entries into the chunks of `chunked` as they come: a chunk is whole once two more are known."""
    held: list[Entry] = []
    start = 0
    for entry in entries:
        held.append(entry)
        size = GROUP if start < gallery else GROUP * groups_per_chunk
        if len(held) >= size + 2:
            yield held[:size]
            held, start = held[size:], start + size
    left = chunked(start + len(held), gallery=gallery, groups_per_chunk=groups_per_chunk)
    for chunk in left:
        if chunk.start >= start:
            yield held[chunk.start - start : chunk.stop - start]


def partners(ids: Sequence[str]) -> list[tuple[int, ...]]:
    """For each image of a chunk, the positions of the others of its group with other pixels, the next one first, cyclically."""
    found: list[tuple[int, ...]] = [()] * len(ids)
    for group in grouped(len(ids)):
        for i in group:
            after = [*range(i + 1, group.stop), *range(group.start, i)]
            found[i] = tuple(j for j in after if ids[j] != ids[i])
    return found


def missing_units(wanted: Iterable[UnitKey], have: Iterable[UnitKey | Brief]) -> list[UnitKey]:
    """Return units for what `wanted` holds and `have` lacks, in order.

    A unit that another method or similarity was added to shrinks to what is missing.
    """
    return Finished.of(have).lacking(wanted)


@final
@dataclass(frozen=True)
class Finished:
    """Methods and similarities that are there, by place."""

    done: Mapping[str, frozenset[tuple[str, str]]]

    @classmethod
    def of(cls, have: Iterable[UnitKey | Brief]) -> Finished:
        """Put together what units hold."""
        done: dict[str, frozenset[tuple[str, str]]] = {}
        known: dict[object, frozenset[tuple[str, str]]] = {}  # most units hold the same
        for key in have:
            named = key.methods, key.similarities
            pairs = known.setdefault(named, frozenset(product(*named)))
            before = done.get(key.place)
            done[key.place] = pairs if before is None else before | pairs
        return cls(done)

    def lacking(self, wanted: Iterable[UnitKey]) -> list[UnitKey]:
        """Return units for what `wanted` holds and this lacks, in order."""
        return [p for k in wanted for p in _lacking(k, self.done.get(k.place, frozenset()))]


def _lacking(key: UnitKey, done: frozenset[tuple[str, str]]) -> list[UnitKey]:
    parts: dict[tuple[str, ...], list[str]] = {}
    for method in key.methods:
        lacks = tuple(s for s in key.similarities if (method, s) not in done)
        if lacks:
            parts.setdefault(lacks, []).append(method)
    return [
        replace(key, methods=tuple(methods), similarities=lacks) for lacks, methods in parts.items()
    ]

"""Trying explainers that are not ours before the long part: on an image of the trained network and of changed ones.

One that raises everywhere, or never looks at the network that it is given, is found out in seconds; whether its maps are the
same in a batch, and what a map costs, is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from salsanity.checks.frame import Check, State
from salsanity.methods import Method
from salsanity.passes.overheard import together
from salsanity.records import UnitKey
from salsanity.units.explain import Explained
from salsanity.units.work import Unit, Worker

MOST_IMAGES: Final = 4
"""An explainer that raises is given so many images before it counts as one that raises everywhere."""

SOON: Final = 0.5
"""Maps that take fewer seconds are timed again, of several images after each other, as units will ask for them."""

DEAR: Final = 5.0
"""Maps that take more seconds are not tried in a batch: trying costs some eight of them."""

SKETCH: Final = 8
"""Side of the coarse map by which a run that is continued tells that an explainer gives other maps than it gave."""

ROUNDING: Final = 1e-4
"""A map in a batch may differ from the same map alone by this share of its largest value."""


@final
@dataclass(frozen=True)
class Tried:
    """What became of an explainer: the seconds of one map, why no verdict on it could be given, and what it printed.

    `batched`: its maps are the same alone and in a batch, which is faster: it may be given batches.

    `is_heard`: whether the network was heard to run whenever a map was given; one that reads weights by itself is not heard.
    `is_unmoved`: whether its maps of a changed network are those of the trained one, to the bit.
    `sketch`: its map of the trained network at the first image, coarse; empty where another call gives another map.
    """

    name: str
    seconds: float
    why_not: str | None = None
    is_heard: bool = True
    said: str = ""
    batched: bool = False
    is_unmoved: bool = False
    sketch: tuple[float, ...] = ()

    @property
    def doubt(self) -> str | None:
        """What is to be asked of an explainer whose maps are the same of every network; None where they are not."""
        if not self.is_unmoved:
            return None
        return (
            f"{self.name} gives the same maps, to the last bit, of the trained network and of a changed one. If it should not, "
            "it explains another network than the one that it is handed: one of an earlier call, or read from a file."
        )


@final
@dataclass(frozen=True)
class Attempt:
    """One image explained in one state, and how to do it again."""

    image: str
    is_changed: bool
    explained: Explained
    seconds: float
    again: Callable[[], Explained]

    @property
    def has_map(self) -> bool:
        """Whether a map came of it."""
        return self.explained.maps is not None and self.explained.reasons[0] is None

    @property
    def is_heard(self) -> bool:
        """Whether the network was heard to run, or nobody listened."""
        return self.explained.aside is None or self.explained.aside.called


def tried(
    worker: Worker, method: Method, ids: Sequence[str], *, batched: bool | None = None
) -> Tried:
    """Try an explainer on the first of the images `ids`, on some more while it raises, and in a batch.

    `batched`: what was found when the run began; batches are then asked to give the same maps, not to be faster again.
    """
    attempts: list[Attempt] = []
    for image in ids[:MOST_IMAGES]:
        attempts += _attempts(worker, method, image)
        if not attempts:  # checks that cannot be asked themselves: their units tell it
            return Tried(method.name, 0.0)
        if _lost(attempts, method.name) is None:
            break
    aside = together(attempt.explained.aside for attempt in attempts)
    seconds = min(attempt.seconds for attempt in attempts)
    good = [attempt for attempt in attempts if attempt.has_map]
    is_heard = all(attempt.is_heard for attempt in good)
    why_not = _lost(attempts, method.name)
    if why_not is None and not is_heard and not _depends(good) and aside is not None:
        why_not = aside.refusal(method.name)
    if why_not is None and aside is not None:
        why_not = aside.stale(method.name)
    said = "" if aside is None else aside.said
    sketch = _sketch(good, ids[0]) if why_not is None else ()
    found = Tried(
        method.name, seconds, why_not, is_heard, said, is_unmoved=_unmoved(good), sketch=sketch
    )
    if why_not is not None or seconds > DEAR or batched is False:
        return found
    several = _several(worker, method, ids[:MOST_IMAGES])
    return _timed(found, several, is_batched_already=bool(batched))


def _timed(found: Tried, several: Sequence[Several], *, is_batched_already: bool) -> Tried:
    """Take the better of both ways, batches only where they give the same maps in every state."""
    alone = sum(one.seconds_alone for one in several) / len(several)
    together = sum(one.seconds_together for one in several) / len(several)
    is_same = all(one.is_same for one in several) and several[0].images > 1
    batched = is_same and (is_batched_already or _is_faster(together, alone))
    usual = min(found.seconds, alone) if found.seconds < SOON else found.seconds
    return replace(found, seconds=together if batched else usual, batched=batched)


def _lost(attempts: Sequence[Attempt], name: str) -> str | None:
    """Say what an explainer raised where it gave no map of the trained network, or none of any changed one."""
    for is_changed in (False, True):
        asked = [attempt for attempt in attempts if attempt.is_changed is is_changed]
        if not any(attempt.has_map for attempt in asked):
            where = "changed networks" if is_changed else "the trained network"
            reason = asked[-1].explained.reasons[0]
            many = len({attempt.image for attempt in asked})
            return f"expected maps from {name}, got none of {where} for {many} image(s): {reason}; mend it, or leave it out"
    return None


def _depends(good: Sequence[Attempt]) -> bool:
    """Whether maps change with the network and not by themselves, though the network was not heard to run."""
    references = [attempt for attempt in good if not attempt.is_changed]
    return any(
        _equal(reference.explained, reference.again())
        and any(
            not _equal(reference.explained, changed.explained)
            for changed in good
            if changed.is_changed and changed.image == reference.image
        )
        for reference in references
    )


def _unmoved(good: Sequence[Attempt]) -> bool:
    """Whether maps of all changed networks are those of the trained one."""
    pairs = [
        _equal(reference.explained, changed.explained)
        for reference in good
        for changed in good
        if changed.is_changed and not reference.is_changed and changed.image == reference.image
    ]
    return bool(pairs) and all(pairs)


def _sketch(good: Sequence[Attempt], image: str) -> tuple[float, ...]:
    """Return the coarse map of the trained network at an image, row by row; nothing where it is another one each time."""
    for attempt in good:
        if attempt.image == image and not attempt.is_changed and attempt.explained.maps is not None:
            if not _equal(attempt.explained, attempt.again()):
                return ()
            coarse = adaptive_avg_pool2d(attempt.explained.maps[:1].double(), SKETCH)
            return tuple(float(f"{value:.6g}") for value in coarse.flatten().tolist())
    return ()


def _equal(one: Explained, other: Explained) -> bool:
    return one.maps is not None and other.maps is not None and torch.equal(one.maps, other.maps)


def _attempts(worker: Worker, method: Method, image: str) -> Iterator[Attempt]:
    """Explain an image in the states of every check; the trained network's, which checks share, once."""
    seen: set[str] = set()
    for check in worker.checks.values():
        unit = _unit(worker, check, method, (image,))
        for state, is_changed in zip(_states(unit), (False, True), strict=False):
            if state.name not in seen:
                seen.add(state.name)
                yield _attempt(unit, state, method.name, is_changed)


def _states(unit: Unit) -> tuple[State, ...]:
    """Return a reference and a changed state; none where the check raises: its own fault, which its units tell."""
    try:
        return unit.sample()
    except Exception:  # noqa: BLE001 - a check may be the user's
        return ()


def _attempt(unit: Unit, state: State, name: str, is_changed: bool) -> Attempt:
    def explained() -> Explained:
        return unit.explained(state)[name]

    began = time.perf_counter()
    found = explained()
    return Attempt(unit.chunk.ids[0], is_changed, found, time.perf_counter() - began, explained)


def _is_faster(together: float, alone: float) -> bool:
    return together < alone


@final
@dataclass(frozen=True)
class Several:
    """Several images explained in one state one by one and together: whether the maps are the same, and the seconds of each."""

    images: int
    is_same: bool
    seconds_alone: float
    seconds_together: float


def _several(worker: Worker, method: Method, ids: Sequence[str]) -> list[Several]:
    """Explain images one by one and in a batch, in a reference and a changed state of the first check."""
    tools = replace(worker.tools, batched=frozenset({method.name}))
    check = next(iter(worker.checks.values()))
    alone = _unit(worker, check, method, tuple(ids))
    together = replace(alone, worker=replace(worker, tools=tools), batch_size=len(ids))
    found = []
    for state in alone.sample():
        one, seconds = _explained(alone, state, method.name)
        other, less = _explained(together, state, method.name)
        is_whole = other.aside is None or not other.aside.apart
        same = is_whole and same_but_for_rounding(other.maps, one.maps)
        found.append(Several(len(ids), same, seconds / len(ids), less / len(ids)))
    return found


def _explained(unit: Unit, state: State, name: str) -> tuple[Explained, float]:
    began = time.perf_counter()
    return unit.explained(state)[name], time.perf_counter() - began


def same_but_for_rounding(maps: Tensor | None, others: Tensor | None) -> bool:
    """Whether maps (B, ...) differ by no more than `ROUNDING` of the largest value of each of the others."""
    if maps is None or others is None or maps.shape != others.shape:
        return False
    largest = others.flatten(1).abs().amax(1)
    apart = (maps - others).flatten(1).abs().amax(1)
    return bool((apart <= ROUNDING * largest).all())


def _unit(worker: Worker, check: Check, method: Method, images: tuple[str, ...]) -> Unit:
    stages = check.asked_stages(0, is_shown=False)
    key = UnitKey(check.name, 0, images, stages[-1:], (method.name,), (), "")
    return Unit.of(key, worker, batch_size=1)

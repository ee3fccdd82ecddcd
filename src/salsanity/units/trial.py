"""Trying explainers that are not ours before the long part: on an image of the trained network and of changed ones.

One that raises everywhere, or never looks at the network that it is given, is found out in seconds; and what a map costs is
measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch

from salsanity.checks.frame import Check, State
from salsanity.methods import Method
from salsanity.passes.overheard import together
from salsanity.records import UnitKey
from salsanity.units.explain import Explained
from salsanity.units.work import Unit, Worker

MOST_IMAGES: Final = 4
"""An explainer that raises is given so many images before it counts as one that raises everywhere."""

SOON: Final = 0.5
"""Maps that take fewer seconds are timed again, of several images together, as units will ask for them."""


@final
@dataclass(frozen=True)
class Tried:
    """What became of an explainer: the seconds of one map, why no verdict on it could be given, and what it printed.

    `is_heard`: whether the network was heard to run whenever a map was given; one that reads weights by itself is not heard.
    `is_unmoved`: whether its maps of a changed network are those of the trained one, to the bit.
    """

    name: str
    seconds: float
    why_not: str | None = None
    is_heard: bool = True
    said: str = ""
    is_unmoved: bool = False

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


def tried(worker: Worker, method: Method, ids: Sequence[str]) -> Tried:
    """Try an explainer on the first of the images `ids`, and on some more while it raises."""
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
    if why_not is None and seconds < SOON:
        seconds = min(seconds, _seconds_of_several(worker, method, ids[:MOST_IMAGES]))
    said = "" if aside is None else aside.said
    return Tried(method.name, seconds, why_not, is_heard, said, _unmoved(good))


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


def _seconds_of_several(worker: Worker, method: Method, ids: Sequence[str]) -> float:
    check = next(iter(worker.checks.values()))
    unit = _unit(worker, check, method, tuple(ids))
    reference, _ = unit.sample()
    began = time.perf_counter()
    unit.explained(reference)
    return (time.perf_counter() - began) / len(ids)


def _unit(worker: Worker, check: Check, method: Method, images: tuple[str, ...]) -> Unit:
    stages = check.asked_stages(0, is_shown=False)
    key = UnitKey(check.name, 0, images, stages[-1:], (method.name,), (), "")
    return Unit.of(key, worker, batch_size=1)

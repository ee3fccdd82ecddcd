"""Driving the methods' generators: what they ask for is run together, state by state they get it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from salsanity.errors import SalsanityError
from salsanity.methods.protocol import Inputs, Method, Steps
from salsanity.models.network import Network
from salsanity.passes.foreign import ForeignFailure, out_of_memory, place_of
from salsanity.passes.overheard import MOST_SAID, Aside, together
from salsanity.passes.request import Foreign, Pass, PassResult
from salsanity.passes.run import Answer, Batch, Setting, run
from salsanity.passes.schedule import Demand, State


@dataclass(frozen=True)
class Explained:
    """Maps of one method for a batch, or why there are none: one reason or None per image.

    `enlarged_from`: the size at which an explainer returned them, where that was smaller than the images. `passless`: no
    pass went into them. `aside`: what an explainer that is not ours did beside them.
    """

    maps: Tensor | None
    reasons: tuple[str | None, ...]
    enlarged_from: tuple[int, ...] | None = None
    passless: bool = False
    aside: Aside | None = None


@dataclass(frozen=True)
class StateMaps:
    """What all methods show of one state of the network; `logits` (B, classes) where a pass gave them."""

    state: State
    maps: dict[str, Explained]
    logits: Tensor | None


@dataclass(frozen=True)
class Wanted:
    """Methods to run on one state of the network."""

    state: State
    methods: tuple[Method, ...]


def explain(
    network: Network, inputs: Inputs, wanted: Sequence[Wanted], *, setting: Setting
) -> Iterator[StateMaps]:
    """Explain the batch in every state, each distinct pass once; yield states one by one, in order.

    `inputs.targets` and `inputs.state` are replaced by those of each state. A method that raises loses its own maps
    and no others.
    """
    batch = Batch(inputs.x, inputs.ids)
    started = [_start(inputs, want) for want in wanted]
    demands = [
        Demand(want.state, tuple(r for running in row for r in running.requests))
        for want, row in zip(wanted, started, strict=True)
    ]
    answers = run(network, batch, demands, setting=setting)
    for want, row, answer in zip(wanted, started, answers, strict=True):
        maps = {
            running.method.name: _finish(network, batch, want.state, running, answer, setting)
            for running in row
        }
        yield StateMaps(want.state, maps, answer.logits)
        answer.results.clear()


@dataclass
class _Running:
    """A method's generator, waiting for the results of `requests`; or what ended it early."""

    method: Method
    steps: Steps
    requests: tuple[Pass | Foreign, ...] = ()
    ended: Explained | None = None
    passless: bool = True


def _start(inputs: Inputs, want: Wanted) -> list[_Running]:
    row = []
    own = replace(inputs, targets=want.state.targets, state=want.state.name)
    for method in want.methods:
        running = _Running(method, method.steps(own))
        _advance(running, None, len(inputs.ids))
        row.append(running)
    return row


def _advance(running: _Running, results: tuple[PassResult, ...] | None, images: int) -> None:
    """Send `results` in (None to start); keep the next requests, or the maps where it ended."""
    try:
        running.requests = next(running.steps) if results is None else running.steps.send(results)
        running.passless = running.passless and not running.requests
    except StopIteration as end:
        running.ended = Explained(end.value, (None,) * images, passless=running.passless)
    except SalsanityError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        words = " ".join(str(error).split())[:200]
        said = f"{running.method.name} raised {type(error).__name__}: {words}{place_of(error)}"
        running.ended = Explained(None, (said,) * images)


def _finish(
    network: Network,
    batch: Batch,
    state: State,
    running: _Running,
    answer: Answer,
    setting: Setting,
) -> Explained:
    images = len(batch.ids)
    reasons: list[str | None] = [None] * images
    size: tuple[int, ...] | None = None
    aside: Aside | None = None
    while running.ended is None:
        missing = tuple(r for r in running.requests if r not in answer.results)
        if missing:
            (more,) = run(network, batch, [Demand(state, missing)], setting=setting)
            answer.results.update(more.results)
        found = [answer.results[request] for request in running.requests]
        size = next((result.enlarged_from for result in found if result.enlarged_from), size)
        aside = together([aside, *(result.aside for result in found)])
        results = [_usable(result, reasons) for result in found]
        whole = [result for result in results if result is not None]
        if len(whole) < len(results):
            running.steps.close()
            return Explained(None, tuple(reasons), aside=aside)
        _advance(running, tuple(whole), images)
    ended = running.ended
    merged = tuple(a or b for a, b in zip(reasons, ended.reasons, strict=True))
    return replace(ended, reasons=merged, enlarged_from=size, aside=aside)


def brought_back(maps: StateMaps, back: Callable[[Tensor], Tensor]) -> StateMaps:
    """Return maps of what methods were given as maps of the images."""
    found = {
        name: e if e.maps is None else replace(e, maps=back(e.maps), passless=False)
        for name, e in maps.maps.items()
    }
    return replace(maps, maps=found)


def averaged(found: Sequence[StateMaps]) -> StateMaps:
    """Return the mean of a state's maps, image by image; an image that has no map once has none."""
    first = found[0]
    maps = {name: _mean([one.maps[name] for one in found]) for name in first.maps}
    return replace(first, maps=maps)


def _mean(parts: Sequence[Explained]) -> Explained:
    first = replace(parts[0], aside=together(part.aside for part in parts))
    reasons = tuple(
        next((r for r in told if r), None) for told in zip(*(p.reasons for p in parts), strict=True)
    )
    given = [part.maps for part in parts if part.maps is not None]
    if len(given) < len(parts):
        words = tuple(r or "no map" for r in reasons)
        return replace(first, maps=None, reasons=words, passless=False)
    total = given[0].clone()
    for maps in given[1:]:
        total += maps
    return replace(first, maps=total / len(given), reasons=reasons, passless=False)


@dataclass
class Beside:
    """What is noted beside maps, by method: sizes at which they came too small, who gave them without running the network,
    and what was printed."""

    enlarged: dict[str, list[int]] = field(default_factory=dict)
    unheard: set[str] = field(default_factory=set)
    printed: dict[str, str] = field(default_factory=dict)

    def take(self, maps: Mapping[str, Explained]) -> Beside:
        """Take note of the maps of a state."""
        for name, explained in maps.items():
            if explained.enlarged_from:
                self.enlarged[name] = list(explained.enlarged_from)
            aside = explained.aside
            if aside is not None and aside.said:
                self._print(name, aside.said)
            if aside is not None and explained.maps is not None and not aside.called:
                self.unheard.add(name)
        return self

    def add(self, other: Beside) -> None:
        """Take over what was noted elsewhere."""
        self.enlarged.update(other.enlarged)
        self.unheard |= other.unheard
        for name, said in other.printed.items():
            self._print(name, said)

    def notes(self) -> dict[str, Any]:
        """Return what a unit's notes keep."""
        return {
            "enlarged": self.enlarged,
            "unheard": sorted(self.unheard),
            "printed": self.printed,
        }

    def _print(self, name: str, said: str) -> None:
        lines = dict.fromkeys([*self.printed.get(name, "").splitlines(), *said.splitlines()])
        self.printed[name] = "\n".join(lines)[:MOST_SAID]


def _usable(result: PassResult | ForeignFailure, reasons: list[str | None]) -> PassResult | None:
    """Return a result that a method can go on with, noting the images that have none."""
    if isinstance(result, PassResult):
        return result
    for i, reason in enumerate(result.reasons):
        reasons[i] = reason or reasons[i]
    if result.maps is None:
        reasons[:] = [reason or result.reasons[0] for reason in reasons]
        return None
    return PassResult(result.maps)


def own_targets(network_logits: Tensor) -> Tensor:
    """Return the class with the largest logit per image, (B,)."""
    return torch.argmax(network_logits, dim=1)

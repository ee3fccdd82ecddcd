"""Which physical passes serve many requests, and in which slices they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from salsanity.models.network import Network
from salsanity.models.slots import Weights
from salsanity.models.swap import Shelf, swapped
from salsanity.passes.request import Foreign, Pass, Points, Rule


@dataclass(frozen=True, eq=False)
class State:
    """A state of the network: `weights` to put in (empty: as trained), and the classes to explain (B,).

    `before`: a map of inputs that stands before the network; None: nothing.
    """

    name: str
    weights: Weights
    targets: Tensor
    before: Callable[[Tensor], Tensor] | None = None


@contextmanager
def in_state(
    network: Network, state: State, *, exact: bool = True, shelf: Shelf | None = None
) -> Iterator[None]:
    """Run the body with the network in a state; see `swapped`, which puts everything back."""
    with swapped(network, state.weights, exact=exact, shelf=shelf):
        if state.before is not None:
            # `swapped` takes the hook off again.
            network.module.register_forward_pre_hook(_mapping(state.before), with_kwargs=True)
        yield


def _mapping(before: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """Return a hook that maps the first tensor that a network is given."""

    def hook(_: object, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        if args and isinstance(args[0], Tensor):
            return (before(args[0]), *args[1:]), named
        first = next((name for name, value in named.items() if isinstance(value, Tensor)), None)
        return args, named if first is None else {**named, first: before(named[first])}

    return hook


@dataclass(frozen=True, eq=False)
class Demand:
    """What is wanted of one state of the network."""

    state: State
    requests: tuple[Pass | Foreign, ...]


@dataclass(frozen=True)
class Group:
    """Requests that one physical pass serves: the same kind of points under the same rule.

    `points` holds the largest number of samples asked for; a request with fewer reads a prefix.
    """

    points: Points
    rule: Rule
    requests: tuple[tuple[Pass, ...], ...]
    """Per demand; empty where a state does not need this pass."""

    @property
    def members(self) -> tuple[Pass, ...]:
        """Every request in the group once."""
        return tuple(dict.fromkeys(request for wanted in self.requests for request in wanted))

    @property
    def evaluations(self) -> int:
        """Forward and backward passes per image, over all demands."""
        return self.points.count * sum(bool(wanted) for wanted in self.requests)


def _family(request: Pass) -> tuple[Points, Rule]:
    noisy = request.points.noisy
    points = replace(request.points, noisy=noisy and replace(noisy, samples=0))
    return points, request.rule


def _widest(members: Sequence[Pass]) -> Points:
    return max((request.points for request in members), key=lambda points: points.count)


def groups_of(demands: Sequence[Demand]) -> list[Group]:
    """Group equal and prefix-sharing passes of all demands, in order of first appearance."""
    families: dict[tuple[Points, Rule], list[list[Pass]]] = {}
    for position, demand in enumerate(demands):
        for request in dict.fromkeys(r for r in demand.requests if isinstance(r, Pass)):
            empty: list[list[Pass]] = [[] for _ in demands]
            families.setdefault(_family(request), empty)[position].append(request)
    return [
        Group(
            _widest([request for wanted in lists for request in wanted]),
            rule,
            tuple(tuple(wanted) for wanted in lists),
        )
        for (_, rule), lists in families.items()
    ]


@dataclass(frozen=True)
class Extent:
    """One physical batch: points `start:stop` of images `first:last`."""

    first: int
    last: int
    start: int
    stop: int


def extents(*, images: int, points: int, batch_size: int) -> Iterator[Extent]:
    """Cut images x points into batches of at most `batch_size`: images first, then points.

    All batches but the last of each image range have the same shape, so that a run at one batch size always
    meets the same kernels.
    """
    width = min(images, batch_size)
    depth = max(1, batch_size // width)
    for first in range(0, images, width):
        last = min(first + width, images)
        for start in range(0, points, depth):
            yield Extent(first, last, start, min(start + depth, points))


def evaluations(requests: Sequence[Pass | Foreign]) -> int:
    """Count the distinct forward and backward passes per image that `requests` cost one state."""
    passes = tuple(request for request in requests if isinstance(request, Pass))
    families: dict[tuple[Points, Rule], int] = {}
    for request in passes:
        family = _family(request)
        families[family] = max(families.get(family, 0), request.points.count)
    return sum(families.values())

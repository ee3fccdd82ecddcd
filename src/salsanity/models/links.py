"""Which layers feed which: pairs of layers whose weights can be changed together without changing the function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from salsanity.models.network import Network
from salsanity.models.slots import tensors_in

_MATRICES: Final = frozenset({"conv1d", "conv2d", "conv3d", "linear"})
_NORM: Final = "batch_norm"
_RELUS: Final = frozenset({"relu", "relu_"})
_POOLS: Final = frozenset(
    f"{kind}_pool{d}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)
)
_PASSING: Final = _RELUS | _POOLS | {"dropout", "flatten", "contiguous"}
"""Functions that treat channels alike: a positive factor or another order of channels passes through them."""

Stamp = tuple[int, int]
"""A value: its memory and version; an in-place change makes another one."""


@final
@dataclass(frozen=True)
class Fold:
    """A norm in eval mode that one convolution or linear layer feeds, and nobody else reads: layer paths."""

    layer: str
    norm: str


@final
@dataclass(frozen=True)
class Chain:
    """layer (-> norm) -> ReLU -> layer, without another reader between; paths of layers.

    `spread`: inputs of the second layer per channel of the first (more than 1 behind a flattening).
    """

    first: str
    norm: str | None
    second: str
    spread: int


@final
@dataclass(frozen=True)
class Links:
    """What was found in one forward pass."""

    folds: tuple[Fold, ...]
    chains: tuple[Chain, ...]


@dataclass(frozen=True, eq=False)
class _Step:
    """One function that ran: its first tensor, its result, and the layer whose weights it took."""

    name: str
    taken: Stamp
    given: Stamp
    layer: str | None
    is_plain: bool
    """Whether every output channel may read every input channel."""
    channels: int


@dataclass
class _Recording:
    owners: Mapping[int, str]
    steps: list[_Step] = field(default_factory=list)
    readers: Counter[Stamp] = field(default_factory=Counter)
    alive: list[Tensor] = field(default_factory=list)

    def stamp(self, tensor: Tensor) -> Stamp:
        self.alive.append(tensor)
        return tensor.untyped_storage().data_ptr(), tensor._version

    def call(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        given = list(tensors_in((args, kwargs)))
        stamps = {self.stamp(t) for t in given if id(t) not in self.owners}
        first = self.stamp(given[0]) if given else None
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            # A look at a shape reads nothing; a split reads.
            self.readers.update(stamps if any(True for _ in tensors_in(result)) else ())
            return result
        made = self.stamp(result)
        self.readers.update(stamps - {made})
        if first is not None and made != first:
            self.steps.append(self._step(func, first, made, result, args, kwargs))
        return result

    def _step(
        self,
        func: Callable[..., Any],
        first: Stamp,
        made: Stamp,
        result: Tensor,
        args: Any,
        kwargs: dict[str, Any],
    ) -> _Step:
        name = getattr(func, "__name__", "")
        layer = next(
            (self.owners[id(t)] for t in tensors_in((args[1:], kwargs)) if id(t) in self.owners),
            None,
        )
        groups = kwargs.get("groups", args[6] if len(args) > 6 and name in _MATRICES else 1)
        channels = result.shape[1] if result.dim() > 1 else 0
        return _Step(name, first, made, layer, name == "linear" or groups == 1, channels)


class _Watch(TorchFunctionMode):
    """Tells a recording which functions run (torch demands a subclass)."""

    def __init__(self, recording: _Recording) -> None:
        super().__init__()  # TorchFunctionMode requires it
        self.recording = recording

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.recording.call(func, args, kwargs or {})


def links_of(network: Network, x: Tensor) -> Links:
    """Run the network on `x` (B, ...) once and return its folds and chains.

    A layer that runs more than once is in none of them.
    """
    owners = {id(slot.tensor): slot.layer for slot in network.slots}
    recording = _Recording(owners)
    with torch.no_grad(), _Watch(recording):
        network.module(x.clone())
    return _found(recording, network)


def _found(recording: _Recording, network: Network) -> Links:
    runs: Counter[str | None] = Counter(step.layer for step in recording.steps)
    by_input: dict[Stamp, _Step] = {}
    for step in recording.steps:
        by_input.setdefault(step.taken, step)
    usable = [
        s
        for s in recording.steps
        if s.name in _MATRICES and s.layer and runs[s.layer] == 1 and s.is_plain
    ]
    folds, chains = [], []
    for start in usable:
        path = list(_alone(start, by_input, recording.readers))
        norm = path[0] if path and path[0].name == _NORM and path[0].layer else None
        if norm is not None and runs[norm.layer] == 1:
            folds.append(Fold(str(start.layer), str(norm.layer)))
        end = next((s for s in path if s.name in _MATRICES), None)
        if end is not None and end in usable:
            chain = _chain(start, norm, path[: path.index(end)], end, network)
            chains += [] if chain is None else [chain]
    return Links(tuple(folds), tuple(chains))


def _alone(
    start: _Step, by_input: Mapping[Stamp, _Step], readers: Counter[Stamp]
) -> Iterator[_Step]:
    """Follow a value from function to function while exactly one reads it, up to the next layer."""
    value, is_first = start.given, True
    while readers[value] == 1 and value in by_input:
        step = by_input[value]
        passes = step.name in _PASSING or (is_first and step.name == _NORM)
        if not passes and step.name not in _MATRICES:
            return
        yield step
        if not passes:
            return
        value, is_first = step.given, False


def _chain(
    start: _Step, norm: _Step | None, between: list[_Step], end: _Step, network: Network
) -> Chain | None:
    if not any(step.name in _RELUS for step in between):
        return None
    module = network.module.get_submodule(str(end.layer))
    weight = module._parameters.get("weight")
    if weight is None or weight.shape[1] % max(1, start.channels):
        return None
    spread = weight.shape[1] // start.channels
    return Chain(str(start.layer), norm.layer if norm else None, str(end.layer), spread)

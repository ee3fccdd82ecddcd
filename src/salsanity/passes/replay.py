"""Replay: what runs before the first randomised tensor computes what it computed before, so it need not run again.

One forward pass of the trained network tells the order of module calls and when each parameter is first used (its
`Course`). A state of the network may leave out every call that ends before the first use of a tensor that the state
changes. For each slice of points, the state that changes least runs in full and its forward graph is kept on a `Tape`;
the other states get the kept outputs of the calls that they leave out, and differentiate through the same graph.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from salsanity.models.network import Network
from salsanity.models.slots import Weights, tensors_in
from salsanity.passes.taps import tapped

Replay = Literal["auto", "on", "off"]

WORTH_SHARE: Final = 0.02
"""A replay that saves less than this share of the forward passes is not worth its memory."""

FEWEST_STATES: Final = 3
"""Of two states, as `half` and `full`, the second shares too little with the first to pay for looking."""

MEMORY_SHARE: Final = 0.5
"""Of the memory that is free, the share that kept graphs may take."""


class Diverged(Exception):
    """A forward pass did not call what the course of the network says, or changed a kept output.

    It never reaches a user: the pass is run again in full.
    """


@dataclass(frozen=True)
class Call:
    """One call of a module: when it starts and ends, and the position of the first call that starts after its end.

    `keepable`: it returned one tensor and nothing else. `overwritten`: that tensor is changed in place afterwards,
    so the network must go on with a copy of it.
    """

    module: nn.Module
    start: int
    end: int
    after: int
    keepable: bool
    overwritten: bool
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Course:
    """The calls of a forward pass by their start, and when each parameter or buffer (by `id`) is first used."""

    calls: tuple[Call, ...]
    first_use: Mapping[int, int]

    def unchanged_until(self, network: Network, weights: Weights) -> float:
        """Return when the first tensor that `weights` changes is used; 0 for one that no function was seen to take."""
        changed = [
            self.first_use.get(id(_tensor(network.module, layer, name)), 0)
            for layer, tensors in weights.items()
            for name in tensors
        ]
        return min(changed, default=math.inf)

    def spared(self, until: float) -> tuple[int, ...]:
        """Return the outermost calls that end before `until`, never that of the whole network."""
        found, free_from = [], 0
        for position, call in enumerate(self.calls[1:], start=1):
            if position >= free_from and call.keepable and call.end < until:
                found.append(position)
                free_from = call.after
        return tuple(found)

    def share(self, positions: Sequence[int]) -> float:
        """Return the share of the forward pass's time that some calls take."""
        return sum(self.calls[i].seconds for i in positions) / max(1e-12, self.calls[0].seconds)

    @property
    def bytes(self) -> int:
        """Bytes of all outputs for one image, about what a kept graph holds."""
        return sum(call.bytes for call in self.calls)


def _tensor(root: nn.Module, layer: str, name: str) -> Tensor | None:
    owner = root.get_submodule(layer)
    found = owner._parameters.get(name)
    return owner._buffers.get(name) if found is None else found


def course_of(network: Network, x: Tensor, taps: Sequence[str | None] = ()) -> Course:
    """Run the trained network on `x` (B, ...) once, with `taps` in place, and note its course."""
    recording, module = _Recording(), network.module
    with (
        torch.enable_grad(),
        tapped(module, taps, {}),
        intercepted(module, recording.call),
        _Uses(recording),
    ):
        module(x.detach().clone().requires_grad_().clone())  # it may overwrite what it gets
    return recording.course()


@dataclass
class _Entry:
    module: nn.Module
    start: int
    end: int = 0
    seconds: float = 0.0
    output: object = None
    version: int = 0


@dataclass
class _Recording:
    entries: list[_Entry] = field(default_factory=list)
    first_use: dict[int, int] = field(default_factory=dict)
    clock: int = 0

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def call(
        self, module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        entry = _Entry(module, self.tick())
        self.entries.append(entry)
        began = time.perf_counter()
        entry.output = forward(*args, **kwargs)
        entry.seconds = time.perf_counter() - began
        entry.end = self.tick()
        if isinstance(entry.output, Tensor):
            entry.version = entry.output._version
        return entry.output

    def use(self, arguments: object) -> None:
        for tensor in tensors_in(arguments):
            self.first_use.setdefault(id(tensor), self.tick())

    def course(self) -> Course:
        starts = [entry.start for entry in self.entries]
        return Course(tuple(self._call(entry, starts) for entry in self.entries), self.first_use)

    @staticmethod
    def _call(entry: _Entry, starts: list[int]) -> Call:
        output = entry.output
        bare = isinstance(output, Tensor)
        return Call(
            entry.module,
            entry.start,
            entry.end,
            after=sum(start < entry.end for start in starts),
            keepable=bare,
            overwritten=isinstance(output, Tensor) and output._version != entry.version,
            seconds=entry.seconds,
            bytes=output.numel() * output.element_size() if isinstance(output, Tensor) else 0,
        )


class _Uses(TorchFunctionMode):
    """Tells a recording which tensors the torch functions take (torch demands a subclass)."""

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
        self.recording.use((args, kwargs or {}))
        return func(*args, **(kwargs or {}))


@contextmanager
def intercepted(root: nn.Module, call: Callable[..., Any]) -> Iterator[None]:
    """Let `call(module, forward, *args, **kwargs)` stand in for the forward of every module during the block."""
    own = {module: vars(module).get("forward") for module in root.modules()}
    try:
        for module in own:
            forward = module.forward
            stand_in = functools.wraps(forward)(functools.partial(call, module, forward))
            object.__setattr__(module, "forward", stand_in)
        yield
    finally:
        for module, before in own.items():
            vars(module).pop("forward", None)
            if before is not None:
                object.__setattr__(module, "forward", before)


@dataclass
class Tape:
    """The kept forward graph of one slice: outputs of the calls in `wanted`, taps, and the input they hang on."""

    course: Course
    wanted: frozenset[int]
    seen: dict[str | None, Tensor] = field(default_factory=dict)
    kept: dict[int, tuple[Tensor, int]] = field(default_factory=dict)

    @property
    def recorded(self) -> bool:
        """Whether a state has run and left its graph here."""
        return bool(self.kept)

    @contextmanager
    def running(self, network: Network, spared: Sequence[int]) -> Iterator[None]:
        """Run the network with the kept outputs of the calls `spared`; keep those of the calls wanted.

        Raises `Diverged` when the network calls something else than its course says.
        """
        reader = _Reader(self, frozenset(spared))
        with intercepted(network.module, reader.call):
            yield
        for position in spared:
            output, version = self.kept[position]
            if not self.course.calls[position].overwritten and output._version != version:
                raise Diverged


@dataclass
class _Reader:
    tape: Tape
    spared: frozenset[int]
    position: int = 0

    def call(
        self, module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        calls, here = self.tape.course.calls, self.position
        if here >= len(calls) or calls[here].module is not module:
            raise Diverged
        call = calls[here]
        if here in self.spared:
            self.position = call.after
            output = self.tape.kept[here][0]
            return output.clone() if call.overwritten else output
        self.position = here + 1
        output = forward(*args, **kwargs)
        if here not in self.tape.wanted:
            return output
        if not isinstance(output, Tensor):
            raise Diverged
        self.tape.kept[here] = output, output._version
        return output.clone() if call.overwritten else output


@dataclass(frozen=True)
class Rehearsal:
    """Which state leaves out which calls, and in which order the states run: least changed first."""

    course: Course
    spared: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]

    @classmethod
    def of(
        cls,
        network: Network,
        states: Sequence[Weights],
        example: Tensor,
        *,
        points: int,
        replay: Replay,
        taps: Sequence[str | None] = (),
    ) -> Rehearsal | None:
        """Plan the replay for `states`, or None where it is off, does not pay, or hooks on a tap could change its output.

        `example`: one input (1, ...); `points`: how many go through at once, for the memory that a kept graph needs.
        """
        fewest = FEWEST_STATES if replay == "auto" else 2
        if replay == "off" or len(states) < fewest or _hooked(network.module, taps):
            return None
        course = course_of(network, example, taps)
        until = [course.unchanged_until(network, weights) for weights in states]
        order = tuple(sorted(range(len(states)), key=lambda i: -until[i]))
        found = cls(course, tuple(course.spared(time) for time in until), order)
        if not found.share or (replay == "auto" and not found.pays(points, example.device)):
            return None
        return found

    @property
    def share(self) -> float:
        """The share of all forward passes that need not run."""
        later = [self.course.share(self.spared[i]) for i in self.order[1:]]
        return sum(later) / len(self.order)

    def pays(self, points: int, device: torch.device) -> bool:
        """Whether enough is saved, and the graph of so many points fits into the memory that is free."""
        room = free_memory(device)
        fits = room is None or 2 * self.course.bytes * points < MEMORY_SHARE * room
        return fits and self.share > WORTH_SHARE

    def tape(self) -> Tape:
        """Return an empty tape for one slice; the first state in order does not need its own calls kept for itself."""
        wanted = frozenset(i for state in self.order[1:] for i in self.spared[state])
        return Tape(self.course, wanted)


def _hooked(module: nn.Module, taps: Sequence[str | None]) -> bool:
    return any(module.get_submodule(tap)._forward_hooks for tap in taps if tap is not None)


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes on a device, None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None

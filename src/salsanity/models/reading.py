"""Reading: which tensors the operations of a forward pass read, whose they are, and what is done with them.

A `TorchDispatchMode` sees every operation with the memory that it reads and writes, below modules, hooks, closures and
functional calls alike. Memory is followed from the input and from the tensors of the network, so that for each of
these is known how it first meets something that was computed from the input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from salsanity.models.operations import (
    CONVOLUTIONS,
    LOOKUPS,
    TORCHS_OWN,
    Role,
    maps,
    name_of,
    role_of,
    spreads,
)
from salsanity.models.slots import Key, Slot, memory_of, tensors_in


@final
@dataclass(frozen=True)
class Use:
    """How one tensor is used: role -> number of the first operation in it; none where it only makes other tensors.

    `with_weights`: before anything from the input it met a parameter in a product, look-up or rounding, as coordinates do
    of which a small network makes biases. `pieces`: how many separate pieces of its memory are weights of linear maps, as in
    one flat parameter that holds all layers; 0 where what is computed of it is. `picks`: it says which entries of another
    tensor stand where in the weight of a linear map, as the indices of a codebook do.
    """

    roles: dict[Role, int]
    with_weights: bool = False
    pieces: int = 0
    picks: bool = False

    @property
    def is_matrix(self) -> bool:
        """Whether it is the weight of a linear map, or a table that is looked up in."""
        return "matrix" in self.roles or "lookup" in self.roles


@final
@dataclass(frozen=True, eq=False)
class Outside:
    """A tensor that the pass reads and that is neither a slot of the network nor computed in the pass.

    `module`: the innermost module of the network that ran; `line`: where in the user's code. `made`: the pass itself made it
    of Python's numbers or an array.
    """

    tensor: Tensor
    use: Use
    module: str
    line: str
    made: bool


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """What the operations of a forward pass read.

    `uses`: per slot that was read, in order of the first read. `packed`: operations that keep their weights where
    nobody can draw them (quantised ones), with the module. `traced`: whether the last result was seen to come from the input.
    """

    uses: dict[Key, Use]
    outside: tuple[Outside, ...]
    packed: tuple[tuple[str, str], ...]
    last_operation: str
    traced: bool


@dataclass
class _Source:
    """A tensor that was there before an operation first read it."""

    tensor: Tensor
    slot: Slot | None
    module: str = ""
    line: str = ""
    made: bool = False
    with_weights: bool = False
    roles: dict[Role, int] = field(default_factory=dict)
    pieces: set[tuple[int, int]] = field(default_factory=set)
    tables: set[int] = field(default_factory=set)

    @property
    def is_weight(self) -> bool:
        return isinstance(self.tensor, nn.Parameter)


@dataclass(frozen=True)
class _Origin:
    """What some memory was computed from; `weighed`: a weight has been met on the way from the input.

    `compared`: the sources of which only a comparison is left, which values it lets through or the signs of weights.
    """

    from_input: bool = False
    weighed: bool = False
    sources: frozenset[int] = frozenset()
    compared: frozenset[int] = frozenset()

    def joined(self, other: _Origin) -> _Origin:
        from_input = self.from_input or other.from_input
        sources = frozenset[int]() if from_input else self.sources | other.sources
        whole = (self.sources - self.compared) | (other.sources - other.compared)
        return _Origin(from_input, self.weighed or other.weighed, sources, sources - whole)


_NOTHING: Final = _Origin()


class Reader(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows memory through the operations inside the block (torch demands a subclass).

    `where` tells which module of the network runs; `convolved` is told the results of convolutions. `cautious`: numbers
    that come from nowhere count as computed from the input, for passes that leave torch on the way (through NumPy, say).
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        where: Callable[[], str],
        *,
        convolved: Callable[[Tensor], None] | None = None,
        cautious: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # TorchDispatchMode requires it
        self.where, self.convolved, self.cautious = where, convolved, cautious
        self.sources = [_Source(slot.tensor, slot) for slot in slots]
        self.homes: dict[int, list[int]] = {}
        for index, slot in enumerate(slots):
            self.homes.setdefault(memory_of(slot.tensor), []).append(index)
        self.read: dict[int, None] = {}
        self.origins: dict[int, _Origin] = {}
        self.makers: dict[int, str] = {}
        self.packed: dict[tuple[str, str], None] = {}
        self.alive: list[Tensor] = []
        self.clock = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch would import its compiler, which takes a second, to keep it off this mode

    def follow(self, x: Tensor) -> None:
        """Take `x` for the input."""
        self.alive.append(x)
        self.origins[memory_of(x)] = _Origin(from_input=True)

    def reading(self, result: Tensor | None) -> Reading:
        """Return what was read; `result`: the logits."""
        used = {
            i: Use(dict(s.roles), s.with_weights, _separate(s.pieces), self._picks(s))
            for i, s in enumerate(self.sources)
        }
        slots = {i: s.slot for i, s in enumerate(self.sources) if s.slot is not None}
        memory = 0 if result is None else memory_of(result)
        return Reading(
            uses={slots[i].key: used[i] for i in self.read if i in slots},
            outside=tuple(
                Outside(s.tensor, used[i], s.module, s.line, s.made)
                for i, s in enumerate(self.sources)
                if s.slot is None
            ),
            packed=tuple(self.packed),
            last_operation=self.makers.get(memory, ""),
            traced=self.origins.get(memory, _NOTHING).from_input,
        )

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.clock += 1
        namespace, name = name_of(func)
        with torch._C.DisableTorchFunction():
            operands = list(tensors_in((args, kwargs or {})))
            origins = [self._origin(tensor, made=name == "lift_fresh") for tensor in operands]
            if any(isinstance(a, torch.ScriptObject) for a in args) or namespace == "quantized":
                self.packed.setdefault((f"{namespace}::{name}", self.where()))
            self._meet(name if namespace in TORCHS_OWN else "", args, operands, origins)
        result = func(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunction():
            self._keep(func, tensors_in(result), origins)
            if name in CONVOLUTIONS and self.convolved is not None:
                self.convolved(result)
        return result

    def _origin(self, tensor: Tensor, *, made: bool) -> _Origin:
        memory = memory_of(tensor)
        if memory not in self.origins:
            self.alive.append(tensor)
            self.origins[memory] = self._first_seen(tensor, memory, made=made)
        found = self.origins[memory]
        if len(self.homes.get(memory, ())) > 1:  # several slots in one piece of memory
            found = _Origin(found.from_input, found.weighed, self._slots_at(tensor, memory))
        self.read.update(dict.fromkeys(sorted(found.sources & self._slot_indices(memory))))
        if self.cautious and not found.sources and not found.from_input:
            return _Origin(from_input=True)
        return found

    def _first_seen(self, tensor: Tensor, memory: int, *, made: bool) -> _Origin:
        if memory in self.homes:
            return _Origin(sources=frozenset(self.homes[memory]))
        if not tensor.numel():
            return _NOTHING
        if made and self.cautious:
            return _Origin(from_input=True)
        line = _line_of_user(sys._getframe())
        self.sources.append(_Source(tensor, None, self.where(), line, made))
        return _Origin(sources=frozenset({len(self.sources) - 1}))

    def _slot_indices(self, memory: int) -> frozenset[int]:
        return frozenset(self.homes.get(memory, ()))

    def _slots_at(self, tensor: Tensor, memory: int) -> frozenset[int]:
        """Those slots of one piece of memory that a view of it covers."""
        start, stop = _extent(tensor)
        held = {i: _extent(self.sources[i].tensor) for i in self.homes[memory]}
        return frozenset(i for i, (a, b) in held.items() if a < stop and start < b)

    def _meet(
        self, name: str, args: Sequence[Any], operands: list[Tensor], origins: list[_Origin]
    ) -> None:
        """Note what an operation does with tensors that are not from the input."""
        if not any(origin.from_input for origin in origins):
            self._meet_each_other(name, origins)
            return
        weighed = any(origin.weighed for origin in origins if origin.from_input)
        widest = max(t.numel() for t, o in zip(operands, origins, strict=True) if o.from_input)
        for position, (tensor, origin) in enumerate(zip(operands, origins, strict=True)):
            is_late = weighed or spreads(tensor, widest)
            role = None if origin.from_input else role_of(name, args, position, tensor, is_late)
            met = origin.sources if role == "matrix" else origin.sources - origin.compared
            for i in met if role is not None else ():
                self.sources[i].roles.setdefault(role, self.clock)  # type: ignore[arg-type]
                if (
                    role == "matrix"
                    and tensor.ndim > 1
                    and i in self.homes.get(memory_of(tensor), ())
                ):
                    self.sources[i].pieces.add(_extent(tensor))

    def _meet_each_other(self, name: str, origins: list[_Origin]) -> None:
        """Note what picks from a table, or meets a parameter in a product, look-up or rounding, all before the input."""
        others = [i for origin in origins for i in origin.sources]
        for i in (i for origin in origins[1:] for i in origin.sources if name in LOOKUPS):
            self.sources[i].tables |= origins[0].sources
        is_mapped = maps(name)
        if is_mapped and any(self.sources[i].is_weight for i in others):
            for i in others:
                self.sources[i].with_weights |= not self.sources[i].is_weight

    def _keep(self, func: Any, results: Iterable[Tensor], origins: list[_Origin]) -> None:
        """Note what the results of an operation come from; what it wrote into comes from both."""
        made = _NOTHING
        is_lookup = (
            name_of(func)[1] in LOOKUPS
        )  # its values come from the table, not from the index
        for position, origin in enumerate(origins):
            is_index = is_lookup and position > 0 and not origin.from_input
            made = made if is_index else made.joined(origin)
        if made.from_input:
            others = [i for o in origins if not o.from_input for i in o.sources]
            made = _Origin(True, made.weighed or any(self._weighs(i) for i in others))
        for tensor in results:
            memory = memory_of(tensor)
            known = self.origins.get(memory)
            if known is None or func._schema.is_mutable:
                is_bool = tensor.dtype is torch.bool
                left = replace(made, compared=made.sources) if is_bool else made
                self.origins[memory] = left if known is None else known.joined(left)
                self.makers[memory] = name_of(func)[1]
            self.alive.append(tensor)

    def _picks(self, source: _Source) -> bool:
        return any("matrix" in self.sources[i].roles for i in source.tables)

    def _weighs(self, index: int) -> bool:
        source = self.sources[index]
        return source.is_weight or "matrix" in source.roles or "lookup" in source.roles


def _separate(pieces: Iterable[tuple[int, int]]) -> int:
    """Count the extents of which none reaches into the one before it."""
    count = end = 0
    for start, stop in sorted(pieces, key=lambda piece: piece[1]):
        if count == 0 or start >= end:
            count, end = count + 1, stop
    return count


def _extent(tensor: Tensor) -> tuple[int, int]:
    """First byte and the byte after the last one that a tensor covers in its memory."""
    size = tensor.element_size()
    first = int(tensor.storage_offset()) * size
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + (int(reach) + 1) * size


_TORCH: Final = str(Path(torch.__file__).parent)
_OURS: Final = str(Path(__file__).parents[1])


def _line_of_user(frame: FrameType | None) -> str:
    """Say which line outside torch and this library runs, innermost first; "" where there is none."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS) and frame.f_code.co_name == "trace":
            return ""
        if not file.startswith((_TORCH, _OURS, "<frozen")):
            return f"line {frame.f_lineno} of {Path(file).name}, in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""

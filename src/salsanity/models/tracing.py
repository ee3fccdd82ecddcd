"""`trace`: one forward pass that tells in which order a network uses its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from salsanity.models.copying import eagerly
from salsanity.models.learned import Kind, kinds_of
from salsanity.models.reading import Outside, Reader, Reading, Use
from salsanity.models.slots import Key, Slot, memory_of, slots_of, tensors_in

_CONVOLUTIONS = frozenset(f"conv{kind}{d}d" for kind in ("", "_transpose") for d in (1, 2, 3))


@final
@dataclass(frozen=True)
class Output:
    """What one call of a module returned, in order of completion.

    `shape` is that of the first tensor in the output; `bare` says that the output is this tensor
    and nothing else; `convolved` counts the convolutions run so far; `live` says whether the
    predicted logit has a gradient other than zero there (for (N, L, C): in the last half of the L
    positions, which leaves class tokens out).
    """

    module: str
    kind: str
    shape: tuple[int, ...]
    bare: bool
    convolved: int
    normalises_last: bool = False
    live: bool = False


@final
@dataclass(frozen=True)
class Convolution:
    """One convolution that ran: the module that ran it, and the shape of its result."""

    module: str
    shape: tuple[int, ...]


@final
@dataclass(frozen=True)
class Trace:
    """What one forward pass in eval mode used and returned.

    `uses`: parameters and buffers that operations read, by first read (as (layer, tensor name)), and how. `kinds`: what
    every parameter and buffer is. `matrices`: learned tensors of two or more dimensions that are weights of linear maps or
    tables, and the number of their first such operation. `layers`: paths of the modules that own learned tensors or running
    statistics which were read, by first read. `outputs`: module calls in order of completion. `calls`: names of modules in
    order of their first call. `branching`: modules whose first input goes two ways (parallel branches, a skip connection).
    `outside`, `packed`: what was read that is no parameter or buffer. `overwrites_input`: whether the pass writes into its
    input.
    """

    input_shape: tuple[int, ...]
    logits_shape: tuple[int, ...]
    uses: Mapping[Key, Use]
    kinds: Mapping[Key, Kind]
    matrices: Mapping[Key, int]
    layers: tuple[str, ...]
    outputs: tuple[Output, ...]
    convolutions: tuple[Convolution, ...]
    calls: tuple[str, ...]
    branching: frozenset[str]
    outside: tuple[Outside, ...] = ()
    packed: tuple[tuple[str, str], ...] = ()
    last_operation: str = ""
    overwrites_input: bool = False

    def uses_tensor(self, layer: str, name: str) -> bool:
        """Whether the forward pass read this parameter or buffer."""
        return (layer, name) in self.uses


Stamp = tuple[int, int]
"""A tensor's memory and version: views of one value share it, an in-place change ends it."""


@dataclass
class _Call:
    """A running module, its first input, and how many children and operations took that."""

    name: str
    inputs: frozenset[Stamp]
    first: frozenset[Stamp]
    taken: int = 0


@dataclass
class _Recording:
    outputs: list[tuple[Output, Tensor]] = field(default_factory=list)
    convolutions: list[Convolution] = field(default_factory=list)
    calls: dict[str, None] = field(default_factory=dict)
    branching: set[str] = field(default_factory=set)
    stack: list[_Call] = field(default_factory=list)
    alive: list[Tensor] = field(default_factory=list)

    def stamps(self, value: object) -> frozenset[Stamp]:
        """Stamp the tensors in a value; they are kept alive, so that memory is not used again."""
        tensors = list(tensors_in(value))
        self.alive += tensors
        return frozenset((memory_of(t), t._version) for t in tensors)

    def enter(self, name: str, inputs: object) -> None:
        first = next(tensors_in(inputs), None)
        self.stack.append(_Call(name, self.stamps(inputs), self.stamps(first)))
        self.calls.setdefault(name)

    def leave(self, name: str, module: nn.Module, output: object) -> None:
        call = self.stack.pop()
        if call.taken > 1:
            self.branching.add(name)
        passed_on = call.inputs & self.stamps(output)  # as an identity does
        if self.stack and self.stack[-1].first & call.inputs - passed_on:
            self.stack[-1].taken += 1
        first = next(tensors_in(output), None)
        if first is not None:
            bare = isinstance(output, Tensor)
            record = Output(
                name,
                type(module).__name__,
                tuple(first.shape),
                bare,
                len(self.convolutions),
                _normalises_last(module, first),
            )
            self.outputs.append((record, first))

    def operate(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run an operation, and count it if it makes something new of the module's first input."""
        before = self.stamps((args, kwargs)) if self.stack else frozenset()
        result = func(*args, **kwargs)
        taken = self.stack[-1].first & before if self.stack else None
        if taken and self.stamps(result) - before:
            self.stack[-1].taken += 1
        return result

    def where(self) -> str:
        """Name of the innermost module that runs."""
        return self.stack[-1].name if self.stack else ""

    def convolve(self, result: Tensor) -> None:
        self.convolutions.append(Convolution(self.where(), tuple(result.shape)))


def _normalises_last(module: nn.Module, output: Tensor) -> bool:
    """Whether the module is a norm over the last axis of its output, which is then the channels."""
    weight = module._parameters.get("weight")
    channels = getattr(module, "normalized_shape", None)
    if channels is None or "2d" in type(module).__name__.lower():
        return False
    size = (channels,) if isinstance(channels, int) else tuple(channels)
    return size == tuple(output.shape[-1:]) and (weight is None or weight.ndim == 1)


class _Watch(TorchFunctionMode):
    """Lets a recording run the torch functions (torch demands a subclass)."""

    def __init__(self, recording: _Recording) -> None:
        self.recording = recording

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.recording.operate(func, args, kwargs or {})


def trace(
    module: nn.Module, example: Tensor, *, logits: Callable[[object], Tensor] | None = None
) -> Trace:
    """Run `module` once on `example`, (N, ...), and record what it used and returned.

    The module is left as it was. `logits` unwraps the output; without it the first tensor counts. Where the result was not
    seen to come from the input (a pass that leaves torch on the way), it runs a second time, more cautiously.
    Whatever the forward pass raises comes through.
    """
    slots = slots_of(module)
    unwrap = logits or _first_tensor
    passed = _pass(module, example, slots, unwrap, cautious=False)
    if not passed.reading.traced:
        passed = _pass(module, example, slots, unwrap, cautious=True)
    recording, reading, scores = passed.recording, passed.reading, passed.scores
    kinds = kinds_of(slots, reading.uses)
    return Trace(
        input_shape=tuple(example.shape),
        logits_shape=tuple(scores.shape),
        uses=reading.uses,
        kinds=kinds,
        matrices=_matrices(slots, reading.uses, kinds),
        layers=_layers(reading.uses, kinds),
        outputs=_with_live(recording.outputs, scores, passed.x),
        convolutions=tuple(recording.convolutions),
        calls=tuple(recording.calls),
        branching=frozenset(recording.branching),
        outside=reading.outside,
        packed=reading.packed,
        last_operation=reading.last_operation,
        overwrites_input=passed.overwrites_input,
    )


@dataclass(frozen=True)
class _Passed:
    recording: _Recording
    reading: Reading
    x: Tensor
    scores: Tensor
    overwrites_input: bool


def _pass(
    module: nn.Module,
    example: Tensor,
    slots: tuple[Slot, ...],
    unwrap: Callable[[object], Tensor],
    *,
    cautious: bool,
) -> _Passed:
    recording = _Recording()
    reader = Reader(slots, recording.where, convolved=recording.convolve, cautious=cautious)
    with ExitStack() as stack:
        for name, part in module.named_modules():
            _hook(stack, recording, name, part)
        stack.enter_context(torch.enable_grad())
        x = example.detach().clone().requires_grad_()
        given = x.clone()  # which the pass may overwrite
        version = given._version
        reader.follow(given)
        with eagerly(), _Watch(recording), reader:
            output = module(given)
    scores = unwrap(output)
    return _Passed(recording, reader.reading(scores), x, scores, given._version != version)


def _first_tensor(output: object) -> Tensor:
    return next(tensors_in(output))


def _matrices(
    slots: tuple[Slot, ...], uses: Mapping[Key, Use], kinds: Mapping[Key, Kind]
) -> dict[Key, int]:
    wide = {slot.key for slot in slots if slot.tensor.ndim > 1}
    return {
        key: min(use.roles[role] for role in ("matrix", "lookup") if role in use.roles)
        for key, use in uses.items()
        if use.is_matrix and kinds[key] == "learned" and (key in wide or use.pieces)
    }


def _layers(uses: Mapping[Key, Use], kinds: Mapping[Key, Kind]) -> tuple[str, ...]:
    kept = [key for key in uses if kinds[key] in ("learned", "statistics")]
    return tuple(dict.fromkeys(layer for layer, _ in kept))


def _hook(stack: ExitStack, recording: _Recording, name: str, module: nn.Module) -> None:
    def before(part: nn.Module, args: object, kwargs: object) -> None:
        with torch._C.DisableTorchFunction():  # or the bookkeeping would be watched itself
            recording.enter(name, (args, kwargs))

    def after(part: nn.Module, _: object, output: object) -> None:
        with torch._C.DisableTorchFunction():
            recording.leave(name, part, output)

    stack.callback(module.register_forward_pre_hook(before, prepend=True, with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(after).remove)


def _with_live(
    outputs: list[tuple[Output, Tensor]], scores: Tensor, x: Tensor
) -> tuple[Output, ...]:
    """Fill in which outputs the predicted logit has a gradient at, by one backward pass, all the way to the input `x`."""
    wanted = [
        i for i, (_, tensor) in enumerate(outputs) if tensor.requires_grad and tensor.ndim > 2
    ]
    live: set[int] = set()
    if scores.requires_grad and scores.ndim > 1:
        total = scores.flatten(1).amax(dim=1).sum()
        tensors = [outputs[i][1] for i in wanted]
        *gradients, _ = torch.autograd.grad(total, [*tensors, x], allow_unused=True)
        live = {i for i, g in zip(wanted, gradients, strict=True) if g is not None and _alive(g)}
    return tuple(
        Output(o.module, o.kind, o.shape, o.bare, o.convolved, o.normalises_last, i in live)
        for i, (o, _) in enumerate(outputs)
    )


def _alive(gradient: Tensor) -> bool:
    part = gradient[:, gradient.shape[1] // 2 :] if gradient.ndim == 3 else gradient
    return bool(part.count_nonzero())

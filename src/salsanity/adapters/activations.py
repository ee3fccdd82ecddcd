"""Which nonlinear functions a network calls, and in which modules: what rules that are put on modules can miss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from salsanity.errors import MethodError

ACTIVATIONS: Final = frozenset(
    [
        "relu",
        "relu_",
        "relu6",
        "hardtanh",
        "hardtanh_",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "hardsigmoid",
        "elu",
        "elu_",
        "selu",
        "celu",
        "softplus",
        "leaky_relu",
        "leaky_relu_",
        "prelu",
        "sigmoid",
        "sigmoid_",
        "tanh",
        "tanh_",
        "threshold",
    ]
)
ATTENTION: Final = frozenset(
    {"softmax", "scaled_dot_product_attention", "multi_head_attention_forward"}
)
OTHERS: Final = ATTENTION | {
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
}
_ADDITIONS: Final = frozenset({"add", "add_", "__add__", "__iadd__", "__radd__"})


@final
@dataclass(frozen=True)
class Called:
    """One call of a nonlinear function: its name, and the innermost module that was running."""

    function: str
    module: str
    kind: type


@final
@dataclass
class Calls:
    """What one forward pass called.

    `modules` counts how often each module ran; `sums` names the modules in which two activations were added.
    """

    nonlinear: list[Called] = field(default_factory=list)
    modules: Counter[str] = field(default_factory=Counter)
    sums: dict[str, None] = field(default_factory=dict)

    def hidden_from(self, seen: Callable[[type], bool], functions: frozenset[str]) -> list[Called]:
        """Return the calls among `functions` that happen outside the modules whose type is `seen`."""
        return [c for c in self.nonlinear if c.function in functions and not seen(c.kind)]


class _Watch(TorchFunctionMode):
    """Writes down calls of nonlinear functions and sums of activations (torch demands a subclass)."""

    def __init__(self, calls: Calls, stack: list[tuple[str, type]]) -> None:
        super().__init__()  # TorchFunctionMode requires it
        self.calls, self.stack = calls, stack

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "").removesuffix("_with_indices").lstrip("_")
        where, kind = self.stack[-1] if self.stack else ("", nn.Module)
        if name in ACTIVATIONS or name in OTHERS:
            self.calls.nonlinear.append(Called(name, where, kind))
        if getattr(func, "__name__", "") in _ADDITIONS and _adds_activations(args):
            self.calls.sums.setdefault(where)
        return func(*args, **(kwargs or {}))


def _adds_activations(args: tuple[Any, ...]) -> bool:
    """Whether both summands carry a gradient of the input; the network's parameters want none."""
    tensors = [a for a in args[:2] if isinstance(a, Tensor) and a.requires_grad]
    return len(tensors) == 2


def calls_of(module: nn.Module, x: Tensor) -> Calls:
    """Run the network once on x and return what it called."""
    calls, stack = Calls(), list[tuple[str, type]]()

    def enter(name: str, part: nn.Module) -> Callable[..., None]:
        def before(*_: object) -> None:
            calls.modules[name] += 1
            stack.append((name, type(part)))

        return before

    with ExitStack() as hooks, torch.enable_grad():
        for name, part in module.named_modules():
            hooks.callback(part.register_forward_pre_hook(enter(name, part)).remove)
            hooks.callback(part.register_forward_hook(lambda *_: (stack.pop(), None)[1]).remove)
        with _Watch(calls, stack):
            module(x.detach().clone().requires_grad_())
    return calls


def refuse_hidden(hidden: list[Called], *, method: str, what: str) -> None:
    """Raise `MethodError` where calls are hidden from rules that are put on modules."""
    if hidden:
        places = dict.fromkeys(
            f"{c.function} in {c.module or 'the network itself'}" for c in hidden
        )
        shown = ", ".join(list(places)[:3]) + (", ..." if len(places) > 3 else "")
        raise MethodError(
            f"{method} puts its rule on modules ({what}) and would silently pass a plain gradient through {shown}; "
            "write these as such modules, or leave the method out"
        )


class InTurn(nn.ModuleList):
    """Copies of a module without weights that a network calls several times: each call is one copy's."""

    turn = 0

    def forward(self, *args: Any) -> Any:
        """Call the copy whose turn it is."""
        copy = self[self.turn % len(self)]
        self.turn += 1
        return copy(*args)


def unshare(module: nn.Module, x: Tensor) -> None:
    """Give every call of a reused activation or pooling a module of its own; `swapped` undoes it.

    Rules that keep what a module saw last cannot serve two calls of one module.
    """
    counts = calls_of(module, x).modules
    named = dict(module.named_modules())
    copies = {
        id(part): InTurn(_like(part) for _ in range(counts[name]))
        for name, part in named.items()
        if counts[name] > 1 and _is_weightless(part)
    }
    for parent in named.values():
        for name, child in parent._modules.items():
            if id(child) in copies:
                parent._modules[name] = copies[id(child)]


def _is_weightless(part: nn.Module) -> bool:
    is_torch_s = type(part).__module__.startswith("torch.nn.modules")
    return is_torch_s and not list(part.children()) and not [*part.parameters(), *part.buffers()]


def _like(part: nn.Module) -> nn.Module:
    """A module of the same kind and settings, without hooks."""
    made = type(part).__new__(type(part))
    nn.Module.__init__(made)
    plain = {k: v for k, v in vars(part).items() if not k.startswith("_")}
    vars(made).update(plain)
    return made

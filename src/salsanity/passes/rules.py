"""Backward rules: what a rectifier does to the gradient that passes through it.

Guided backprop (Springenberg et al. 2015) clips the gradient that leaves each ReLU to positive. The rule is put on
*calls*, not on modules: a `TorchFunctionMode` sees `nn.ReLU`, `F.relu`, `torch.relu`, `Tensor.relu`, their
in-place forms and ReLU6 alike, however often a module is reused. Hooks on modules miss the functional ones, and
the "guided" map is then silently the plain gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from salsanity.errors import MethodError
from salsanity.passes.request import Rule


class _GuidedRectifier(torch.autograd.Function):
    """min(max(x, 0), upper), whose backward also clips the outgoing gradient to positive."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, upper: float | None, inplace: bool) -> Tensor:
        """Rectify `x`; in place when the network asked for it, since it may not use the return value."""
        if inplace:
            y = x.clamp_(min=0, max=upper)
            ctx.mark_dirty(y)
        else:
            y = x.clamp(min=0, max=upper)
        ctx.save_for_backward((y > 0) if upper is None else (y > 0) & (y < upper))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Pass positive gradients of active units only."""
        (active,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * active, None, None


def _guided(x: Tensor, upper: float | None, inplace: bool) -> Tensor:
    return _GuidedRectifier.apply(x, upper, inplace)  # type: ignore[no-any-return, no-untyped-call]


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    return _guided(input, None, inplace)


def _relu_(input: Tensor) -> Tensor:
    return _guided(input, None, True)


def _relu6(input: Tensor, inplace: bool = False) -> Tensor:
    return _guided(input, 6.0, inplace)


def _hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    if min_val != 0:  # a hardtanh proper, not the ReLU6 that torch writes as one
        return F.hardtanh(input, min_val, max_val, inplace)
    return _guided(input, max_val, inplace)


_RECTIFIERS: Final[dict[Callable[..., Any], Callable[..., Tensor]]] = {
    F.relu: _relu,
    torch.relu: _relu,
    Tensor.relu: _relu,
    torch.relu_: _relu_,
    Tensor.relu_: _relu_,
    F.relu6: _relu6,
    F.hardtanh: _hardtanh,
}

_UNDEFINED: Final[dict[Callable[..., Any], str]] = {
    F.gelu: "GELU",
    F.silu: "SiLU",
    F.mish: "Mish",
    F.hardswish: "Hardswish",
    F.elu: "ELU",
    F.selu: "SELU",
    F.celu: "CELU",
    F.softplus: "Softplus",
    F.leaky_relu: "LeakyReLU",
    F.prelu: "PReLU",
}


@dataclass
class Rectifiers:
    """What a guided pass met: how many ReLU calls, and activations for which the rule is not defined."""

    calls: int = 0
    undefined: set[str] = field(default_factory=set)

    def require_guidable(self) -> None:
        """Raise `MethodError` unless every activation that was met is a ReLU, and there is one."""
        if self.undefined:
            names = ", ".join(sorted(self.undefined))
            raise MethodError(
                f"guided backprop is defined for ReLU only, but this network also applies {names}; "
                "leave guided_backprop and guided_gradcam out for this network"
            )
        if not self.calls:
            raise MethodError(
                "guided backprop needs a network with ReLUs, but no ReLU was called in the forward pass "
                "(compiled or scripted parts hide theirs); leave guided_backprop and guided_gradcam out"
            )


class _GuidedMode(TorchFunctionMode):
    """Replaces every rectifier that is called inside the `with` block by its guided version."""

    def __init__(self, met: Rectifiers) -> None:
        super().__init__()  # TorchFunctionMode requires it
        self.met = met

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        guided = _RECTIFIERS.get(func)
        if guided is not None:
            self.met.calls += 1
            return guided(*args, **(kwargs or {}))
        if func in _UNDEFINED:
            self.met.undefined.add(_UNDEFINED[func])
        return func(*args, **(kwargs or {}))


@contextmanager
def backward_rule(rule: Rule, *, only_part: bool = False) -> Iterator[None]:
    """Apply `rule` to the forward passes inside the block (their backward passes may run outside it).

    Raises `MethodError` at the end of the block where a guided rule met nothing to guide, or an activation for
    which it is not defined; with `only_part` of the network inside, nothing to guide is no error.
    """
    if rule is Rule.PLAIN:
        yield
        return
    met = Rectifiers()
    with _GuidedMode(met):
        yield
    if met.calls or met.undefined or not only_part:
        met.require_guidable()

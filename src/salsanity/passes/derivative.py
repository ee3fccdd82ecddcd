"""One physical batch: logits of a network at points, and their gradient at the input and at layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from salsanity.errors import MethodError, ModelError
from salsanity.models.network import Network
from salsanity.passes.precision import Precision, computing_in, widened
from salsanity.passes.replay import Tape
from salsanity.passes.request import Rule
from salsanity.passes.rules import backward_rule
from salsanity.passes.taps import tapped


@dataclass(frozen=True)
class Derivative:
    """One physical batch: logits, and per tap (None: the input) the value there and its gradient."""

    logits: Tensor
    at: Mapping[str | None, tuple[Tensor, Tensor]]


def differentiate(
    network: Network,
    x: Tensor,
    targets: Tensor,
    *,
    rule: Rule,
    taps: Sequence[str | None],
    tape: Tape | None = None,
    spared: Sequence[int] = (),
    precision: Precision = "float32",
) -> Derivative:
    """Differentiate the logits of `targets` (B,) at the points `x` (P, B, ...), one forward and backward.

    Returns values and gradients shaped (P, B, ...) for every tap; None is the input. With a `tape`, the forward graph of
    an earlier state at the same points stands in for the calls `spared`, or is kept there where the tape is empty; the
    taps are then those of the first call.
    """
    points, images = x.shape[:2]
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        stack.enter_context(computing_in(precision, x.device))
        seen: dict[str | None, Tensor] = {}
        seen.update(tape.seen if tape is not None and tape.recorded else {None: _leaf(x)})
        stack.enter_context(tapped(network.module, taps, seen))
        with backward_rule(rule, only_part=bool(spared)):
            if tape is None:
                logits = network.logits(seen[None])
            else:
                with tape.running(network, spared):
                    logits = network.logits(seen[None])
        score = logits.gather(1, targets.repeat(points)[:, None]).sum()
        if tape is not None and not tape.seen:
            tape.seen.update(seen)
        at = [seen[tap] for tap in taps]
        gradients = _gradients(score, at, network.name, keep=tape is not None)
    shaped = {
        tap: (_unflat(seen[tap], points, images), _unflat(gradient, points, images))
        for tap, gradient in zip(taps, gradients, strict=True)
    }
    return Derivative(_unflat(logits, points, images), shaped)


def _leaf(x: Tensor) -> Tensor:
    flat = x.flatten(0, 1).detach()
    return (flat.clone() if flat.is_inference() else flat).requires_grad_()


def _unflat(value: Tensor, points: int, images: int) -> Tensor:
    if value.shape[0] != points * images:
        raise MethodError(
            f"expected a layer whose first dimension is the batch ({points * images}), got shape "
            f"{tuple(value.shape)}; name another layer"
        )
    return widened(value.detach()).view(points, images, *value.shape[1:])


def _gradients(score: Tensor, at: list[Tensor], name: str, *, keep: bool) -> tuple[Tensor, ...]:
    if not score.requires_grad:
        raise ModelError(
            f"expected logits that depend on the input by differentiable steps, but those of {name or 'the network'} "
            "carry no gradient; remove detach(), no_grad() or argmax from its forward pass"
        )
    try:
        gradients = torch.autograd.grad(score, at, allow_unused=True, retain_graph=keep)
    except CheckpointError as error:
        raise MethodError(
            f"a backward rule needs the activations of the forward pass, but {name or 'the network'} computes them again on the "
            "way back; switch its gradient checkpointing off"
        ) from error
    return tuple(
        torch.zeros_like(value) if gradient is None else gradient
        for value, gradient in zip(at, gradients, strict=True)
    )

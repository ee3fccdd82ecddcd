"""The runner: physical passes in the order slice of points, then states, then fold.

A slice of points is made once and shown to every state of the network, so that what the trained lower part
computes for it can be kept and replayed; folds stream, so that memory does not grow with samples or steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from salsanity.errors import MethodError, ModelError
from salsanity.models.network import Network
from salsanity.models.swap import swapped
from salsanity.passes.fold import Accumulator, joined
from salsanity.passes.foreign import ForeignFailure, explained_by
from salsanity.passes.points import DrawBaseline, PointSource, Slice
from salsanity.passes.request import Foreign, Pass, PassResult, Points, Rule
from salsanity.passes.rules import backward_rule
from salsanity.passes.schedule import Demand, Extent, Group, State, extents, groups_of


@dataclass(frozen=True)
class Batch:
    """Images to explain: `x` (B, ...) on the network's device, and one id per image."""

    x: Tensor
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """How passes run: the seed and stream of their noise, and how many points go through at once."""

    seed: int
    stream: int
    batch_size: int
    draw_baseline: DrawBaseline
    tick: Callable[[int], None] | None = None
    """Told after each physical batch how many evaluations it made."""


@dataclass
class Answer:
    """What one state of the network gave: a result or a failure per request.

    `logits` (B, classes) at the unchanged inputs where a pass evaluated them, else None.
    """

    results: dict[Pass | Foreign, PassResult | ForeignFailure] = field(default_factory=dict)
    logits: Tensor | None = None


@dataclass(frozen=True)
class Derivative:
    """One physical batch: logits, and per tap (None: the input) the value there and its gradient."""

    logits: Tensor
    at: Mapping[str | None, tuple[Tensor, Tensor]]


def run(
    network: Network, batch: Batch, demands: Sequence[Demand], *, setting: Setting
) -> list[Answer]:
    """Run everything that `demands` want, each distinct pass once, and return one answer per demand."""
    answers = [Answer() for _ in demands]
    for group in groups_of(demands):
        _run_group(network, batch, demands, group, setting, answers)
    for demand, answer in zip(demands, answers, strict=True):
        for request in demand.requests:
            if isinstance(request, Foreign):
                answer.results[request] = _run_foreign(
                    network, batch, demand.state, request, setting
                )
    return answers


def _run_group(
    network: Network,
    batch: Batch,
    demands: Sequence[Demand],
    group: Group,
    setting: Setting,
    answers: Sequence[Answer],
) -> None:
    parts = [_Parts(wanted) for wanted in group.requests]
    plan = extents(images=len(batch.ids), points=group.points.count, batch_size=setting.batch_size)
    for extent, piece in _pieces(batch, group.points, setting, plan):
        for demand, part in zip(demands, parts, strict=True):
            if part.wanted:
                targets = demand.state.targets[extent.first : extent.last]
                with swapped(network, demand.state.weights, exact=False):
                    found = differentiate(
                        network, piece.x, targets, rule=group.rule, taps=part.taps
                    )
                part.take(extent, piece, found)
                if setting.tick is not None:
                    setting.tick(len(piece.x) * len(targets))
    plain = group.points == Points() and group.rule is Rule.PLAIN
    for part, answer in zip(parts, answers, strict=True):
        answer.results.update(part.results())
        if plain and part.wanted:
            answer.logits = joined(part.logits)


def _pieces(
    batch: Batch, points: Points, setting: Setting, plan: Iterator[Extent]
) -> Iterator[tuple[Extent, Slice]]:
    source, source_range = None, None
    for extent in plan:
        images = slice(extent.first, extent.last)
        if source is None or source_range != images:
            source_range = images
            source = PointSource(
                points,
                batch.x[images],
                batch.ids[images],
                setting.seed,
                setting.stream,
                setting.draw_baseline,
            )
        yield extent, source.positions(extent.start, extent.stop)


class _Parts:
    """The folds of one state in one group: fresh for every range of images, joined at the end."""

    def __init__(self, wanted: tuple[Pass, ...]) -> None:
        self.wanted = wanted
        self.taps = tuple(dict.fromkeys(request.tap for request in wanted))
        self.ranges: list[tuple[int, dict[Pass, tuple[Accumulator, Accumulator]]]] = []
        self.logits: list[Tensor] = []

    def take(self, extent: Extent, piece: Slice, found: Derivative) -> None:
        """Fold one slice in."""
        if not self.ranges or self.ranges[-1][0] != extent.first:
            self.ranges.append((extent.first, {request: _pair(request) for request in self.wanted}))
        if extent.start == 0:
            self.logits.append(found.logits[0])
        for request, (gradients, activations) in self.ranges[-1][1].items():
            kept = min(extent.stop, request.points.count) - extent.start
            if kept > 0:
                value, gradient = found.at[request.tap]
                shift = piece.displacement
                gradients.update(gradient[:kept], None if shift is None else shift[:kept])
                if request.tap is not None:
                    activations.update(value[:kept], None)

    def results(self) -> dict[Pass | Foreign, PassResult | ForeignFailure]:
        """Return the folded results over all images."""
        return {request: self._result(request) for request in self.wanted}

    def _result(self, request: Pass) -> PassResult:
        pairs = [folds[request] for _, folds in self.ranges]
        gradient = joined([gradients.result() for gradients, _ in pairs])
        if request.tap is None:
            return PassResult(gradient)
        return PassResult(gradient, joined([activations.result() for _, activations in pairs]))


def _pair(request: Pass) -> tuple[Accumulator, Accumulator]:
    return Accumulator.of(request.fold), Accumulator.of(request.fold)


def differentiate(
    network: Network, x: Tensor, targets: Tensor, *, rule: Rule, taps: Sequence[str | None]
) -> Derivative:
    """Differentiate the logits of `targets` (B,) at the points `x` (P, B, ...), one forward and backward.

    Returns values and gradients shaped (P, B, ...) for every tap; None is the input.
    """
    points, images = x.shape[:2]
    flat = x.flatten(0, 1).detach()
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        flat = flat.clone() if flat.is_inference() else flat
        seen: dict[str | None, Tensor] = {None: flat.requires_grad_()}
        for tap in taps:
            if tap is not None:
                stack.enter_context(tapped(network.module, tap, seen))
        stack.enter_context(backward_rule(rule))
        logits = network.logits(flat)
        score = logits.gather(1, targets.repeat(points)[:, None]).sum()
    gradients = _gradients(score, [seen[tap] for tap in taps], network.name)
    shaped = {
        tap: (_unflat(seen[tap].detach(), points, images), _unflat(gradient, points, images))
        for tap, gradient in zip(taps, gradients, strict=True)
    }
    return Derivative(_unflat(logits.detach(), points, images), shaped)


def _unflat(value: Tensor, points: int, images: int) -> Tensor:
    if value.shape[0] != points * images:
        raise MethodError(
            f"expected a layer whose first dimension is the batch ({points * images}), got shape "
            f"{tuple(value.shape)}; name another layer"
        )
    return value.view(points, images, *value.shape[1:])


def _gradients(score: Tensor, at: list[Tensor], name: str) -> tuple[Tensor, ...]:
    if not score.requires_grad:
        raise ModelError(
            f"expected logits that depend on the input by differentiable steps, but those of {name or 'the network'} "
            "carry no gradient; remove detach(), no_grad() or argmax from its forward pass"
        )
    gradients = torch.autograd.grad(score, at, allow_unused=True)
    return tuple(
        torch.zeros_like(value) if gradient is None else gradient
        for value, gradient in zip(at, gradients, strict=True)
    )


@contextmanager
def tapped(module: nn.Module, layer: str, seen: dict[str | None, Tensor]) -> Iterator[None]:
    """Keep the output of `layer` in `seen` during the block.

    The network goes on with a copy of it, since a following in-place ReLU would overwrite the kept one.
    """

    def keep(_: nn.Module, __: object, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise MethodError(
                f"expected a layer that returns one tensor, but {layer!r} returns {type(output).__name__}; "
                "name another layer"
            )
        seen[layer] = output
        return output.clone()

    handle = module.get_submodule(layer).register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def _run_foreign(
    network: Network, batch: Batch, state: State, request: Foreign, setting: Setting
) -> PassResult | ForeignFailure:
    with swapped(network, state.weights):
        return explained_by(
            request,
            network,
            batch.x,
            state.targets,
            ids=batch.ids,
            seed=setting.seed,
            stream=setting.stream,
        )

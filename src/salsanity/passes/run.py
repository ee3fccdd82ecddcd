"""The runner: physical passes in the order slice of points, then states, then fold.

A slice of points is made once and shown to every state of the network, so that what the trained lower part
computes for it can be kept and replayed; folds stream, so that memory does not grow with samples or steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from torch import Tensor

from salsanity.models.network import Network
from salsanity.models.swap import Shelf
from salsanity.passes.derivative import Derivative, differentiate
from salsanity.passes.fold import Accumulator, joined
from salsanity.passes.foreign import ForeignFailure, explained_by
from salsanity.passes.points import DrawBaseline, PointSource, Slice
from salsanity.passes.precision import Precision
from salsanity.passes.replay import Diverged, Rehearsal, Replay, Tape
from salsanity.passes.request import Foreign, Pass, PassResult, Points, Rule
from salsanity.passes.schedule import Demand, Extent, Group, State, extents, groups_of, in_state

AT_ONCE: Final = (4 * 3 * 224 * 224, 32 * 3 * 224 * 224)
"""Values of images that go through an explainer that is not ours in one call, on a CPU and on a GPU."""


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
    tick: Callable[[float], None] | None = None
    """Told after each physical batch how many evaluations it made."""
    replay: Replay = "auto"
    precision: Precision = "float32"
    worth: Mapping[str, float] = field(default_factory=dict)
    """How many evaluations a map of an explainer that is not ours takes as long as, by the explainer's name."""
    batched: frozenset[str] = frozenset()
    """Explainers that are not ours whose maps are the same in a batch."""


@dataclass
class Answer:
    """What one state of the network gave: a result or a failure per request.

    `logits` (B, classes) at the unchanged inputs where a pass evaluated them, else None.
    """

    results: dict[Pass | Foreign, PassResult | ForeignFailure] = field(default_factory=dict)
    logits: Tensor | None = None


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
    states = _States(network, [d.state for d in demands], parts, group.rule, setting)
    for extent, piece in _pieces(batch, group.points, setting, plan):
        states.run(extent, piece)
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


class _States:
    """Every state of the network at one slice of points after another, with replay where it pays."""

    def __init__(
        self,
        network: Network,
        states: Sequence[State],
        parts: Sequence[_Parts],
        rule: Rule,
        setting: Setting,
    ) -> None:
        self.network, self.states, self.parts = network, states, parts
        self.rule, self.setting = rule, setting
        self.wanted = [i for i, part in enumerate(parts) if part.wanted]
        self.taps = tuple(dict.fromkeys(tap for part in parts for tap in part.taps))
        self.shelf = Shelf()
        self.rehearsal: Rehearsal | None = None
        self.rehearsed = False

    def run(self, extent: Extent, piece: Slice) -> None:
        """Run all states at one slice and fold what they give."""
        if not self.rehearsed:
            self.rehearsal = self._rehearse(piece)
            self.rehearsed = True
        tape = None if self.rehearsal is None else self.rehearsal.tape()
        order = range(len(self.wanted)) if self.rehearsal is None else self.rehearsal.order
        for place in order:
            state = self.wanted[place]
            found = self._found(extent, piece, self.states[state], place, tape)
            self.parts[state].take(extent, piece, found)
            if self.setting.tick is not None:
                self.setting.tick(len(piece.x) * (extent.last - extent.first))

    def _rehearse(self, piece: Slice) -> Rehearsal | None:
        return Rehearsal.of(
            self.network,
            [self.states[i].weights for i in self.wanted],
            piece.x[0, :1],
            points=piece.x.shape[0] * piece.x.shape[1],
            replay=self.setting.replay,
            taps=self.taps,
        )

    def _found(
        self, extent: Extent, piece: Slice, state: State, place: int, tape: Tape | None
    ) -> Derivative:
        targets = state.targets[extent.first : extent.last]
        with in_state(self.network, state, exact=False, shelf=self.shelf):
            if tape is not None and self.rehearsal is not None:
                spared = self.rehearsal.spared[place] if tape.recorded else ()
                try:
                    return self._derivative(piece, targets, tape, spared)
                except Diverged:
                    self.rehearsal = None  # a network whose calls differ from time to time
            return self._derivative(piece, targets)

    def _derivative(
        self,
        piece: Slice,
        targets: Tensor,
        tape: Tape | None = None,
        spared: Sequence[int] = (),
    ) -> Derivative:
        return differentiate(
            self.network,
            piece.x,
            targets,
            rule=self.rule,
            taps=self.taps,
            tape=tape,
            spared=spared,
            precision=self.setting.precision,
        )


def _pair(request: Pass) -> tuple[Accumulator, Accumulator]:
    return Accumulator.of(request.fold), Accumulator.of(request.fold)


def _run_foreign(
    network: Network, batch: Batch, state: State, request: Foreign, setting: Setting
) -> PassResult | ForeignFailure:
    with in_state(network, state):
        found = explained_by(
            request,
            network,
            batch.x,
            state.targets,
            ids=batch.ids,
            seed=setting.seed,
            stream=setting.stream,
            together=_together(batch.x, request, setting),
        )
    if setting.tick is not None:
        setting.tick(setting.worth.get(request.name, 0.0) * len(batch.ids))
    return found


def _together(x: Tensor, request: Foreign, setting: Setting) -> int:
    """Return how many images an explainer is given at once: its own steps and samples multiply what they take."""
    if request.name not in setting.batched:
        return 1
    budget = AT_ONCE[x.device.type == "cuda"] // max(1, x[0].numel())
    return max(1, min(setting.batch_size, budget))

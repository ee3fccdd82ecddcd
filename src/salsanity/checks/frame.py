"""The frame: a check says which states of a network to compare with which, and what must come of it.

A *state* is one situation in which every method is asked: weights put in, targets explained, a map of inputs. A *pair*
names two states whose maps are compared, at a *stage* of a draw; pairs of stage `self` give the ceiling. A *line* says at
which stage how much must change, or must stay (`salsanity.records.Line`). Everything else (passes, similarities, chance,
intervals, verdicts, pages) is the same for every check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn

from salsanity.data.examples import ImageSource
from salsanity.methods import Method
from salsanity.models.network import Network
from salsanity.models.slots import Weights
from salsanity.narrator import Narrator
from salsanity.options import as_identified, identity_of
from salsanity.records import REFERENCE_STAGE, VIEWS, CheckRecord, Line, Outcome, Words
from salsanity.similarity import Similarity, Statistic

REFERENCE_STREAM: Final = 0
CHANGED_STREAM: Final = 1
"""Noise streams: reference maps use the first, everything that is compared with them the second."""

TRAINED: Final = "trained"
"""Name of the network as it is."""


@final
@dataclass(frozen=True, eq=False)
class InputMap:
    """What methods are given in place of the images, what stands before the network, and how maps come back.

    `there`: images (B, ...) to what methods are given. `before`: put before the network, whatever it is given. `back`:
    maps of what was given to maps of the images. None: nothing. Noise and identity stay those of the images.
    """

    there: Callable[[Tensor], Tensor]
    before: Callable[[Tensor], Tensor] | None = None
    back: Callable[[Tensor], Tensor] | None = None
    is_shown: bool = False
    """Whether the check's figures show what methods are given in place of the photograph."""


@final
@dataclass(frozen=True, eq=False)
class State:
    """One situation in which methods are asked.

    `weights`: put into the network (layer -> tensor name -> values). `targets`: classes explained (B,); None: those of
    the run; `own`: what the network in this state predicts. `stream`: of noise. `asks` `stochastic`: only methods that
    draw noise, as for a ceiling. `is_watched`: whether the logits must still tell images apart. `shown`: the name under
    which maps are kept for the figures; empty: not kept.
    """

    name: str
    weights: Weights = field(default_factory=dict)
    targets: Tensor | Literal["own"] | None = None
    inputs: InputMap | tuple[InputMap, ...] | None = None
    """Of several, maps are the mean."""
    stream: int = CHANGED_STREAM
    asks: Literal["all", "stochastic"] = "all"
    is_watched: bool = False
    shown: str = ""


@final
@dataclass(frozen=True)
class Pair:
    """Two states, by name, whose maps are compared at `stage`; `draw` is the column of the table.

    `has_chance`: whether what chance gives is measured too; of statistics, whether that of the reference stands beside that
    of the changed map.
    """

    stage: str
    index: int
    draw: int
    reference: str
    changed: str
    has_chance: bool = True


@final
@dataclass(frozen=True, eq=False)
class Chunk:
    """The images of a unit: preprocessed (B, ...), the classes explained (B,), and one id per image."""

    x: Tensor
    targets: Tensor
    ids: tuple[str, ...]


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """What a check stands on: the trained network, the seed, and the run's images.

    `pool`: gives up to 64 of the run's first images. `logits`: of the trained network, (B, classes). `target`: `trained`,
    `label` or `own`. `recorded`: what spec.json says of this check in a continued run, or empty. `memory`: what a check
    keeps between units of one process. `similarities`: those of the run.
    """

    network: Network
    seed: int
    draws: int
    target: str
    pool: Callable[[], Tensor]
    logits: Callable[[Tensor], Tensor]
    make_model: Callable[[], nn.Module] | None = None
    recorded: Mapping[str, Any] = field(default_factory=dict)
    memory: dict[Any, Any] = field(default_factory=dict)
    similarities: tuple[Similarity[Any], ...] = ()


@runtime_checkable
class PlacedStatistic(Protocol):
    """A statistic that looks at another place in each image's map: what a check may have among its `measures`."""

    @property
    def name(self) -> str:
        """The name in specs and, in the column `similarity`, in scores."""

    def placed(self, chunk: Chunk) -> Statistic:
        """Return the statistic for the images of a chunk."""


class Check(Protocol):
    """What is compared, on a given network; see `SimpleCheck` for how little a check of yours has to say."""

    @property
    def name(self) -> str:
        """The name in scores and verdicts."""

    @property
    def words(self) -> Words:
        """How it speaks."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is demanded; the first line is the one after everything."""

    @property
    def controls(self) -> Mapping[str, Outcome]:
        """What each control must come out as here."""

    @property
    def stages(self) -> tuple[Mapping[str, Any], ...]:
        """Every stage as spec.json lists it: `name`, `index` (from 1) and what the check adds."""

    @property
    def draws(self) -> int:
        """How many draws there are, a unit each."""

    @property
    def measures(self) -> tuple[Any, ...]:
        """Statistics (`Statistic`, `PlacedStatistic`), or similarities, that are measured in place of the run's similarities;
        none: those."""

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        """Return the stages that a unit computes; `is_shown`: its images stand in the figures."""

    def references(self, ground: Ground, chunk: Chunk) -> Sequence[State]:
        """Return the states that others are compared with."""

    def changed(
        self, ground: Ground, chunk: Chunk, draw: int, stages: Sequence[str]
    ) -> Sequence[State]:
        """Return the states of a draw that pairs of these stages, and of stage `self`, name."""

    def pairs(self, draw: int) -> Sequence[Pair]:
        """Return what is compared in a draw."""

    def method(self, method: Method) -> Method:
        """Return what stands for a method in this check: usually the method."""

    def fingerprint(self) -> Mapping[str, Any]:
        """Return values that tell two checks apart whose scores may differ; objects of any kind, printed by the unit's
        identity."""


@final
@dataclass(frozen=True)
class Settled:
    """A check on its network, and what is to be told of it.

    `notes`: sentences for the person who waits. `coverage`: entries of coverage.json. `gates`: reasons why nothing can be said.
    `columns`: columns of a complete table where they are not the draws. Other fields as in `CheckRecord`.
    """

    check: Check
    notes: tuple[str, ...] = ()
    coverage: tuple[Mapping[str, Any], ...] = ()
    gates: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    states: tuple[str, ...] = ()
    columns: int | None = None
    is_course: bool = False
    init: str | None = None
    never_pass: str = ""
    test: str = "retained"
    is_fixed: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of spec.json."""

    def record(self, measures: Sequence[str]) -> CheckRecord:
        """Return what spec.json says of the check; `measures`: the similarities of the run."""
        check = self.check
        shown = (TRAINED, *(str(stage["name"]) for stage in check.stages))
        return CheckRecord(
            name=check.name,
            words=check.words,
            lines=check.lines,
            controls=check.controls,
            stages=check.stages,
            states=self.states or shown,
            draws=check.draws if self.columns is None else self.columns,
            measures=tuple(m.name for m in check.measures) or tuple(measures),
            is_course=self.is_course,
            init=self.init,
            facts=self.facts,
            never_pass=self.never_pass,
            test=self.test,
            is_fixed=self.is_fixed,
            settings=self.settings,
        )


@runtime_checkable
class OnNetwork(Protocol):
    """A check that looks at the network before it can say what it compares."""

    def on(self, ground: Ground) -> Settled:
        """Return the check for this network."""


@final
@dataclass(frozen=True, eq=False)
class Workshop:
    """What a check that trains networks is given: builder, data, the folder that is its own, and who is told."""

    make_model: Callable[[], nn.Module] | None
    train: ImageSource | None
    test: ImageSource
    folder: Path
    device: torch.device
    seed: int
    narrator: Narrator


@runtime_checkable
class BringsNetwork(Protocol):
    """A check that trains or brings the networks that it compares."""

    def brought(self, workshop: Workshop) -> tuple[Check, nn.Module]:
        """Return the check with its networks, and the first of them, which is the run's network."""


@runtime_checkable
class SimpleCheck(Protocol):
    """The least that a check has to say: its words, its lines, and the changed states of a draw.

    A state is compared with the trained network at the stage that it is called after. Optional: `ceiling = "one"` where a
    changed state differs from the reference in what the check changes and in nothing else, noise included (give it
    `stream=REFERENCE_STREAM`): no change is then 1, otherwise the trained network is explained again under other noise;
    `stages`, names in the order of their index, by default those of the lines; `draws`, how many there are where the
    run's number does not apply (1: there is nothing to draw, and intervals speak of images alone); `is_together = True` where
    draws change no weights and no inputs: all of a chunk are then one unit, whose states share forward passes;
    `views`, where not both are looked at; `method(m)`; `measures`; `test`.
    """

    name: str
    words: Words
    lines: tuple[Line, ...]
    controls: Mapping[str, Outcome]

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        """Return the states of a draw, each named after its stage."""


@final
@dataclass(frozen=True)
class Completed:
    """A simple check with everything that it left out."""

    simple: Any
    columns: int
    """Draws, and so columns of a complete table."""

    @property
    def name(self) -> str:
        """The check's name."""
        return str(self.simple.name)

    @property
    def draws(self) -> int:
        """Units of a chunk: one for each draw, or one for all."""
        return 1 if self.is_together else self.columns

    @property
    def words(self) -> Words:
        """The check's words."""
        found: Words = self.simple.words
        return found

    @property
    def lines(self) -> tuple[Line, ...]:
        """The check's lines."""
        return tuple(self.simple.lines)

    @property
    def controls(self) -> Mapping[str, Outcome]:
        """The check's controls."""
        return dict(self.simple.controls)

    @property
    def measures(self) -> tuple[Any, ...]:
        """The check's statistics."""
        return tuple(getattr(self.simple, "measures", ()))

    @property
    def views(self) -> tuple[str, ...]:
        """The views that the check looks at."""
        return tuple(getattr(self.simple, "views", VIEWS))

    @property
    def stages(self) -> tuple[Mapping[str, Any], ...]:
        """One stage for each that a line names, in their order."""
        named = getattr(self.simple, "stages", ()) or [line.stage for line in self.lines]
        return tuple({"name": n, "index": i} for i, n in enumerate(dict.fromkeys(named), 1))

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        """Return every stage."""
        return tuple(str(stage["name"]) for stage in self.stages)

    def references(self, ground: Ground, chunk: Chunk) -> Sequence[State]:
        """Return the trained network."""
        return [trained()]

    def changed(
        self, ground: Ground, chunk: Chunk, draw: int, stages: Sequence[str]
    ) -> Sequence[State]:
        """Return the check's states, under names of their own, and the ceiling's."""
        states = [
            self._completed(state, drawn)
            for drawn in self._drawn(draw)
            for state in self.simple.changed(ground, chunk, drawn)
        ]
        return states if self.is_exact or draw else [*states, again(self.name)]

    def pairs(self, draw: int) -> Sequence[Pair]:
        """Compare every stage with the trained network, and the trained network with itself under other noise."""
        found = [
            Pair(str(s["name"]), int(s["index"]), k, TRAINED, self._state(k, str(s["name"])))
            for k in self._drawn(draw)
            for s in self.stages
        ]
        own = Pair(REFERENCE_STAGE, 0, 0, TRAINED, again(self.name).name)
        return found if self.is_exact or draw else [*found, own]

    def method(self, method: Method) -> Method:
        """Return the method, or what the check puts around it."""
        wrap: Callable[[Method], Method] | None = getattr(self.simple, "method", None)
        return method if wrap is None else wrap(method)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the check itself, its code and fields, but for what only judges; and how many draws share a unit."""
        together = {"draws": self.columns} if self.is_together else {}
        return {"check": as_identified(self.simple), **together}

    @property
    def is_together(self) -> bool:
        """Whether all draws of a chunk are one unit."""
        return bool(getattr(self.simple, "is_together", False))

    @property
    def is_exact(self) -> bool:
        """Whether no change is 1, without a run."""
        return getattr(self.simple, "ceiling", "measured") == "one"

    def _completed(self, state: State, draw: int) -> State:
        """Name a state apart from those of other checks; the figures show the first draw."""
        shown = "" if draw else state.shown or state.name
        return replace(state, name=self._state(draw, state.name), shown=shown)

    def _drawn(self, unit: int) -> range:
        """Return the draws of a unit."""
        return range(self.columns) if self.is_together else range(unit, unit + 1)

    def _state(self, draw: int, stage: str) -> str:
        return f"{self.name} {draw}/{stage}"


def completed(check: Any, ground: Ground) -> Settled:
    """Return a simple check with everything that it left out; an exact number of draws is its own, any other the run's."""
    own: int | None = getattr(check, "draws", None)
    draws = ground.draws if own is None else own
    return Settled(
        Completed(check, draws),
        columns=draws,
        settings=identity_of(check) if is_dataclass(check) else {},
        test=str(getattr(check, "test", "retained")),
        is_fixed=own == 1,
    )


def trained() -> State:
    """Return the network as it is, under the reference stream; checks share its maps."""
    return State(TRAINED, stream=REFERENCE_STREAM, shown=TRAINED)


def again(check: str) -> State:
    """Return the trained network under other noise, which methods that draw noise are asked for: the ceiling."""
    return State(f"{check} 0/{REFERENCE_STAGE}", asks="stochastic")

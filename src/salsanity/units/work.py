"""Doing a unit: every state of one draw of a check on one chunk of images becomes rows of scores.

Whatever the check, the order is: reference states once per chunk; then changed states one after another, each compared in
every pair that names it, so that memory holds the maps of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any, final

import torch
from torch import Tensor

from salsanity.checks.frame import (
    REFERENCE_STREAM,
    TRAINED,
    Check,
    Chunk,
    Ground,
    InputMap,
    Pair,
    PlacedStatistic,
    State,
)
from salsanity.errors import UnitError
from salsanity.methods import Method
from salsanity.passes.backoff import with_backoff
from salsanity.passes.schedule import State as Pose
from salsanity.passes.schedule import in_state
from salsanity.records import CONTROLS, REFERENCE_STAGE, VIEWS, UnitKey, UnitResult
from salsanity.similarity import Similarity, view
from salsanity.units.compare import Prepared, Reference, Rows, alive_maps, chance, compare, prepare
from salsanity.units.explain import (
    Beside,
    Explained,
    StateMaps,
    Wanted,
    averaged,
    brought_back,
    explain,
    own_targets,
)
from salsanity.units.health import signal_of
from salsanity.units.images import ChunkReader
from salsanity.units.pictures import Pictures
from salsanity.units.plan import partners
from salsanity.units.tools import Instruments

Kept = dict[Any, Any]
Place = tuple[str, str, tuple[str, ...], tuple[str, ...], int]
"""Check, state, methods, similarities and batch size of a reference."""


@final
@dataclass
class Worker:
    """Computes units in this process; what serves several units of a chunk is kept for the newest one."""

    tools: Instruments
    checks: Mapping[str, Check]
    ground: Ground
    reader: ChunkReader
    shown: frozenset[str] = frozenset()
    _kept: tuple[object, Kept] | None = field(default=None, init=False)

    def compute(self, key: UnitKey) -> UnitResult:
        """Compute the unit; when memory runs out, again with half the batch size, and note it."""
        return with_backoff(
            lambda size: self._compute(key, size), self.tools.batch_size, self._forget
        )

    def kept(self, place: object) -> Kept:
        """Return what is kept for a chunk; that of another chunk is forgotten first."""
        if self._kept is None or self._kept[0] != place:
            self._kept = None
            self._kept = (place, {})
        return self._kept[1]

    def _forget(self) -> None:
        self._kept = None

    def _compute(self, key: UnitKey, batch_size: int) -> UnitResult:
        began = time.perf_counter()
        unit = Unit.of(key, self, batch_size)
        unit.run()
        notes = {
            "health": unit.health,
            **unit.beside.notes(),
            "seconds": time.perf_counter() - began,
            "batch_size": batch_size,
            "memory_format": self.tools.memory_format,
        }
        return UnitResult(key, unit.rows.columns, notes, unit.pictures.found)


Features = dict[tuple[str, str, str], Prepared]


@final
@dataclass
class Unit:
    """One unit being computed."""

    key: UnitKey
    worker: Worker
    check: Check
    chunk: Chunk
    methods: tuple[Method, ...]
    similarities: tuple[Similarity[Any], ...]
    partners: list[tuple[int, ...]]
    batch_size: int
    rows: Rows
    pictures: Pictures
    health: list[dict[str, Any]] = field(default_factory=list)
    beside: Beside = field(default_factory=Beside)
    again: set[tuple[str, str, str]] = field(default_factory=set)
    """Cells whose ceiling was measured."""

    @classmethod
    def of(cls, key: UnitKey, worker: Worker, batch_size: int) -> Unit:
        """Read the chunk, or take it over from the unit before."""
        check, tools = worker.checks[key.check], worker.tools
        kept = worker.kept(key.images)
        if "chunk" not in kept:
            kept["chunk"] = _read(worker.reader, key)
        measured = {name.partition("#")[0] for name in key.similarities}
        return cls(
            key,
            worker,
            check,
            kept["chunk"],
            tuple(check.method(m) for m in _chosen(key, tools)),
            tuple(s for s in (check.measures or tools.similarities) if s.name in measured),
            partners(key.images),
            batch_size,
            Rows(key.check, key.images),
            Pictures(worker.shown),
        )

    def run(self) -> None:
        """Explain and compare everything."""
        pairs = self._pairs()
        references = self._references(pairs)
        named = {pair.changed for pair in pairs}
        changed = self.check.changed(self.worker.ground, self.chunk, self.key.draw, self.key.stages)
        wanted = [state for state in changed if state.name in named]
        self._check_named({p.reference for p in pairs}, references)
        self._check_named(named, {*references, *(state.name for state in wanted)})
        for state, maps in self._explained(wanted):
            self._picture(self.pictures, state, maps, self.key.check)
            features = self._prepared(maps, references)
            for pair in pairs:
                if pair.changed == state.name:
                    self._compare(pair, references[pair.reference], features)
            if state.is_watched:
                stage = next(p.stage for p in pairs if p.changed == state.name)
                self._watch(state, stage, maps, features)
        among = [p for p in pairs if p.changed in references]
        for pair in among:
            self._compare(pair, references[pair.reference], references[pair.changed].features)
        if self.key.draw == 0 and references:
            self._sure_ceilings(self._ceiling_of(pairs, references))

    def sample(self) -> tuple[State, State]:
        """Return a reference and a changed state of the unit, those that its last stage compares first."""
        stage, ground, draw = self.key.stages[-1], self.worker.ground, self.key.draw
        pair = next(p for p in self.check.pairs(draw) if p.stage == stage)
        changed = self.check.changed(ground, self.chunk, draw, (stage,))
        known = {s.name: s for s in (*self.check.references(ground, self.chunk), *changed)}
        return known[pair.reference], known[pair.changed]

    def explained(self, state: State) -> dict[str, Explained]:
        """Explain one state; of several maps of inputs the first, since it is only tried."""
        first = state.inputs[0] if isinstance(state.inputs, tuple) else state.inputs
        ((_, maps),) = self._explained([replace(state, inputs=first)])
        return maps.maps

    def _check_named(self, named: Collection[str], known: Collection[str]) -> None:
        """Raise where pairs name a state that is not there: its rows would be missing in silence."""
        lacking = sorted(set(named) - set(known))
        if lacking:
            raise UnitError(
                f"expected a state {lacking[0]!r} of the check {self.key.check} in draw {self.key.draw}, as its pairs name "
                f"it, got {', '.join(map(repr, sorted(known))) or 'none'}; name each state after its stage"
            )

    @property
    def is_statistic(self) -> bool:
        """Whether numbers of single maps are measured, and no likeness of two."""
        return any(hasattr(measure, "measure") for measure in self.statistics)

    @property
    def statistics(self) -> tuple[Any, ...]:
        """What the check measures of its own, for the images of this chunk."""
        return tuple(
            m.placed(self.chunk) if isinstance(m, PlacedStatistic) else m
            for m in self.check.measures
        )

    @property
    def views(self) -> tuple[str, ...]:
        """The views that the check looks at: usually both."""
        return tuple(getattr(self.check, "views", VIEWS))

    def _pairs(self) -> list[Pair]:
        asked = {*self.key.stages, REFERENCE_STAGE}
        return [pair for pair in self.check.pairs(self.key.draw) if pair.stage in asked]

    def _references(self, pairs: Sequence[Pair]) -> dict[str, Reference]:
        """Explain the reference states, once per chunk; the trained network's serve every check that takes methods as
        they are."""
        kept = self.worker.kept(self.key.images)
        states = self.check.references(self.worker.ground, self.chunk)
        named = {pair.reference for pair in pairs} | {pair.changed for pair in pairs}
        places = {s.name: self._place(s) for s in states if s.name in named}
        missing = [s for s in states if s.name in named and places[s.name] not in kept]
        for state, maps in self._explained(missing):
            shown = Pictures(self.worker.shown)
            place = places[state.name]
            self._picture(shown, state, maps, place[0])
            reference = Reference.of(self._prepared(maps, None), maps.maps)
            kept[place] = reference, shown, Beside().take(maps.maps)
        # Whichever unit explained them, so that units do not depend on each other.
        for _, shown, beside in (kept[place] for place in places.values()):
            self.beside.add(beside)
            if self.key.draw == 0:
                self.pictures.add(shown)
        return {name: kept[place][0] for name, place in places.items()}

    def _place(self, state: State) -> Place:
        """Name what a reference's features depend on beside the chunk; first the check, or nothing where all share it."""
        plain = state.name == TRAINED and not state.weights and state.inputs is None
        is_usual = plain and state.targets is None and state.stream == REFERENCE_STREAM
        as_they_are = all(map(is_, self.methods, _chosen(self.key, self.worker.tools)))
        is_shared = is_usual and as_they_are and self.views == VIEWS and not self.check.measures
        own = "" if is_shared else self.key.check
        return (own, state.name, self.key.methods, self.key.similarities, self.batch_size)

    def _explained(self, states: Sequence[State]) -> Iterator[tuple[State, StateMaps]]:
        """Explain states in order, those of one stream and one map of inputs together."""
        start = 0
        while start < len(states):
            first = states[start]
            stop = start + 1
            while stop < len(states) and _alike(states[stop], first):
                stop += 1
            yield from self._explained_together(states[start:stop])
            start = stop

    def _explained_together(self, states: Sequence[State]) -> Iterator[tuple[State, StateMaps]]:
        first = states[0].inputs
        if not isinstance(first, tuple):
            yield from self._under(states, first)
            return
        for state in states:  # the mean over several maps of inputs, state by state
            found = [next(self._under([state], each))[1] for each in first]
            yield state, averaged(found)

    def _under(
        self, states: Sequence[State], mapped: InputMap | None
    ) -> Iterator[tuple[State, StateMaps]]:
        tools = self.worker.tools
        x = self.chunk.x if mapped is None else mapped.there(self.chunk.x)
        setting = tools.setting(states[0].stream, batch_size=self.batch_size)
        if mapped is not None:
            setting = replace(setting, replay="off")
        inputs = tools.inputs(x, self.chunk.targets, self.key.images, "")
        before = None if mapped is None else mapped.before
        wanted = [Wanted(self._pose(s, x, before), self._asked(s)) for s in states]
        found = explain(tools.network, inputs, wanted, setting=setting)
        for state, maps in zip(states, found, strict=True):
            self.beside.take(maps.maps)
            back = None if mapped is None else mapped.back
            yield state, maps if back is None else brought_back(maps, back)

    def _picture(self, pictures: Pictures, state: State, maps: StateMaps, check: str) -> None:
        """Keep the maps of a state, and what methods were given where figures show that."""
        pictures.take(self.key.images, maps, state.shown, check)
        mapped = state.inputs
        if state.shown and isinstance(mapped, InputMap) and mapped.is_shown:
            pictures.show(self.key.images, mapped.there(self.chunk.x), check)

    def _asked(self, state: State) -> tuple[Method, ...]:
        if state.asks == "all":
            return self.methods
        return tuple(method for method in self.methods if method.stochastic)

    def _pose(self, state: State, x: Tensor, before: Callable[[Tensor], Tensor] | None) -> Pose:
        targets = self.chunk.targets if state.targets is None else state.targets
        if isinstance(targets, Tensor):
            return Pose(state.name, state.weights, targets, before)
        pose = Pose(state.name, state.weights, self.chunk.targets, before)
        return replace(pose, targets=own_targets(self._logits(pose, x)))

    def _logits(self, pose: Pose, x: Tensor) -> Tensor:
        network = self.worker.tools.network
        with in_state(network, pose), torch.no_grad():
            parts = [network.logits(part) for part in torch.split(x, self.batch_size)]
        return torch.cat(parts)

    def _prepared(self, maps: StateMaps, references: Mapping[str, Reference] | None) -> Features:
        if self.is_statistic:
            return _measured(maps.maps, self)
        first = next(iter(references.values()), None) if references else None
        return prepare(maps.maps, self.similarities, first, views=self.views)

    def _compare(self, pair: Pair, reference: Reference, changed: Features) -> None:
        """Write the rows of one pair; only methods that the changed state was asked for."""
        if pair.stage == REFERENCE_STAGE and self.is_statistic:
            return  # what stands there is the statistic of the reference
        for cell, features in changed.items():
            if pair.stage == REFERENCE_STAGE and cell[0] in CONTROLS:
                continue  # controls count as deterministic: their ceiling is 1
            result = self._compared(pair, cell, reference, features)
            self._add(cell, pair.stage, pair.index, pair.draw, *result)

    def _compared(
        self, pair: Pair, cell: tuple[str, str, str], reference: Reference, features: Prepared
    ) -> tuple[list[float], list[float], list[str | None]]:
        if self.is_statistic:
            beside = reference.features[cell] if pair.has_chance else None
            return _beside(features, beside)
        similarity = self._similarity(cell[2])
        prepared = reference.features[cell]
        if pair.stage == REFERENCE_STAGE:
            self.again.add(cell)
            found = compare(similarity, prepared, features, None)
            return found.values, self._likeness(reference, cell), found.reasons
        partners = self.partners if pair.has_chance else None
        most = self.worker.tools.partners
        result = reference.compared(cell, similarity, features, partners, most=most)
        return result.values, result.chances, result.reasons

    def _likeness(self, reference: Reference, cell: tuple[str, str, str]) -> list[float]:
        """Return how alike the reference's maps of different images are: a method that ignores the image has 1."""
        prepared = reference.features[cell]
        if prepared.features is None:
            return [float("nan")] * len(prepared.reasons)
        similarity, most = self._similarity(cell[2]), self.worker.tools.partners
        return chance(similarity, prepared, prepared, self.partners, most=most)[0]

    def _similarity(self, name: str) -> Similarity[Any]:
        return next(s for s in self.similarities if s.name == name)

    def _ceiling_of(self, pairs: Sequence[Pair], references: Mapping[str, Reference]) -> Reference:
        own = [p.reference for p in pairs if p.stage == REFERENCE_STAGE]
        return references[own[0]] if own else next(iter(references.values()))

    def _sure_ceilings(self, reference: Reference) -> None:
        """Write the ceiling of what was not asked again: 1, without a run, wherever the map itself is defined."""
        for cell, prepared in reference.features.items():
            if cell in self.again:
                continue
            if self.is_statistic:
                values, reasons = list(prepared.features), list(prepared.reasons)
                chances = [float("nan")] * len(values)
            else:
                same = compare(self._similarity(cell[2]), prepared, prepared, None)
                told = zip(same.values, same.reasons, strict=True)
                values, reasons = [v if why else 1.0 for v, why in told], same.reasons
                chances = self._likeness(reference, cell)
            self._add(cell, REFERENCE_STAGE, 0, 0, values, chances, reasons)

    def _add(
        self,
        cell: tuple[str, str, str],
        stage: str,
        index: int,
        draw: int,
        values: Sequence[float],
        chances: Sequence[float],
        reasons: Sequence[str | None],
    ) -> None:
        self.rows.add(
            cell, stage=(stage, index), draw=draw, values=values, chances=chances, reasons=reasons
        )

    def _watch(self, state: State, stage: str, maps: StateMaps, features: Features) -> None:
        logits = maps.logits if maps.logits is not None else self._logits(maps.state, self.chunk.x)
        about = {"check": self.key.check, "draw": self.key.draw, "stage": stage}
        known = {cell[0]: prepared.alive for cell, prepared in features.items()}
        alive = {m: known.get(m) or alive_maps(explained) for m, explained in maps.maps.items()}
        self.health.append({**about, **signal_of(logits, alive)})


def _chosen(key: UnitKey, tools: Instruments) -> tuple[Method, ...]:
    return tools.chosen([name.partition("#")[0] for name in key.methods])


def _read(reader: ChunkReader, key: UnitKey) -> Chunk:
    x = reader.read(key.images, key.at)
    places = key.at or reader.places(key.images)
    known = [target for _, target in places]
    return Chunk(x, torch.tensor(known, device=x.device), key.images)


def _alike(state: State, first: State) -> bool:
    return state.stream == first.stream and state.inputs is first.inputs


def _measured(maps: Mapping[str, Explained], unit: Unit) -> Features:
    """Measure statistics: the features of a cell are then its numbers."""
    found: Features = {}
    for method, explained in maps.items():
        for name in unit.views:
            for statistic in unit.statistics:
                found[method, name, statistic.name] = _statistic(explained, name, statistic)
    return found


def _beside(
    changed: Prepared, reference: Prepared | None
) -> tuple[list[float], list[float], list[str | None]]:
    """Return the statistic of the changed maps, beside it that of the reference maps, and why one is undefined."""
    values, reasons = list(changed.features), list(changed.reasons)
    if reference is None:
        return values, [float("nan")] * len(values), reasons
    told = [a or b for a, b in zip(reasons, reference.reasons, strict=True)]
    return values, list(reference.features), told


def _statistic(explained: Explained, name: str, statistic: Any) -> Prepared:
    if explained.maps is None:
        nothing = [float("nan")] * len(explained.reasons)
        return Prepared(nothing, tuple(why or "no map" for why in explained.reasons))
    maps = explained.maps if explained.maps.dim() > 2 else explained.maps.unsqueeze(1)
    scores = statistic.measure(view(maps, signed=name == "signed"))
    reasons = tuple(a or b for a, b in zip(explained.reasons, scores.reasons, strict=True))
    values = scores.values.to("cpu", torch.float64).tolist()
    kept = [float("nan") if why else v for v, why in zip(values, reasons, strict=True)]
    return Prepared(kept, reasons)

"""The plan of a run: its units, flat, and what each costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final, final

import torch

from salsanity.checks.frame import TRAINED, Check
from salsanity.data.examples import image_id
from salsanity.methods import Method
from salsanity.records import REFERENCE_STAGE, UnitKey, digest
from salsanity.store.directory import units_asked
from salsanity.suite.prepared import Run
from salsanity.units.admit import cost_by_method, shared_cost
from salsanity.units.identity import changed_since, key_of, print_of, similarity_print
from salsanity.units.images import ImageEntry, Places
from salsanity.units.plan import chunked, in_chunks
from salsanity.units.spec import RunSpec

GROUPS_PER_CHUNK: Final = 4
GROUPS_PER_ROUND: Final = 1
"""Rounds end with a group of images, so units then hold one."""


def planned(run: Run) -> list[UnitKey]:
    """Return every unit of the run: chunk by chunk, all checks and draws of a chunk together."""
    groups = GROUPS_PER_ROUND if run.spec.until_decided else GROUPS_PER_CHUNK
    plan = Plan.of(run)
    chunks = chunked(len(run.ids), gallery=run.spec.gallery, groups_per_chunk=groups)
    parts = [(chunk.start, run.entries[chunk.start : chunk.stop]) for chunk in chunks]
    return [unit for start, entries in parts for unit in plan.units(start, entries)]


def streamed(run: Run) -> Iterator[list[UnitKey]]:
    """Yield the units of one chunk after another, as the images of a large run are found."""
    yield from _by_chunk(run, chain(run.entries, run.more or ()))


def _by_chunk(run: Run, entries: Iterable[ImageEntry]) -> Iterator[list[UnitKey]]:
    plan, start = Plan.of(run), 0
    gallery = run.spec.gallery
    for chunk in in_chunks(entries, gallery=gallery, groups_per_chunk=GROUPS_PER_CHUNK):
        yield [replace(unit, at=_places(chunk)) for unit in plan.units(start, chunk)]
        start += len(chunk)


def expected(run: Run) -> Iterator[UnitKey]:
    """Yield units as many and as large as a large run has at most, of images that have no ids yet: for its costs."""
    count = run.more.most if run.more else len(run.entries)
    unknown = (ImageEntry(f"? {i}", "", None, i, 0) for i in range(len(run.entries), count))
    for units in _by_chunk(run, chain(run.entries, unknown)):
        yield from units


def _places(entries: Sequence[ImageEntry]) -> Places:
    return tuple((entry.index, entry.target) for entry in entries)


@final
@dataclass(frozen=True)
class Plan:
    """What the units of a run have in common."""

    run: Run
    methods: tuple[str, ...]
    measures: Mapping[str, tuple[str, ...]]
    bases: Mapping[str, str]

    @classmethod
    def of(cls, run: Run) -> Plan:
        """Name methods, measures and all else that scores depend on, by check."""
        methods = tuple(method_key(m, run) for m in run.tools.methods)
        measures = {s.check.name: measure_keys(run, s.check) for s in run.settled}
        bases = {s.check.name: _base(run, s.check) for s in run.settled}
        return cls(run, methods, measures, bases)

    def units(self, start: int, entries: Sequence[ImageEntry]) -> list[UnitKey]:
        """Return the units of a chunk of images, all checks and draws; `start`: how many images come before."""
        spec = self.run.spec
        return [
            UnitKey(
                settled.check.name,
                draw,
                tuple(entry.id for entry in entries),
                settled.check.asked_stages(draw, is_shown=start < spec.gallery),
                self.methods,
                self.measures[settled.check.name],
                _base_of(spec, self.bases[settled.check.name], entries),
            )
            for settled in self.run.settled
            for draw in range(settled.check.draws)
        ]


def method_key(method: Method, run: Run) -> str:
    """Name a method, its settings and code of the user's, so that the same name for something else is other work."""
    facts = [run.prints.methods[method.name]]
    pool = run.tools.baselines.pool
    if getattr(method, "baseline", None) is not None and pool is not None:
        facts.append(image_id(pool))
    if run.tools.spatial is not None and "gradcam" in method.name:
        facts.append(repr(run.tools.spatial))
    return key_of(method.name, facts)


def measure_keys(run: Run, check: Check) -> tuple[str, ...]:
    """Name every similarity, or statistic of the check, its settings and code of the user's."""
    if check.measures:
        return tuple(key_of(m.name, similarity_print(m)) for m in check.measures)
    prints = run.prints.similarities
    return tuple(key_of(s.name, prints[s.name]) for s in run.tools.similarities)


def changes(run: Run, before: Mapping[str, Any], wanted: Sequence[UnitKey]) -> tuple[str, ...]:
    """Say which methods and similarities are others than when the folder was last run, though their names are the same.

    `before`: what the folder's spec.json said of its units.
    """
    now = units_asked(wanted)
    groups = ("methods", "similarities")
    names = [n for group in groups for n in changed_since(before.get(group, ()), now[group])]
    if not names:
        return ()
    return (
        f"Changed since the last run in this folder, and so computed again: {', '.join(names)}.",
    )


def _base(run: Run, check: Check) -> str:
    """Digest what every score of a check depends on, apart from what a unit's key holds itself."""
    return digest(
        {
            "fingerprint": run.network.fingerprint,
            "code": run.prints.network,
            "check": print_of(dict(check.fingerprint())),
            "seed": run.spec.seed,
            "partners": run.spec.partners,
            "target": run.spec.target,
            "batch_size": run.speed.batch_size,
            "memory_format": run.speed.memory_format,
            "precision": run.spec.precision,
            "device": run.network.device.type,
        }
    )


def _base_of(spec: RunSpec, base: str, entries: Sequence[ImageEntry]) -> str:
    """Return the base of one unit: where labels are explained, they are part of it."""
    if spec.target != "label":
        return base
    return digest([base, [entry.target for entry in entries]])


def shared(run: Run, methods: Sequence[Method]) -> int:
    """Return the passes per image and state that methods cost together."""
    x = torch.empty(1, *run.network.trace.input_shape[1:])
    return shared_cost(run.tools, methods, x, torch.zeros(1, dtype=torch.long), run.ids[:1])


def costs(run: Run) -> dict[str, float]:
    """Return the seconds per image and state that each method would cost alone."""
    x = torch.empty(1, *run.network.trace.input_shape[1:])
    passes = cost_by_method(run.tools, x, torch.zeros(1, dtype=torch.long), run.ids[:1])
    own = {one.name: one.seconds for one in run.tries}
    return {name: n * run.speed.seconds + own.get(name, 0.0) for name, n in passes.items()}


def together(run: Run) -> float:
    """Return the seconds per image and state that all methods cost together."""
    methods = run.tools.methods
    return shared(run, methods) * run.speed.seconds + seconds_of(run, methods)


@final
@dataclass(frozen=True)
class Price:
    """What methods cost together per image: passes of a state, seconds of explainers that are not ours; and both for those
    alone that draw noise."""

    passes: int
    seconds: float
    noisy_passes: int
    noisy_seconds: float


@final
@dataclass(frozen=True)
class Cost:
    """What a unit costs: passes; seconds of explainers that are not ours; maps that are compared.

    `for_figures`: passes, as in `Costs.total`, of stages that only the figures show.
    """

    passes: int
    seconds: float
    maps: int
    for_figures: float


@final
class Costs:
    """Adds up what `units` of a run cost, those of a chunk one after another: passes and seconds by check.

    What methods cost together is counted once. Units are not kept: a large run has many.
    """

    def __init__(self, run: Run, units: Iterable[UnitKey]) -> None:
        self.checks = {settled.check.name: settled.check for settled in run.settled}
        self.run = run
        self.known: dict[tuple[str, ...], Price] = {}
        self.units = self.maps = 0
        """Units, and maps that are compared."""
        self.passes: Counter[str] = Counter()
        self.seconds = dict.fromkeys(self.checks, 0.0)
        self.for_figures = 0.0
        """Of `total`, what stages cost that only the figures show."""
        for _, lot in groupby(units, key=attrgetter("images")):
            for unit, cost in self._costs(lot):
                self.units += 1
                self.maps += cost.maps
                self.passes[unit.check] += cost.passes
                self.seconds[unit.check] += cost.seconds
                self.for_figures += cost.for_figures

    @property
    def total(self) -> float:
        """Passes of all units; explainers that are not ours count as the passes that would take as long."""
        return sum(self.worth(name) for name in self.checks)

    def worth(self, check: str) -> float:
        """Passes of a check's units, as in `total`."""
        return self.passes[check] + self.seconds[check] / self.run.speed.seconds

    def each(self, lot: Iterable[UnitKey]) -> dict[UnitKey, float]:
        """Return the passes of each unit of a chunk, as in `total`."""
        speed = self.run.speed.seconds
        return {unit: cost.passes + cost.seconds / speed for unit, cost in self._costs(lot)}

    def _costs(self, lot: Iterable[UnitKey]) -> Iterator[tuple[UnitKey, Cost]]:
        """Yield what each unit of a chunk costs: the first explains the references that serve the others too."""
        explained: set[object] = set()
        for unit in lot:
            yield unit, self._cost(unit, explained)

    def _cost(self, unit: UnitKey, explained: set[object]) -> Cost:
        check, price = self.checks[unit.check], self._price(unit)
        images = int(getattr(check, "copies", 1)) * len(unit.images)
        states, ceilings = self._states(unit, explained)
        usual = check.asked_stages(unit.draw, is_shown=False)
        shown = len(set(unit.stages) - set(usual))
        each = price.passes + price.seconds / self.run.speed.seconds
        return Cost(
            images * (price.passes * states + price.noisy_passes * ceilings),
            images * (price.seconds * states + price.noisy_seconds * ceilings),
            states * len(unit.methods) * len(unit.images),
            images * shown * each,
        )

    def _states(self, unit: UnitKey, explained: set[object]) -> tuple[int, int]:
        """Count a unit's changed states with the references that no unit before it explained, and its ceilings."""
        asked = {*unit.stages, REFERENCE_STAGE}
        pairs = [p for p in self.checks[unit.check].pairs(unit.draw) if p.stage in asked]
        references = {self._place(unit, pair.reference) for pair in pairs} - explained
        explained |= references
        changed = {p.changed for p in pairs if p.stage != REFERENCE_STAGE}
        ceilings = {p.changed for p in pairs if p.stage == REFERENCE_STAGE} - changed
        return len(changed | references), len(ceilings)

    def _place(self, unit: UnitKey, reference: str) -> tuple[object, ...]:
        """Name a reference: the trained network's maps serve every check."""
        owner = "" if reference == TRAINED else unit.check
        return owner, reference, unit.methods

    def _price(self, unit: UnitKey) -> Price:
        names = tuple(name.partition("#")[0] for name in unit.methods)
        if names not in self.known:
            methods = [m for m in self.run.tools.methods if m.name in names]
            noisy = [m for m in methods if m.stochastic]
            self.known[names] = Price(
                shared(self.run, methods),
                seconds_of(self.run, methods),
                shared(self.run, noisy),
                seconds_of(self.run, noisy),
            )
        return self.known[names]


def seconds_of(run: Run, methods: Sequence[Method]) -> float:
    """Return the seconds of a map of every explainer among `methods` that is not ours, as they were tried."""
    names = {method.name for method in methods}
    return sum(one.seconds for one in run.tries if one.name in names)

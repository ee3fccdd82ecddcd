"""The model parameter randomisation test (SCIENCE, section 3): work on one unit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from salsanity.checks.compare import Reference, Rows, compare, prepare
from salsanity.checks.explain import StateMaps, Wanted, enlargements, explain, own_targets
from salsanity.checks.health import signal_of
from salsanity.checks.images import ChunkReader
from salsanity.checks.intervention import (
    CHANGED_STREAM,
    REFERENCE_STREAM,
    Instruments,
    Intervention,
)
from salsanity.checks.plan import partners
from salsanity.methods import Method
from salsanity.models.swap import swapped
from salsanity.passes.backoff import with_backoff
from salsanity.passes.schedule import State
from salsanity.records import REFERENCE_STAGE, UnitKey, UnitResult

CHECK: Final = "model_randomization"
TRAINED: Final = "trained"


@dataclass(frozen=True)
class Shown:
    """Where the gallery's maps go: `(image id, method, stage, map)`."""

    images: frozenset[str]
    keep: Callable[[str, str, str, Tensor], None]

    def take(self, ids: Sequence[str], found: StateMaps, stage: str) -> None:
        """Hand over the maps of gallery images."""
        for method, explained in found.maps.items():
            for i, image in enumerate(ids):
                if image in self.images and explained.maps is not None and not explained.reasons[i]:
                    self.keep(image, method, stage, explained.maps[i])


@dataclass
class ModelRandomizationWork:
    """Computes units: one draw, one chunk of images, all stages and methods inside.

    The reference features of the newest chunk are kept, since the plan goes through all draws of a chunk first.
    """

    instruments: Instruments
    intervention: Intervention
    stage_indices: Mapping[str, int]
    reader: ChunkReader
    own_target: bool = False
    shown: Shown | None = None
    _chunk: tuple[object, _Chunk] | None = field(default=None, init=False)

    def __call__(self, key: UnitKey) -> UnitResult:
        """Compute the unit; when memory runs out, again with half the batch size, and note it."""
        return with_backoff(
            lambda size: self._compute(key, size), self.instruments.batch_size, self._forget
        )

    def _forget(self) -> None:
        self._chunk = None

    def _compute(self, key: UnitKey, batch_size: int) -> UnitResult:
        began = time.perf_counter()
        names = [name.partition("#")[0] for name in key.methods]
        similar = {name.partition("#")[0] for name in key.similarities}
        job = _Job(key, self, names, similar, batch_size)
        columns, health, enlarged = job.run()
        notes = {
            "health": health,
            "enlarged": enlarged,
            "seconds": time.perf_counter() - began,
            "batch_size": batch_size,
            "memory_format": self.instruments.memory_format,
        }
        return UnitResult(key, columns, notes)

    def chunk(self, job: _Job) -> _Chunk:
        """Return the chunk of a job with its reference features, from the last job where it is the same."""
        place = (job.key.images, job.key.methods, job.key.similarities)
        if self._chunk is None or self._chunk[0] != place:
            self._chunk = None
            self._chunk = (place, job.reference())
        return self._chunk[1]


@dataclass(frozen=True)
class _Chunk:
    """Images of a unit, and what the trained network shows of them under the reference stream."""

    x: Tensor
    targets: Tensor
    reference: Reference
    partners: list[int | None]


@dataclass(frozen=True)
class _Job:
    """One unit being computed."""

    key: UnitKey
    work: ModelRandomizationWork
    names: list[str]
    similar: set[str]
    batch_size: int

    @property
    def methods(self) -> tuple[Method, ...]:
        return self.work.instruments.chosen(self.names)

    def run(
        self,
    ) -> tuple[Mapping[str, Sequence[Any]], list[dict[str, Any]], dict[str, list[int]]]:
        """Return the columns of scores, the health of each stage's signal, and which maps came small."""
        chunk = self.work.chunk(self)
        rows = Rows(CHECK, self.key.images)
        wanted = self._wanted(chunk)
        health, enlarged = [], {}
        for found in self._explained(chunk, wanted, CHANGED_STREAM):
            stage = found.state.name.partition("/")[2]
            self._score(rows, chunk, found, stage)
            enlarged.update(enlargements(found.maps))
            if stage != REFERENCE_STAGE:
                logits = found.logits if found.logits is not None else self._logits(chunk, found)
                health.append(
                    {"draw": self.key.draw, "stage": stage, **signal_of(logits, found.maps)}
                )
        if self.key.draw == 0:
            self._sure_ceilings(rows, chunk)
        return rows.columns, health, enlarged

    def reference(self) -> _Chunk:
        """Explain the trained network under the reference stream, once per chunk."""
        x = self.work.reader.read(self.key.images)
        known = [self.work.reader.entries[image].target for image in self.key.images]
        targets = torch.tensor(known, device=x.device)
        state = State(TRAINED, {}, targets)
        (found,) = self._explained(
            _Chunk(x, targets, Reference({}, {}), []),
            [Wanted(state, self.methods)],
            REFERENCE_STREAM,
        )
        if self.work.shown is not None:
            self.work.shown.take(self.key.images, found, TRAINED)
        reference = Reference.of(found.maps, self._similarities())
        return _Chunk(x, targets, reference, partners(self.key.images))

    def _similarities(self) -> list[Any]:
        return [s for s in self.work.instruments.similarities if s.name in self.similar]

    def _explained(self, chunk: _Chunk, wanted: Sequence[Wanted], stream: int) -> Any:
        tools = self.work.instruments
        inputs = tools.inputs(chunk.x, chunk.targets, self.key.images, "")
        setting = tools.setting(stream, batch_size=self.batch_size)
        return explain(tools.network, inputs, wanted, setting=setting)

    def _wanted(self, chunk: _Chunk) -> list[Wanted]:
        """The stages of the unit and, with draw 0, the trained network again for methods that draw noise."""
        network, draw = self.work.instruments.network, self.key.draw
        wanted = []
        for stage in self.key.stages:
            weights = self.work.intervention.weights(network, draw, stage)
            state = State(f"draw {draw}/{stage}", weights, chunk.targets)
            if self.work.own_target:
                logits = self._logits(chunk, StateMaps(state, {}, None))
                state = State(state.name, weights, own_targets(logits))
            wanted.append(Wanted(state, self.methods))
        noisy = tuple(method for method in self.methods if method.stochastic)
        if draw == 0 and noisy:
            wanted.append(Wanted(State(f"draw 0/{REFERENCE_STAGE}", {}, chunk.targets), noisy))
        return wanted

    def _logits(self, chunk: _Chunk, found: StateMaps) -> Tensor:
        network = self.work.instruments.network
        with swapped(network, found.state.weights), torch.no_grad():
            parts = [network.logits(part) for part in torch.split(chunk.x, self.batch_size)]
        return torch.cat(parts)

    def _score(self, rows: Rows, chunk: _Chunk, found: StateMaps, stage: str) -> None:
        is_reference = stage == REFERENCE_STAGE
        if self.work.shown is not None and self.key.draw == 0 and not is_reference:
            self.work.shown.take(self.key.images, found, stage)
        similarities = {s.name: s for s in self._similarities()}
        cells = prepare(found.maps, list(similarities.values()), chunk.reference)
        for cell, changed in cells.items():
            pairs = None if is_reference else chunk.partners
            result = compare(similarities[cell[2]], chunk.reference.features[cell], changed, pairs)
            rows.add(
                cell,
                stage=(stage, 0 if is_reference else self.work.stage_indices[stage]),
                draw=self.key.draw,
                values=result.values,
                chances=result.chances,
                reasons=result.reasons,
            )

    def _sure_ceilings(self, rows: Rows, chunk: _Chunk) -> None:
        """Write the ceiling of methods without noise: 1, without a run, wherever the map itself is defined."""
        sure = {method.name for method in self.methods if not method.stochastic}
        similarities = {s.name: s for s in self._similarities()}
        for cell, prepared in chunk.reference.features.items():
            if cell[0] in sure:
                same = compare(similarities[cell[2]], prepared, prepared, None)
                pairs = zip(same.values, same.reasons, strict=True)
                values = [value if reason else 1.0 for value, reason in pairs]
                rows.add(
                    cell,
                    stage=(REFERENCE_STAGE, 0),
                    draw=0,
                    values=values,
                    chances=[float("nan")] * len(values),
                    reasons=same.reasons,
                )

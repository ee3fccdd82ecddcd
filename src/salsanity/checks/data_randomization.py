"""The data randomisation test (SCIENCE, section 6): work on one chunk of images.

Maps of networks that were trained on true labels (reference stream) are compared with maps of other networks (changed
stream): of other true ones, for the agreement of honest networks, and of those trained on permuted labels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from salsanity.checks.compare import Cell, Prepared, Rows, compare, prepare
from salsanity.checks.explain import Wanted, enlargements, explain
from salsanity.checks.images import ChunkReader
from salsanity.checks.intervention import CHANGED_STREAM, REFERENCE_STREAM, Instruments
from salsanity.checks.model_randomization import Shown
from salsanity.checks.plan import partners
from salsanity.passes.backoff import with_backoff
from salsanity.passes.schedule import State, Weights
from salsanity.records import REFERENCE_STAGE, UnitKey, UnitResult
from salsanity.similarity import Similarity

CHECK: Final = "data_randomization"
TRUE_PAIRS: Final = "TT"
MIXED_PAIRS: Final = "TP"


@dataclass(frozen=True)
class Networks:
    """Trained networks of one architecture, as weights to put into it."""

    true: tuple[Weights, ...]
    permuted: tuple[Weights, ...]

    def true_pairs(self) -> list[tuple[int, int]]:
        """Return every two true networks once, (reference, other)."""
        return [(i, j) for i in range(len(self.true)) for j in range(i + 1, len(self.true))]

    def mixed_pairs(self) -> list[tuple[int, int]]:
        """Return every (true, permuted) pair."""
        return [(i, j) for i in range(len(self.true)) for j in range(len(self.permuted))]


@dataclass
class DataRandomizationWork:
    """Computes units: one chunk of images, all networks and methods inside."""

    instruments: Instruments
    networks: Networks
    reader: ChunkReader
    shown: Shown | None = None

    def __call__(self, key: UnitKey) -> UnitResult:
        """Compute the unit; when memory runs out, again with half the batch size, and note it."""
        return with_backoff(lambda size: self._compute(key, size), self.instruments.batch_size)

    def _compute(self, key: UnitKey, batch_size: int) -> UnitResult:
        began = time.perf_counter()
        chunk = _Chunk.of(key, self, batch_size)
        rows = Rows(CHECK, key.images)
        _compare_pairs(rows, chunk, TRUE_PAIRS, self.networks.true_pairs(), chunk.honest)
        _compare_pairs(rows, chunk, MIXED_PAIRS, self.networks.mixed_pairs(), chunk.permuted)
        _ceilings(rows, chunk)
        notes = {
            "seconds": time.perf_counter() - began,
            "batch_size": batch_size,
            "memory_format": self.instruments.memory_format,
            "enlarged": chunk.enlarged,
        }
        return UnitResult(key, rows.columns, notes)


Features = dict[Cell, Prepared]


@dataclass(frozen=True)
class _Chunk:
    """Features of every network's maps of the images of a unit.

    `references`: true networks under the reference stream; `honest` and `permuted`: under the changed stream.
    """

    similarities: Mapping[str, Similarity[Any]]
    stochastic: frozenset[str]
    partners: list[int | None]
    references: list[Features] = field(default_factory=list)
    honest: list[Features] = field(default_factory=list)
    permuted: list[Features] = field(default_factory=list)
    enlarged: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, key: UnitKey, work: DataRandomizationWork, batch_size: int) -> _Chunk:
        """Explain the chunk with every network."""
        tools = work.instruments
        names = [name.partition("#")[0] for name in key.methods]
        similar = {name.partition("#")[0] for name in key.similarities}
        methods = tools.chosen(names)
        chunk = cls(
            {s.name: s for s in tools.similarities if s.name in similar},
            frozenset(m.name for m in methods if m.stochastic),
            partners(key.images),
        )
        x = work.reader.read(key.images)
        known = [work.reader.entries[image].target for image in key.images]
        targets = torch.tensor(known, device=x.device)
        chunk._explain(key, work, x, targets, names, batch_size)
        return chunk

    def _explain(
        self,
        key: UnitKey,
        work: DataRandomizationWork,
        x: Tensor,
        targets: Tensor,
        names: Sequence[str],
        batch_size: int,
    ) -> None:
        tools, networks = work.instruments, work.networks
        methods = tools.chosen(names)
        true = [State(f"true:{i}", w, targets) for i, w in enumerate(networks.true)]
        permuted = [State(f"permuted:{j}", w, targets) for j, w in enumerate(networks.permuted)]
        plans = (
            (REFERENCE_STREAM, true, self.references, True),
            (CHANGED_STREAM, true, self.honest, False),
            (CHANGED_STREAM, permuted, self.permuted, True),
        )
        for stream, states, features, is_shown in plans:
            inputs = tools.inputs(x, targets, key.images, "")
            wanted = [Wanted(_under(state, stream), methods) for state in states]
            setting = tools.setting(stream, batch_size=batch_size)
            for state, found in zip(
                states, explain(tools.network, inputs, wanted, setting=setting), strict=True
            ):
                if is_shown and work.shown is not None:
                    work.shown.take(key.images, found, state.name)
                self.enlarged.update(enlargements(found.maps))
                features.append(prepare(found.maps, list(self.similarities.values())))


def _under(state: State, stream: int) -> State:
    """Name the state by its stream too, so that noise controls never repeat themselves."""
    return State(f"{state.name}/{stream}", state.weights, state.targets)


def _compare_pairs(
    rows: Rows, chunk: _Chunk, stage: str, pairs: Sequence[tuple[int, int]], others: list[Features]
) -> None:
    index = 1 if stage == TRUE_PAIRS else 2
    for draw, (i, j) in enumerate(pairs):
        for cell, changed in others[j].items():
            result = compare(
                chunk.similarities[cell[2]], chunk.references[i][cell], changed, chunk.partners
            )
            rows.add(
                cell,
                stage=(stage, index),
                draw=draw,
                values=result.values,
                chances=result.chances,
                reasons=result.reasons,
            )


def _ceilings(rows: Rows, chunk: _Chunk) -> None:
    """Compare the first true network with itself under other noise; 1 for methods without noise."""
    for cell, reference in chunk.references[0].items():
        is_noisy = cell[0] in chunk.stochastic
        again = chunk.honest[0][cell] if is_noisy else reference
        result = compare(chunk.similarities[cell[2]], reference, again, None)
        values = [
            value if is_noisy or reason else 1.0
            for value, reason in zip(result.values, result.reasons, strict=True)
        ]
        rows.add(
            cell,
            stage=(REFERENCE_STAGE, 0),
            draw=0,
            values=values,
            chances=result.chances,
            reasons=result.reasons,
        )

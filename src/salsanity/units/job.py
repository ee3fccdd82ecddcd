"""A job: a frozen value from which any process can open its own network and do units of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from salsanity.checks.frame import Check, Ground
from salsanity.data.examples import ImageSource
from salsanity.errors import ModelError, UnitError
from salsanity.methods import Baselines, Method
from salsanity.models.network import Network, lay_out, prepare
from salsanity.models.outputs import as_choice
from salsanity.records import UnitKey, UnitResult
from salsanity.similarity import Similarity
from salsanity.units.admit import find_spatial_layer, logits_of
from salsanity.units.containing import contained
from salsanity.units.files import loaded_files
from salsanity.units.images import ChunkReader, ImageEntry
from salsanity.units.parcel import packed, unpacked
from salsanity.units.spec import RunSpec
from salsanity.units.speed import Speed
from salsanity.units.tools import Instruments
from salsanity.units.work import Worker

Lot = tuple[UnitKey, ...]
"""Units of one chunk of images, which share what its reference states show."""

Tick = Callable[[float], None]

LOGITS_AT_ONCE: Final = 8
"""Images whose logits a check is given together."""


@final
@dataclass(frozen=True, eq=False)
class Job:
    """Everything that a process needs to do units of a run; it holds no console, no writer and no address in memory.

    `model`: the classifier, by value; `fingerprint`: of its values. `checks`: settled ones by name. `entries`: the run's
    images, in order. `pool`: how many of the first images baselines and checks draw from. `shown`: ids of images whose maps
    are kept for the figures. `threads`: how many torch uses where the run began (0: not said): with others, sums are rounded
    otherwise. `batched`: explainers that are not ours whose maps are the same in a batch.
    `here`: the network that this thread has prepared already; it does not travel.

    Pickling raises `UsageError` for what another process could not read; unpickling loads the files first from which
    `file.py:function` came.
    """

    model: nn.Module
    name: str
    fingerprint: str
    make_model: Callable[[], nn.Module] | None
    source: ImageSource
    spec: RunSpec
    checks: Mapping[str, Check]
    methods: tuple[Method, ...]
    similarities: tuple[Similarity[Any], ...]
    entries: tuple[ImageEntry, ...]
    speed: Speed
    pool: int
    device: str
    shown: frozenset[str] = frozenset()
    largest_batch: int | None = None
    threads: int = 0
    batched: frozenset[str] = frozenset()
    here: Opened | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel by value, part by part, with the files that must be loaded before."""
        parts = packed(self)
        return unpacked, (Job, loaded_files(part for _, part in parts), parts)

    def open(self, *, tick: Tick | None = None) -> Opened:
        """Return the job with a network of this thread's; `tick` is told of evaluations as they are made.

        Raises `ModelError` where the network has other values here than where the run began.
        """
        is_here = self.here is not None and self.here.thread == threading.get_ident()
        opened = self.here if self.here is not None and is_here else _opened(self)
        worker = opened.worker
        return replace(opened, worker=replace(worker, tools=replace(worker.tools, tick=tick)))


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """A job in one thread of one process; a network is in one state at a time, so units are done one after another."""

    network: Network
    worker: Worker
    timeout: float | None
    thread: int = field(default_factory=threading.get_ident)
    busy: Any = field(default_factory=threading.Lock)

    def do(self, unit: UnitKey) -> UnitResult:
        """Compute one unit, contained against what user code does to the network.

        Raises `UnitError` when its time is over, and where another unit is being computed on the same network; whatever
        else user code raises passes through.
        """
        if not self.busy.acquire(blocking=False):
            raise UnitError(
                "expected one unit at a time on a network, got a second one; open the job in each thread"
            )
        try:
            with contained(self.network, self.timeout):
                return self.worker.compute(unit)
        finally:
            self.busy.release()


def lots_of(units: Iterable[UnitKey]) -> list[Lot]:
    """Put units of one chunk together, in the order in which chunks come first."""
    lots: dict[tuple[str, ...], list[UnitKey]] = {}
    for unit in units:
        lots.setdefault(unit.images, []).append(unit)
    return [tuple(lot) for lot in lots.values()]


def instruments(
    network: Network,
    methods: tuple[Method, ...],
    similarities: tuple[Similarity[Any], ...],
    spec: RunSpec,
    pool: Tensor,
) -> Instruments:
    """Return what units need of a network: GradCAM's layer, and baselines drawn from `pool`."""
    spatial, why_not = find_spatial_layer(network, spec.layer)
    return Instruments(
        network,
        methods,
        similarities,
        spec.seed,
        1,
        Baselines(spec.seed, pool),
        spatial,
        why_not,
        replay=spec.replay,
        precision=spec.precision,
        partners=spec.partners,
    )


def at_speed(tools: Instruments, speed: Speed, methods: Sequence[Method]) -> Instruments:
    """Return the instruments at a batch size and memory format, with the methods that were admitted."""
    return replace(
        tools,
        methods=tuple(methods),
        batch_size=speed.batch_size,
        memory_format=speed.memory_format,
    )


def ground_of(
    network: Network,
    spec: RunSpec,
    pool: Tensor,
    make_model: Callable[[], nn.Module] | None,
    similarities: Sequence[Similarity[Any]] = (),
) -> Ground:
    """Return what checks stand on; the same in every process."""
    return Ground(
        network,
        spec.seed,
        spec.draws,
        spec.target,
        lambda: pool,
        lambda x: logits_of(network, x, batch_size=LOGITS_AT_ONCE),
        make_model,
        similarities=tuple(similarities),
    )


def _opened(job: Job) -> Opened:
    if job.threads and torch.get_num_threads() != job.threads:
        torch.set_num_threads(job.threads)  # a process of an executor, which is there for this job
    device = torch.device(job.device)
    reader = ChunkReader(job.source, {e.id: e for e in job.entries}, device)
    pool = reader.read([entry.id for entry in job.entries[: job.pool]])
    network = prepare(
        job.model,
        pool[:1],
        device=device,
        name=job.name,
        output=as_choice(job.spec.output),
        hooks=job.spec.hooks,
    )
    network = replace(network, largest_batch=job.largest_batch)
    if network.fingerprint != job.fingerprint:
        raise ModelError(
            f"expected the network {job.name} with the values it had when the run began, got others; let pickling keep them"
        )
    lay_out(network, job.speed.memory_format)
    tools = instruments(network, job.methods, job.similarities, job.spec, pool)
    tools = replace(at_speed(tools, job.speed, job.methods), batched=job.batched)
    ground = ground_of(network, job.spec, pool, job.make_model, job.similarities)
    worker = Worker(tools, job.checks, ground, reader, job.shown)
    return Opened(network, worker, job.spec.unit_timeout)

"""A run before its long part: what is asked, and what is known of it once everything was read and tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch

from salsanity.checks.frame import Ground, Settled
from salsanity.data.examples import ImageSource
from salsanity.methods import Method
from salsanity.models.network import Network
from salsanity.narrator import Notes
from salsanity.similarity import Similarity
from salsanity.store.directory import DirectoryStore
from salsanity.suite.streaming import MoreImages
from salsanity.suite.subject import Subject
from salsanity.units.identity import Prints
from salsanity.units.images import ChunkReader, ImageEntry, ImageIndex
from salsanity.units.job import Job, Opened
from salsanity.units.spec import RunSpec
from salsanity.units.speed import Speed
from salsanity.units.tools import Instruments
from salsanity.units.trial import Tried
from salsanity.units.work import Worker

RECORDED: Final = "recorded_images"
"""Key of spec.json's settings under which more images stand than the run has: a larger run in the folder had them."""

SKETCHES: Final = "sketches"
"""Key of spec.json's settings under which coarse maps of explainers stand, of all that were tried in the folder."""


@final
@dataclass(frozen=True, eq=False)
class Asked:
    """What a run is about: checks, a network, images, methods and similarities, and the folder's spec.json (or {}).

    `is_explicit`: whether the user named the methods: a named one that is not defined is an error. `targets`: the classes
    to explain, by position in the source. `notes`: what was told already.
    """

    checks: tuple[Any, ...]
    subject: Subject
    source: ImageSource
    network: Network
    methods: tuple[Method, ...]
    similarities: tuple[Similarity[Any], ...]
    spec: RunSpec
    store: DirectoryStore
    old: dict[str, Any]
    prints: Prints
    is_explicit: bool
    targets: Sequence[int] | None = None
    optional: frozenset[str] = frozenset()
    notes: Notes = Notes()

    def recorded(self, name: str, default: Any = None) -> Any:
        """Return a setting of the run in the folder."""
        return self.old.get("settings", {}).get(name, default)

    @property
    def recorded_images(self) -> list[dict[str, Any]]:
        """Return the images of the run in the folder, and those that a larger one had before it."""
        found: list[dict[str, Any]] = self.recorded(RECORDED, self.old.get("images", []))
        return found

    def recorded_check(self, name: str) -> dict[str, Any]:
        """Return what spec.json says of a check, or {}."""
        found = (record for record in self.old.get("checks", ()) if record["name"] == name)
        return dict(next(found, {}))


@final
@dataclass(frozen=True, eq=False)
class Run:
    """A prepared run: everything that is known before the long part."""

    subject: Subject
    source: ImageSource
    spec: RunSpec
    store: DirectoryStore
    prints: Prints
    settled: tuple[Settled, ...]
    entries: tuple[ImageEntry, ...]
    index: ImageIndex
    tools: Instruments
    ground: Ground
    reader: ChunkReader
    accuracy: dict[str, Any] | None
    speed: Speed
    notes: Notes
    recorded_images: list[dict[str, Any]]
    baseline_pool: int
    tries: tuple[Tried, ...] = ()
    """How explainers that are not ours did when they were tried."""
    sketches: Mapping[str, list[float]] = field(default_factory=dict)
    more: MoreImages | None = None
    """Images that are found while the run goes; `entries` are then the first."""

    @property
    def network(self) -> Network:
        """The project's own copy of the network."""
        return self.tools.network

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images in the order of the run."""
        return tuple(entry.id for entry in self.entries)

    @property
    def shown(self) -> tuple[ImageEntry, ...]:
        """The images whose maps are kept for the figures."""
        return self.entries[: self.spec.gallery]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by index, where they are known."""
        return tuple(self.subject.class_names or self.source.class_names or ())

    @property
    def unwatched(self) -> frozenset[str]:
        """Explainers that depend on the network, though it is not heard to run when they do."""
        return frozenset(one.name for one in self.tries if not one.is_heard)

    def job(self) -> Job:
        """Return what any process needs to do the units of this run."""
        checks = {s.check.name: s.check for s in self.settled}
        shown = frozenset(entry.id for entry in self.shown)
        worker = Worker(self.tools, checks, self.ground, self.reader, shown)
        return Job(
            self.subject.classifier(),
            self.subject.name,
            self.network.fingerprint,
            self.subject.make_model,
            self.source,
            self.spec,
            checks,
            self.tools.methods,
            self.tools.similarities,
            self.entries,
            self.speed,
            self.baseline_pool,
            str(self.network.device),
            shown,
            largest_batch=self.network.largest_batch,
            threads=torch.get_num_threads(),
            batched=self.tools.batched,
            here=Opened(self.network, worker, self.spec.unit_timeout),
        )

"""Before the long part: images, targets, methods that the network admits, the speed of a pass, and checks on their network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import torch
from torch import Tensor

from salsanity.checks.frame import Check, Ground, Settled
from salsanity.checks.named import settled
from salsanity.data.examples import ImageSource, check_repeatable, without_label
from salsanity.errors import DataError, MethodError, ModelError, UsageError
from salsanity.methods import Method
from salsanity.models.hooks import Forwards
from salsanity.models.network import Network
from salsanity.models.routes import check_routes
from salsanity.models.steadiness import steadiness
from salsanity.narrator import Notes
from salsanity.passes.derivative import differentiate
from salsanity.passes.request import Rule
from salsanity.similarity import Similarity
from salsanity.store.directory import DirectoryStore
from salsanity.store.folder import append_log
from salsanity.store.remembered import Remembered
from salsanity.suite.asking import CPU_EFFORT
from salsanity.suite.streaming import FIRST, STREAM_FROM, MoreImages, is_streamed, remembered_key
from salsanity.suite.subject import Subject
from salsanity.units.admit import (
    Admitted,
    admitted,
    comparison_seconds,
    is_foreign,
    logits_of,
    shared_cost,
)
from salsanity.units.identity import Prints
from salsanity.units.images import ChunkReader, Finder, ImageEntry, ImageIndex, begun
from salsanity.units.job import Job, Opened, at_speed, ground_of, instruments
from salsanity.units.spec import RunSpec
from salsanity.units.speed import Ahead, Speed, measured_speed, precision_error
from salsanity.units.tools import Instruments
from salsanity.units.trial import Tried, tried
from salsanity.units.work import Worker

PREPARING: Final = "Reading images, trying every method, measuring the speed."
RECORDED: Final = "recorded_images"
"""Key of spec.json's settings under which more images stand than the run has: a larger run in the folder had them."""

ROUTED: Final = 8
"""So many images at a time are asked whether they go through layers that the first one did not."""

CHANGED: Final = 0.01
"""A gradient that was computed again differs by less of its largest value, on a GPU too."""

BASELINE_POOL: Final = 64
"""Images from which baselines of integrated gradients are drawn; fixed when a run begins."""


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


def prepare_run(asked: Asked) -> Run:
    """Read the images once, aim, try every method, settle the checks, and measure the speed."""
    index, finder = _indexed(asked)
    asked, steady = _steady(asked, index)
    entries, accuracy = _aimed(asked, index)
    bench = _bench(asked, entries)
    allowed = _admitted(asked, bench)
    checks, left_out = _settled(asked, bench.ground)
    tries = _tried(bench, allowed, checks, asked.recorded("batched", {}))
    speed = _speed(asked, bench.some, bench.targets, _ahead(bench, allowed, checks))
    remarks = (
        *asked.network.notes,
        *steady,
        *_notes(asked, index, allowed, bench),
        *left_out,
        *_told(checks),
        *_printed(asked.store, tries),
        *(one.doubt for one in tries if one.doubt is not None),
    )
    return Run(
        asked.subject,
        asked.source,
        asked.spec,
        asked.store,
        asked.prints,
        checks,
        entries,
        index,
        _at_speed(bench.tools, speed, allowed, tries),
        bench.ground,
        bench.reader,
        accuracy,
        speed,
        Notes(_lacking(index), remarks),
        asked.recorded_images,
        bench.pool,
        tries,
        _more(asked, finder),
    )


@final
@dataclass(frozen=True, eq=False)
class Bench:
    """What is tried before the long part, and on what: the run's images `ids`, of which `some` are at hand.

    `pool`: how many of the first images baselines and checks draw from.
    """

    tools: Instruments
    ground: Ground
    reader: ChunkReader
    pool: int
    ids: tuple[str, ...]
    some: Tensor
    targets: Tensor
    count: int
    """How many images the run has at most."""

    @property
    def few(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """The images at hand, their classes and ids."""
        return self.some, self.targets, self.ids[: len(self.some)]

    @property
    def one(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """The first of them."""
        return self.some[:1], self.targets[:1], self.ids[:1]


def _bench(asked: Asked, entries: Sequence[ImageEntry]) -> Bench:
    reader = ChunkReader(asked.source, {e.id: e for e in entries}, asked.network.device)
    ids = tuple(entry.id for entry in entries)
    size = asked.recorded("baseline_pool", min(BASELINE_POOL, len(ids)))
    pool = reader.read(ids[:size])
    some = pool[:4]
    targets = torch.tensor([max(0, e.target) for e in entries[: len(some)]], device=some.device)
    tools = instruments(asked.network, asked.methods, asked.similarities, asked.spec, pool)
    make = asked.subject.make_model
    ground = ground_of(asked.network, asked.spec, pool, make, asked.similarities)
    count = min(len(asked.source), asked.spec.max_images)
    return Bench(tools, ground, reader, size, ids, some, targets, max(count, len(ids)))


def _admitted(asked: Asked, bench: Bench) -> Admitted:
    """Try similarities and methods; those that the user named must be defined for this network."""
    for similarity in asked.similarities:
        comparison_seconds(bench.some[:1], [similarity])  # a wrong shape is an error now, not later
    allowed = admitted(bench.tools, *bench.few)
    if allowed.refused and asked.is_explicit:
        raise MethodError(next(iter(allowed.refused.values())))
    return allowed


def _tried(
    bench: Bench, allowed: Admitted, checks: Sequence[Settled], recorded: Mapping[str, bool]
) -> tuple[Tried, ...]:
    """Try explainers that are not ours in every kind of state, and refuse those of which no verdict could come.

    `recorded`: which of them the run in the folder gave batches.
    """
    tools = replace(bench.tools, methods=allowed.methods)
    foreign = [m for m in allowed.methods if is_foreign(m, tools, *bench.one)]
    worker = Worker(tools, {c.check.name: c.check for c in checks}, bench.ground, bench.reader)
    found: list[Tried] = []
    before = _own_gradient(bench) if foreign else None
    forwards = Forwards.of(tools.network.module)
    for method in foreign:
        one = tried(worker, method, bench.ids, batched=recorded.get(method.name))
        if one.why_not is not None:
            raise MethodError(one.why_not)
        if before is not None:
            _check_left_alone(before, _own_gradient(bench), method.name, forwards)
        found.append(one)
    return tuple(found)


def _own_gradient(bench: Bench) -> Tensor:
    """The gradient at the first image, by a pass of ours."""
    x, targets, _ = bench.one
    found = differentiate(bench.tools.network, x[None], targets, rule=Rule.PLAIN, taps=(None,))
    return found.at[None][1]


def _check_left_alone(before: Tensor, after: Tensor, name: str, forwards: Forwards) -> None:
    """Raise MethodError where an explainer changed classes or torch itself, and put these back: all that follows would differ."""
    if float((after - before).abs().max()) > CHANGED * float(before.abs().max()):
        patched = ", ".join(forwards.put_back()) or "what it is was not found"
        raise MethodError(
            f"expected {name} to leave torch and your classes as it found them, but after it ran the network has other gradients "
            f"for every method ({patched}); let it put back what it patches (unittest.mock.patch.object)"
        )


def _printed(store: DirectoryStore, tries: Sequence[Tried]) -> tuple[str, ...]:
    """Log what explainers printed, which would flood the terminal, and say that they did."""
    loud = [one for one in tries if one.said]
    for one in loud:
        append_log(store.folder, f"{one.name} printed, when it was tried:\n{one.said}")
    return tuple(
        f"{one.name} prints or warns ({len(one.said.splitlines())} line(s) when it was tried): kept from here, in errors.log of "
        "the run folder."
        for one in loud
    )


def _at_speed(
    tools: Instruments, speed: Speed, allowed: Admitted, tries: Sequence[Tried]
) -> Instruments:
    worth = {one.name: one.seconds / speed.seconds for one in tries}
    batched = frozenset(one.name for one in tries if one.batched)
    return replace(at_speed(tools, speed, allowed.methods), worth=worth, batched=batched)


def _steady(asked: Asked, index: ImageIndex) -> tuple[Asked, tuple[str, ...]]:
    """Refuse a network whose logits are not the image's own; explain images one by one where batches would mix them.

    Returns what is asked, with the largest batch in the network, and what is to be told of it.
    """
    some = [asked.source[entry.index].x for entry in index.entries[:4]]
    found = steadiness(asked.network, torch.stack(some))
    why_not = found.refusal or (found.note if found.random else None)
    if why_not is not None:
        raise ModelError(
            f"expected a network that gives an image the same logits whenever it is asked, got another: {why_not}"
        )
    told = () if found.note is None else (found.note,)
    network = replace(asked.network, largest_batch=found.largest_batch)
    return replace(asked, network=network), told


def _told(checks: Sequence[Settled]) -> tuple[str, ...]:
    """Return what the checks say, each sentence once."""
    return tuple(dict.fromkeys(note for check in checks for note in check.notes))


def _settled(asked: Asked, ground: Ground) -> tuple[tuple[Settled, ...], tuple[str, ...]]:
    """Return the checks on their network, and what is to be said of optional ones that are not defined for it."""
    found: list[Settled] = []
    notes: list[str] = []
    for check in asked.checks:
        try:
            found.append(settled(check, replace(ground, recorded=asked.recorded_check(check.name))))
        except UsageError as error:
            if check.name not in asked.optional:
                raise
            notes.append(f"Left out the check {check.name}: {error}")
    if not found:
        raise UsageError(f"expected a check that this network admits, got none; {notes[0]}")
    return tuple(found), tuple(notes)


def _ahead(bench: Bench, allowed: Admitted, checks: Sequence[Settled]) -> Ahead:
    """Say what the run will do, of which measuring the speed takes a small part."""
    each = bench.count * shared_cost(bench.tools, allowed.methods, *bench.one)
    states = sum(len(_changed(c.check, d)) for c in checks for d in range(c.check.draws))
    return Ahead((1 + states) * each, each)


def _changed(check: Check, draw: int) -> set[str]:
    """Name the states that a unit compares."""
    asked = check.asked_stages(draw, is_shown=False)
    return {pair.changed for pair in check.pairs(draw) if pair.stage in asked}


def _speed(asked: Asked, x: Tensor, targets: Tensor, ahead: Ahead) -> Speed:
    """Measure at the batch size and memory format that the folder or the user names, or find the fastest."""
    is_known = asked.old.get("batch_size") and asked.recorded("memory_format")
    noted = [] if is_known else [record.notes for record in asked.store.records()]
    sizes = [notes.get("batch_size") or 0 for notes in noted]
    formats = [notes.get("memory_format") for notes in noted]
    asked_format: Any = asked.spec.memory_format
    return measured_speed(
        asked.network,
        x,
        targets,
        batch_size=asked.network.largest_batch
        or asked.old.get("batch_size")
        or asked.spec.batch_size
        or max(sizes, default=0)
        or None,
        memory_format=asked.recorded("memory_format")
        or (None if asked_format == "auto" else asked_format)
        or next(iter(formats), None),
        ahead=ahead,
    )


def _roughness(asked: Asked, x: Tensor, targets: Tensor) -> tuple[str, ...]:
    """Say what error a coarser arithmetic brings, where one was asked for."""
    precision, device = asked.spec.precision, asked.network.device
    if precision == "float32":
        return ()
    if precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"expected a CUDA device for precision tf32, got {device.type}; use float32 or bfloat16"
        )
    likeness, largest = precision_error(asked.network, x, targets, precision)
    return (
        f"Passes in {precision}: beside float32, the gradients of {len(x)} images correlate (Spearman) at {likeness:.4f} "
        f"at least, and differ by {largest:.1%} of their largest value at most. Explainers of yours run as they are.",
    )


def _indexed(asked: Asked) -> tuple[ImageIndex, Finder]:
    """Find the run's images; of a large run those that it begins with."""
    limit = FIRST if is_streamed(asked.source, asked.spec) else asked.spec.max_images
    recorded = asked.recorded_images[: asked.spec.max_images]
    finder = Finder(asked.source, seed=asked.spec.seed, names=getattr(asked.source, "names", None))
    index = begun(finder, limit=limit, recorded=recorded[: max(limit, STREAM_FROM)])
    check_repeatable(asked.source, index.entries[0].index)
    return index, finder


def _more(asked: Asked, finder: Finder) -> MoreImages | None:
    """Return the images that a large run finds while it goes."""
    if not is_streamed(asked.source, asked.spec):
        return None
    network = asked.network

    key = remembered_key(asked.source, network.fingerprint, asked.spec)
    return MoreImages(
        finder,
        asked.spec.max_images,
        remembered=Remembered(asked.store.folder, key, finder.names),
        aim=lambda _, x: _predicted(network, x),
        target=lambda entry, guess: _target(asked, entry, guess),
    )


def _aimed(asked: Asked, index: ImageIndex) -> tuple[tuple[ImageEntry, ...], dict[str, Any] | None]:
    """Choose the class to explain per image, and compare predictions with labels where they are known."""
    network = asked.network
    if asked.spec.target == "label" and asked.targets is None:
        _check_labelled(asked.source, index)
    aimed: list[ImageEntry] = []
    right = known = 0
    for start in range(0, len(index.entries), 32):
        part = index.entries[start : start + 32]
        predicted = _predicted(network, torch.stack([asked.source[e.index].x for e in part]))
        for entry, guess in zip(part, predicted, strict=True):
            known += entry.label is not None
            right += entry.label == guess
            aimed.append(replace(entry, target=_target(asked, entry, guess)))
    if not known:
        return tuple(aimed), None
    return tuple(aimed), {"trained": right / known, "chance": 1 / network.classes, "n": known}


def _predicted(network: Network, x: Tensor) -> list[int]:
    """The classes that a network predicts for images, none of which may go through layers that the first one did not."""
    x = x.to(network.device)
    check_routes(network, torch.split(x, network.largest_batch or ROUTED))
    found: list[int] = logits_of(network, x, batch_size=8).argmax(1).tolist()
    return found


def _check_labelled(source: ImageSource, index: ImageIndex) -> None:
    why = None
    if any(entry.label is None for entry in index.entries):
        why = without_label(source, [entry.index for entry in index.entries])
    if why is not None:
        raise DataError(
            f"expected a label to explain for every image (target=label), got {why}; use target=trained, or give labels.json or "
            "one subfolder per class"
        )


def _target(asked: Asked, entry: ImageEntry, predicted: int) -> int:
    classes = asked.network.classes
    if entry.label is not None and not 0 <= entry.label < classes:
        raise DataError(
            f"expected labels from 0 to {classes - 1}, the network's classes, got {entry.label} for {entry.name}; mend it, or "
            "give the images without labels"
        )
    if asked.spec.target != "label":
        return entry.target if entry.target >= 0 else predicted
    known = entry.label if asked.targets is None else asked.targets[entry.index]
    what = "labels" if asked.targets is None else "targets"
    chosen = -1 if known is None else known
    if not 0 <= chosen < classes:
        raise DataError(
            f"expected {what} from 0 to {classes - 1}, the network's classes, got {chosen} for {entry.name}"
        )
    return chosen


def _lacking(index: ImageIndex) -> tuple[str, ...]:
    if not index.problems:
        return ()
    return (f"{len(index.problems)} image(s) could not be used; the first: {index.problems[0]}",)


def _notes(asked: Asked, index: ImageIndex, allowed: Admitted, bench: Bench) -> tuple[str, ...]:
    notes = [*_roughness(asked, bench.some, bench.targets)]
    notes += [f"Left out {name}: {why}" for name, why in allowed.refused.items()]
    if index.duplicates:
        notes.append(f"{index.duplicates} image(s) have the pixels of another and were left out.")
    effort = any(hasattr(m, name) for m in allowed.methods for name in ("samples", "steps_on_path"))
    if effort and asked.network.device.type == "cpu" and asked.spec.samples is None:
        notes.append(
            f"On a CPU, noisy and path methods use {CPU_EFFORT} samples and steps (the paper: 50); change it with "
            "samples and steps (--samples, --steps)."
        )
    return (*notes, *allowed.notes)

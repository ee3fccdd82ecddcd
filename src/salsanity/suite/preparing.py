"""Before the long part: images, targets, methods that the network admits, and the speed of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from salsanity.checks.images import ChunkReader, ImageEntry, ImageIndex, index_images
from salsanity.checks.intervention import Instruments
from salsanity.checks.prepare import (
    admitted,
    comparison_seconds,
    find_spatial_layer,
    logits_of,
    shared_cost,
)
from salsanity.checks.spec import CheckSpec
from salsanity.checks.speed import Ahead, Speed, measured_speed, precision_error
from salsanity.data.examples import ImageSource
from salsanity.errors import DataError, MethodError, UsageError
from salsanity.methods import Baselines, Method
from salsanity.models.network import Network
from salsanity.similarity import Similarity
from salsanity.store.directory import DirectoryStore
from salsanity.suite.asking import CPU_EFFORT
from salsanity.suite.subject import Subject
from salsanity.units.identity import Prints

PREPARING: Final = "Reading images, trying every method, measuring the speed."
BASELINE_POOL: Final = 64
"""Images from which baselines of integrated gradients are drawn; fixed when a run begins."""


@dataclass(frozen=True)
class Asked:
    """What a run is about: a network, images, methods and similarities, and the folder's spec.json (or {})."""

    subject: Subject
    source: ImageSource
    network: Network
    methods: tuple[Method, ...]
    similarities: tuple[Similarity[Any], ...]
    spec: CheckSpec
    store: DirectoryStore
    old: dict[str, Any]
    prints: Prints
    is_explicit: bool
    """Whether the user named the methods: a named one that is not defined is an error."""

    def recorded(self, name: str, default: Any = None) -> Any:
        """Return a setting of the run in the folder."""
        return self.old.get("settings", {}).get(name, default)


@dataclass(frozen=True)
class Preparation:
    """Everything that both checks know before the long part."""

    asked: Asked
    entries: tuple[ImageEntry, ...]
    index: ImageIndex
    tools: Instruments
    reader: ChunkReader
    accuracy: dict[str, Any] | None
    speed: Speed
    notes: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images in the order of the run."""
        return tuple(entry.id for entry in self.entries)


def prepare_run(asked: Asked, *, states: int, labels: Sequence[int] | None = None) -> Preparation:
    """Read the images once, aim, try every method, and measure the speed.

    `states`: of the network, in which every image will be explained; measuring the speed takes a small part of that.
    `labels`: by position in the source, in place of the source's own.
    """
    index = _indexed(asked, labels)
    entries, accuracy = _aimed(asked, index)
    network = asked.network
    reader = ChunkReader(asked.source, {e.id: e for e in entries}, network.device)
    ids = tuple(entry.id for entry in entries)
    some = reader.read(ids[:4])
    targets = torch.tensor([max(0, e.target) for e in entries[:4]], device=network.device)
    tools = _instruments(asked, reader, ids)
    for similarity in asked.similarities:
        comparison_seconds(some[:1], [similarity])  # a wrong shape is an error now, not later
    allowed = admitted(tools, some, targets, ids[:4])
    if allowed.refused and asked.is_explicit:
        raise MethodError(next(iter(allowed.refused.values())))
    each = len(ids) * shared_cost(tools, allowed.methods, some[:1], targets[:1], ids[:1])
    speed = _speed(asked, some, targets, Ahead(states * each, each))
    tools = replace(
        tools,
        methods=allowed.methods,
        batch_size=speed.batch_size,
        memory_format=speed.memory_format,
        replay=asked.spec.replay,
        precision=asked.spec.precision,
    )
    rough = _roughness(asked, some, targets)
    notes = (*rough, *_notes(asked, index, allowed.refused), *allowed.notes)
    return Preparation(asked, entries, index, tools, reader, accuracy, speed, notes)


def _speed(asked: Asked, x: Tensor, targets: Tensor, ahead: Ahead) -> Speed:
    """Measure at the batch size and memory format that the folder or the user names, or find the fastest."""
    noted = [record.notes for record in asked.store.records()]  # where spec.json was lost
    sizes = [notes.get("batch_size") or 0 for notes in noted]
    formats = [notes.get("memory_format") for notes in noted]
    asked_format = asked.spec.memory_format
    return measured_speed(
        asked.network,
        x,
        targets,
        batch_size=asked.old.get("batch_size")
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


def _indexed(asked: Asked, labels: Sequence[int] | None) -> ImageIndex:
    recorded = asked.recorded("recorded_images", [])
    index = index_images(
        asked.source,
        seed=asked.spec.seed,
        limit=asked.spec.max_images,
        recorded=recorded[: asked.spec.max_images],
        names=getattr(asked.source, "names", None),
    )
    if labels is not None:
        if len(labels) != len(asked.source):
            raise DataError(
                f"expected one target per image ({len(asked.source)}), got {len(labels)}"
            )
        index.entries = [replace(e, label=int(labels[e.index])) for e in index.entries]
    return index


def _instruments(asked: Asked, reader: ChunkReader, ids: Sequence[str]) -> Instruments:
    spec, network = asked.spec, asked.network
    pool = reader.read(ids[: asked.recorded("baseline_pool", BASELINE_POOL)])
    spatial, why_not = find_spatial_layer(network, spec.layer)
    baselines = Baselines(spec.seed, pool)
    return Instruments(
        network, asked.methods, asked.similarities, spec.seed, 1, baselines, spatial, why_not
    )


def _aimed(asked: Asked, index: ImageIndex) -> tuple[tuple[ImageEntry, ...], dict[str, Any] | None]:
    """Choose the class to explain per image, and compare predictions with labels where they are known."""
    network, target = asked.network, asked.spec.target
    if target == "label" and any(entry.label is None for entry in index.entries):
        raise DataError(
            "expected labels to explain (target=label), but some images have none; use target=trained, or give labels.json "
            "or one subfolder per class"
        )
    aimed: list[ImageEntry] = []
    right = known = 0
    for start in range(0, len(index.entries), 32):
        part = index.entries[start : start + 32]
        x = torch.stack([asked.source[e.index].x for e in part]).to(network.device)
        predicted = logits_of(network, x, batch_size=8).argmax(1).tolist()
        for entry, guess in zip(part, predicted, strict=True):
            known += entry.label is not None
            right += entry.label == guess
            chosen = _target(entry, guess, target, network.classes)
            aimed.append(replace(entry, target=chosen))
    if not known:
        return tuple(aimed), None
    return tuple(aimed), {"trained": right / known, "chance": 1 / network.classes, "n": known}


def _target(entry: ImageEntry, predicted: int, target: str, classes: int) -> int:
    if target != "label":
        return entry.target if entry.target >= 0 else predicted
    label = -1 if entry.label is None else entry.label
    if not 0 <= label < classes:
        raise DataError(f"expected labels from 0 to {classes - 1}, got {label} for {entry.name}")
    return label


def _notes(asked: Asked, index: ImageIndex, refused: dict[str, str]) -> tuple[str, ...]:
    notes = [f"Left out {name}: {why}" for name, why in refused.items()]
    if index.problems:
        notes.append(
            f"{len(index.problems)} image(s) could not be used; the first: {index.problems[0]}"
        )
    if index.duplicates:
        notes.append(f"{index.duplicates} image(s) have the pixels of another and were left out.")
    if asked.network.device.type == "cpu" and asked.spec.samples is None:
        notes.append(
            f"On a CPU, noisy and path methods use {CPU_EFFORT} samples and steps (the paper: 50); change it with "
            "--samples and --steps."
        )
    return tuple(notes)

"""Before the long part: images, targets, methods that the network admits, the speed of a pass, and checks on their network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from salsanity.checks.frame import Check, Ground, Settled
from salsanity.checks.named import settled
from salsanity.errors import MethodError, ModelError, UsageError
from salsanity.models.steadiness import steadiness
from salsanity.narrator import Notes
from salsanity.suite.aiming import aimed, indexed, lacking, more_images
from salsanity.suite.asking import CPU_EFFORT
from salsanity.suite.prepared import SKETCHES, Asked, Run
from salsanity.suite.trying import Bench, printed, sketches, tried_all
from salsanity.units.admit import (
    Admitted,
    admitted,
    comparison_seconds,
    shared_cost,
)
from salsanity.units.images import ChunkReader, ImageEntry, ImageIndex
from salsanity.units.job import at_speed, ground_of, instruments
from salsanity.units.speed import Ahead, Speed, measured_speed, precision_error
from salsanity.units.tools import Instruments
from salsanity.units.trial import Tried

PREPARING: Final = "Reading images, trying every method, measuring the speed."
BASELINE_POOL: Final = 64
"""Images from which baselines of integrated gradients are drawn; fixed when a run begins."""


def prepare_run(asked: Asked) -> Run:
    """Read the images once, aim, try every method, settle the checks, and measure the speed."""
    index, finder = indexed(asked)
    asked, steady = _steady(asked, index)
    entries, accuracy = aimed(asked, index)
    bench = _bench(asked, entries)
    allowed = _admitted(asked, bench)
    checks, left_out = _settled(asked, bench.ground)
    tries = tried_all(asked, bench, allowed, checks)
    speed = _speed(asked, bench.some, bench.targets, _ahead(bench, allowed, checks))
    remarks = (
        *asked.network.notes,
        *steady,
        *_notes(asked, index, allowed, bench),
        *left_out,
        *_told(checks),
        *printed(asked.store, tries),
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
        Notes(lacking(index), remarks),
        asked.recorded_images,
        bench.pool,
        tries,
        {**asked.recorded(SKETCHES, {}), **sketches(asked.prints, bench.ids, tries)},
        more_images(asked, finder),
    )


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

"""The model parameter randomisation test from end to end: prepare, tell the cost, execute, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from salsanity import registry
from salsanity.checks.images import ChunkReader, ImageEntry, ImageIndex, index_images
from salsanity.checks.intervention import Cascade, Instruments
from salsanity.checks.model_randomization import CHECK, ModelRandomizationWork, Shown
from salsanity.checks.plan import chunked, missing_units
from salsanity.checks.prepare import (
    Speed,
    admitted,
    comparison_seconds,
    cost_by_method,
    find_spatial_layer,
    logits_of,
    measured_speed,
    shared_cost,
)
from salsanity.checks.spec import CheckSpec, differing
from salsanity.data.examples import ImageSource
from salsanity.errors import DataError, MethodError, SpecError
from salsanity.executors.serial import Executor, SerialExecutor
from salsanity.methods import Baselines, Method
from salsanity.models.network import Network, prepare
from salsanity.randomizers.stages import Stage, full_of, half_of, stages_of
from salsanity.records import CONTROLS, VIEWS, UnitKey, digest
from salsanity.similarity import Similarity
from salsanity.store.directory import FORMAT_VERSION, DirectoryStore, locked
from salsanity.suite.execute import Work, execute
from salsanity.suite.gallery import Gallery
from salsanity.suite.initialiser import Initialiser, resolve
from salsanity.suite.judging import conclude
from salsanity.suite.narrator import Narrator, Silent, duration
from salsanity.suite.result import Result
from salsanity.suite.subject import Subject, device_of, hardware, versions

CPU_EFFORT: Final = 10
GPU_EFFORT: Final = 50
BASELINE_POOL: Final = 64
GROUPS_PER_CHUNK: Final = 4


@dataclass
class _Prepared:
    """Everything that is known before the long part."""

    spec: CheckSpec
    store: DirectoryStore
    old: dict[str, Any]
    network: Network
    index: ImageIndex
    tools: Instruments
    stages: tuple[Stage, ...]
    init: Initialiser
    accuracy: dict[str, Any] | None
    speed: Speed
    notes: list[str]
    reader: ChunkReader

    @property
    def half(self) -> Stage | None:
        """The stage with the top half of the network randomised; None where the run is judged on `full` alone."""
        return half_of(self.stages) if self.spec.order == "top_down" else None

    @property
    def full(self) -> Stage:
        return full_of(self.stages)


def run_model_randomization(
    subject: Subject,
    source: ImageSource,
    *,
    methods: Sequence[Any] | None = None,
    similarities: Sequence[Any] = registry.DEFAULT_SIMILARITIES,
    spec: CheckSpec = CheckSpec(),  # noqa: B008 - frozen
    out: Path | None = None,
    narrator: Narrator | None = None,
    executor: Executor | None = None,
    labels: Sequence[int] | None = None,
) -> Result:
    """Run the test, or what is missing of it, and return its result.

    `methods` None takes the paper's (without IG-SmoothGrad) and leaves out, with a note, those that the network does not admit; a
    method that is named must be admitted. `out` None: `salsanity-runs/<model>-<digest>` in the working directory.
    Raises a `UsageError` for bad input before anything long is computed.
    """
    narrator = narrator or Silent()
    device = device_of(spec.device)
    asked = _methods(methods, spec, device)
    chosen_similarities = tuple(registry.similarity(s) for s in similarities)
    first = _first(source)
    network = prepare(subject.model, first, blocks=_blocks(spec), device=device, name=subject.name)
    folder = out or _default_folder(network, subject, source, spec)
    with locked(folder):
        store = DirectoryStore(folder)
        old = store.read_json("spec.json") or {}
        _check_same(old, network, spec, source)
        ready = _prepare(
            subject, source, network, asked, chosen_similarities, spec, store, old, labels, methods is not None
        )
        for note in ready.notes:
            narrator.say(note)
        _execute(ready, subject, source, narrator, executor or SerialExecutor())
    return Result(folder)


def _first(source: ImageSource) -> torch.Tensor:
    """Return the first readable image as a batch of one, to learn the network's layers from."""
    for position in range(len(source)):
        try:
            return source[position].x[None]
        except DataError:
            continue
    index_images(source, seed=0, limit=1)  # says what is wrong with them
    raise DataError(f"expected at least one readable image in {source.name}")


def _blocks(spec: CheckSpec) -> Any:
    return list(spec.blocks) if isinstance(spec.blocks, tuple) else spec.blocks


def _methods(
    methods: Sequence[Any] | None, spec: CheckSpec, device: torch.device
) -> tuple[Method, ...]:
    effort = _effort(spec, device)
    named = registry.DEFAULT_METHODS if methods is None else methods
    found = [registry.method(m, effort=effort) for m in named]
    names = [method.name for method in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MethodError(f"expected each method once, got {twice[0]!r} twice; give one another name")
    if not found:
        raise MethodError("expected at least one method, got none; see `salsanity methods`")
    taken = sorted(set(names) & set(CONTROLS))
    if taken:
        raise MethodError(f"{taken[0]!r} is the name of a control; give the method another name")
    return (*found, *(make() for make in registry.CONTROLS.values()))


def _effort(spec: CheckSpec, device: torch.device) -> registry.Effort:
    usual = GPU_EFFORT if device.type == "cuda" else CPU_EFFORT
    return registry.Effort(spec.samples or usual, spec.steps or usual, spec.endpoints)


def _default_folder(
    network: Network, subject: Subject, source: ImageSource, spec: CheckSpec
) -> Path:
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in subject.name)[:40] or "network"
    mark = digest([CHECK, network.fingerprint, source.name, spec.identity()])[:8]
    return Path("salsanity-runs") / f"{name}-{mark}"


def _check_same(
    old: dict[str, Any], network: Network, spec: CheckSpec, source: ImageSource
) -> None:
    """Refuse to mix two experiments in one folder."""
    if not old:
        return
    if old.get("format_version") != FORMAT_VERSION or old.get("check") != CHECK:
        raise SpecError(
            f"expected a {CHECK} run of format {FORMAT_VERSION} in this folder, got check={old.get('check')!r}, "
            f"format={old.get('format_version')!r}; give another --out"
        )
    if old["model"]["fingerprint"] != network.fingerprint:
        raise SpecError(
            "the folder holds a run of a network with other weights; give another --out for this one"
        )
    changed = differing(old["settings"]["identity"], spec.identity())
    if old["data"]["name"] != source.name:
        changed.append("data")
    if changed:
        raise SpecError(
            f"the run in this folder was made with another {', '.join(changed)}; only draws, images, methods, similarities "
            "and thresholds may be added or changed; give another --out"
        )


def _prepare(
    subject: Subject,
    source: ImageSource,
    network: Network,
    asked: tuple[Method, ...],
    similarities: tuple[Similarity[Any], ...],
    spec: CheckSpec,
    store: DirectoryStore,
    old: dict[str, Any],
    labels: Sequence[int] | None,
    is_explicit: bool,
) -> _Prepared:
    recorded = old.get("settings", {}).get("recorded_images", ())
    index = index_images(
        source,
        seed=spec.seed,
        limit=spec.max_images,
        recorded=recorded[: spec.max_images],
        names=getattr(source, "names", None),
    )
    if labels is not None:
        index.entries = [replace(e, label=int(labels[e.index])) for e in index.entries]
    accuracy = _aim(network, source, index, spec)
    reader = ChunkReader(source, {e.id: e for e in index.entries}, network.device)
    ids = [entry.id for entry in index.entries]
    some = reader.read(ids[:4])
    targets = torch.tensor([e.target for e in index.entries[:4]], device=network.device).clamp(min=0)
    spatial, why_not = find_spatial_layer(network, spec.layer)
    pool = reader.read(ids[: old.get("settings", {}).get("baseline_pool", BASELINE_POOL)])
    tools = Instruments(
        network, asked, similarities, spec.seed, 1, Baselines(spec.seed, pool), spatial, why_not
    )
    for similarity in similarities:
        comparison_seconds(some[:1], [similarity])  # a wrong shape is an error now, not later
    allowed = admitted(tools, some, targets, ids[:4])
    notes = _notes(index, spec, network.device, allowed.refused)
    if allowed.refused and is_explicit:
        raise MethodError(next(iter(allowed.refused.values())))
    speed = measured_speed(
        network, some, targets, batch_size=old.get("batch_size") or spec.batch_size
    )
    tools = replace(tools, methods=allowed.methods, batch_size=speed.batch_size)
    stages = stages_of(network.blocks, spec.order)  # type: ignore[arg-type]
    half = half_of(stages) if spec.order == "top_down" else None
    init = resolve(
        network,
        subject,
        spec,
        reader.read(ids[:16]),
        stages,
        decisive=[s for s in (half, full_of(stages)) if s is not None],
        recorded=old.get("init"),
    )
    notes.append(
        f"Initialiser {init.name} ({init.reason}); {init.randomised_share:.1%} of the parameters are randomised."
    )
    return _Prepared(
        spec, store, old, network, index, tools, stages, init, accuracy, speed, notes, reader
    )


def _aim(
    network: Network, source: ImageSource, index: ImageIndex, spec: CheckSpec
) -> dict[str, Any] | None:
    """Choose the class to explain per image, and compare predictions with labels where they are known."""
    if spec.target == "label" and any(entry.label is None for entry in index.entries):
        raise DataError(
            "expected labels for --target label, but some images have none; use --target trained, or give labels.json or "
            "one subfolder per class"
        )
    aimed: list[ImageEntry] = []
    right = known = 0
    for start in range(0, len(index.entries), 32):
        part = index.entries[start : start + 32]
        x = torch.stack([source[entry.index].x for entry in part]).to(network.device)
        predicted = logits_of(network, x, batch_size=8).argmax(1).tolist()
        for entry, guess in zip(part, predicted, strict=True):
            known += entry.label is not None
            right += entry.label == guess
            aimed.append(replace(entry, target=_target(entry, guess, spec.target, network.classes)))
    index.entries = aimed
    if not known:
        return None
    return {"trained": right / known, "chance": 1 / network.classes, "n": known}


def _target(entry: ImageEntry, predicted: int, target: str, classes: int) -> int:
    if target == "label":
        if not 0 <= (entry.label or 0) < classes:
            raise DataError(
                f"expected labels from 0 to {classes - 1}, got {entry.label} for {entry.name}"
            )
        return int(entry.label or 0)
    return entry.target if entry.target >= 0 else predicted


def _notes(
    index: ImageIndex, spec: CheckSpec, device: torch.device, refused: dict[str, str]
) -> list[str]:
    notes = [f"Left out {name}: {why}" for name, why in refused.items()]
    if index.problems:
        notes.append(
            f"{len(index.problems)} image(s) could not be used; the first: {index.problems[0]}"
        )
    if index.duplicates:
        notes.append(f"{index.duplicates} image(s) have the pixels of another and were left out.")
    if device.type == "cpu" and spec.samples is None:
        notes.append(
            f"On a CPU, noisy and path methods use {CPU_EFFORT} samples and steps (the paper: 50); change it with "
            "--samples and --steps."
        )
    return notes


def _stage_names(ready: _Prepared, draw: int, chunk: range) -> tuple[str, ...]:
    """All stages, or, for a verdict, `half` and `full`; the gallery always shows the whole cascade of one draw."""
    everything = tuple(stage.name for stage in ready.stages)
    if ready.spec.stages == "all" or (draw == 0 and chunk.start < ready.spec.gallery):
        return everything
    return tuple(s.name for s in (ready.half, ready.full) if s is not None)


def _base(ready: _Prepared) -> str:
    """Digest what every score depends on, apart from what a unit's key holds itself."""
    spec = ready.spec
    return digest(
        {
            "fingerprint": ready.network.fingerprint,
            "blocks": [[b.name, list(b.layers)] for b in ready.network.blocks],
            "init": ready.init.name,
            "settings": [spec.init_sd, spec.init_bias, spec.batchnorm, spec.order, spec.seed],
            "batch_size": ready.speed.batch_size,
            "target": spec.target,
            "device": ready.network.device.type,
        }
    )


def method_key(method: Method, ready: _Prepared) -> str:
    """Name a method and its settings, so that other settings are other work."""
    facts: list[Any] = [repr(method)]
    if getattr(method, "baseline", None) is not None and ready.tools.baselines.pool is not None:
        facts.append(float(ready.tools.baselines.pool.double().sum()))
    if hasattr(method, "explainer"):
        facts = [method.name]
    return f"{method.name}#{digest(facts)[:12]}"


def _plan(ready: _Prepared) -> list[UnitKey]:
    ids = [f"{entry.id}" for entry in ready.index.entries]
    base = digest([_base(ready), [[e.id, e.target] for e in ready.index.entries if ready.spec.target == "label"]])  # fmt: skip
    methods = tuple(method_key(m, ready) for m in ready.tools.methods)
    similarities = tuple(f"{s.name}#{digest(repr(s))[:12]}" for s in ready.tools.similarities)
    chunks = chunked(len(ids), gallery=ready.spec.gallery, groups_per_chunk=GROUPS_PER_CHUNK)
    return [
        UnitKey(
            CHECK,
            draw,
            tuple(ids[i] for i in chunk),
            _stage_names(ready, draw, chunk),
            methods,
            similarities,
            base,
        )
        for chunk in chunks
        for draw in range(ready.spec.draws)
    ]


def _execute(
    ready: _Prepared, subject: Subject, source: ImageSource, narrator: Narrator, executor: Executor
) -> None:
    wanted = _plan(ready)
    units = missing_units(wanted, ready.store.keys())
    document = _document(ready, subject, source)
    ready.store.write_json("spec.json", document)
    ready.store.write_json("coverage.json", ready.init.coverage)
    _tell_cost(ready, units, wanted, narrator)
    began = time.perf_counter()
    gallery = _gallery(ready, subject)
    tools = replace(ready.tools, tick=lambda done: narrator.advance(done))
    work = ModelRandomizationWork(
        tools,
        _cascade(ready),
        {s.name: s.index for s in ready.stages},
        ready.reader,
        own_target=ready.spec.target == "own",
        shown=Shown(frozenset(gallery.facts), gallery.keep) if gallery.facts else None,
    )
    failed = execute(
        Work(work, gallery.flush, ready.spec.unit_timeout),
        units,
        store=ready.store,
        executor=executor,
        narrator=narrator,
        total=sum(_evaluations(ready, unit) for unit in units),
    )
    conclude(
        ready.store,
        document,
        wanted,
        accuracy=ready.accuracy,
        failed=failed,
        seconds=time.perf_counter() - began,
        narrator=narrator,
    )


def _cascade(ready: _Prepared) -> Cascade:
    spec, images = ready.spec, ()
    if spec.batchnorm == "recalibrate":
        ids = [e.id for e in ready.index.entries[:BASELINE_POOL]]
        images = ready.reader.read(ids).split(8)
    stages = {stage.name: stage for stage in ready.stages}
    return Cascade(ready.init.draw, stages, spec.seed, spec.batchnorm, images)


def _gallery(ready: _Prepared, subject: Subject) -> Gallery:
    shown = ready.index.entries[: ready.spec.gallery]
    names = subject.class_names or ()
    facts = {
        e.id: {
            "name": e.name,
            "target": str(e.target),
            "target_name": names[e.target] if 0 <= e.target < len(names) else str(e.target),
            "label": "" if e.label is None else names[e.label] if e.label < len(names) else str(e.label),
        }
        for e in shown
    }
    return Gallery(
        ready.store.folder / "gallery", facts, {e.id: ready.reader.display(e.id) for e in shown}
    )


def _evaluations(ready: _Prepared, unit: UnitKey) -> int:
    """Count the forward and backward passes of a unit, its share of the reference included."""
    ids = list(unit.images)
    names = {name.partition("#")[0] for name in unit.methods}
    chosen = [m for m in ready.tools.methods if m.name in names]
    x = torch.empty(1, *ready.network.trace.input_shape[1:])
    count: Callable[[Sequence[Method]], int] = lambda ms: shared_cost(  # noqa: E731
        ready.tools, ms, x, torch.zeros(1, dtype=torch.long), ids[:1]
    )
    total = count(chosen) * len(unit.stages)
    if unit.draw == 0:
        total += count(chosen) + count([m for m in chosen if m.stochastic])
    return total * len(ids)


def _tell_cost(
    ready: _Prepared, units: Sequence[UnitKey], wanted: Sequence[UnitKey], narrator: Narrator
) -> None:
    passes = sum(_evaluations(ready, unit) for unit in units)
    done = len(wanted) - len(units)
    if not units:
        narrator.say("Every unit of this run is already there; judging it again.")
        return
    if done > 0:
        narrator.say(f"Continuing: {done} of {len(wanted)} units are already there.")
    compared = sum(len(u.images) * len(u.stages) * len(u.methods) for u in units)
    ids = [e.id for e in ready.index.entries[:4]]
    each = comparison_seconds(ready.reader.read(ids), ready.tools.similarities)
    seconds = passes * ready.speed.seconds + compared * each
    narrator.say(
        f"{passes:,} passes (forward and backward of one image) at {ready.speed.seconds * 1e3:.3g} ms each, measured at batch "
        f"size {ready.speed.batch_size}, and {compared:,} maps to compare at {each * 1e3:.2g} ms: about {duration(seconds)}."
    )
    if seconds > 120:
        narrator.say(_cheaper(ready))


def _cheaper(ready: _Prepared) -> str:
    x = torch.empty(1, *ready.network.trace.input_shape[1:])
    costs = cost_by_method(ready.tools, x, torch.zeros(1, dtype=torch.long), ["x"])
    dearest = max(costs, key=lambda name: costs[name])
    share = costs[dearest] / max(1, shared_cost(ready.tools, ready.tools.methods, x, torch.zeros(1, dtype=torch.long), ["x"]))  # fmt: skip
    return (
        f"Cheaper: --quick; fewer --draws or --max-images; fewer --samples and --steps; or leave out {dearest}, which takes up to "
        f"{share:.0%} of the passes. Ctrl-C stops; the same command continues."
    )


def _document(ready: _Prepared, subject: Subject, source: ImageSource) -> dict[str, Any]:
    """Build spec.json: all that is needed to run again, and what the report shows of it."""
    spec, old = ready.spec, ready.old
    images = [entry.to_json() for entry in ready.index.entries]
    recorded = old.get("settings", {}).get("recorded_images", ())
    return {
        "format_version": FORMAT_VERSION,
        "check": CHECK,
        "base": _base(ready),
        "versions": versions(),
        "hardware": hardware(ready.network.device),
        "model": {
            "name": subject.name,
            "fingerprint": ready.network.fingerprint,
            "parameters": ready.network.parameters,
        },
        "data": {"name": source.name, "class_names": list(subject.class_names or source.class_names or []) or None},
        "images": images,
        "methods": [m.name for m in ready.tools.methods if m.name not in CONTROLS],
        "method_settings": {m.name: _settings(m) for m in ready.tools.methods},
        "controls": list(CONTROLS),
        "similarities": [s.name for s in ready.tools.similarities],
        "views": list(VIEWS),
        "order": spec.order,
        "stages_mode": spec.stages,
        "stages": [{"name": s.name, "index": s.index, "blocks": list(s.blocks)} for s in ready.stages],
        "half": ready.half.name if ready.half else None,
        "full": ready.full.name,
        "blocks": [{"name": b.name, "layers": list(b.layers)} for b in ready.network.blocks],
        "init": ready.init.name,
        "batchnorm": spec.batchnorm,
        "target": spec.target,
        "draws": spec.draws,
        "seed": spec.seed,
        "batch_size": ready.speed.batch_size,
        "gallery": spec.gallery,
        "thresholds": {"full": spec.d_full, "half": spec.d_half},
        "settings": {
            "identity": spec.identity(),
            "recorded_images": max(images, recorded, key=len),
            "baseline_pool": old.get("settings", {}).get("baseline_pool", min(BASELINE_POOL, len(images))),
            "spatial_layer": ready.tools.spatial.name if ready.tools.spatial else None,
            "image_problems": ready.index.problems[:100],
            "duplicates": ready.index.duplicates,
            "notes": ready.notes,
        },
    }


def _settings(method: Method) -> dict[str, Any]:
    names = ("samples", "sd", "steps_on_path", "spacing", "baseline")
    found = {name: getattr(method, name) for name in names if hasattr(method, name)}
    if "baseline" in found:
        found["baseline"] = repr(found["baseline"])
    return found

"""The model parameter randomisation test from end to end: prepare, tell the cost, execute, judge."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from salsanity import registry
from salsanity.checks.intervention import Cascade
from salsanity.checks.model_randomization import CHECK, ModelRandomizationWork, Shown
from salsanity.checks.plan import chunked, missing_units
from salsanity.checks.spec import INITS, CheckSpec
from salsanity.data.examples import ImageSource
from salsanity.data.images import FolderSource, for_classes
from salsanity.executors.named import executor as executor_named
from salsanity.executors.serial import Executor
from salsanity.models.network import lay_out, prepare
from salsanity.randomizers.stages import Stage, full_of, half_of, stages_of
from salsanity.records import UnitKey, digest
from salsanity.store.directory import DirectoryStore, units_asked
from salsanity.store.folder import locked
from salsanity.suite import rounds
from salsanity.suite.asking import (
    check_same,
    check_same_network,
    default_folder,
    first_image,
    methods_of,
    recorded_run,
)
from salsanity.suite.containing import check_unchanged, contained, time_limit
from salsanity.suite.costs import tell_cost, unit_passes
from salsanity.suite.document import (
    changes,
    common_document,
    gallery_of,
    method_key,
    similarity_keys,
    with_note,
)
from salsanity.suite.execute import Work, execute, intact_units
from salsanity.suite.gallery import Gallery
from salsanity.suite.initialiser import Initialiser, resolve
from salsanity.suite.judging import conclude
from salsanity.suite.narrator import Narrator, Silent
from salsanity.suite.preparing import BASELINE_POOL, PREPARING, Asked, Preparation, prepare_run
from salsanity.suite.result import Result
from salsanity.suite.rounds import Rounds
from salsanity.suite.subject import Subject, device_of
from salsanity.units.identity import Prints

GROUPS_PER_CHUNK: Final = 4
IMAGES_FOR_COLLAPSE: Final = 16


@dataclass(frozen=True)
class _Run:
    """A prepared run, its stages and its initialiser."""

    ready: Preparation
    stages: tuple[Stage, ...]
    init: Initialiser

    @property
    def spec(self) -> CheckSpec:
        return self.ready.asked.spec

    @property
    def half(self) -> Stage | None:
        return _half(self.stages, self.spec)

    @property
    def full(self) -> Stage:
        return full_of(self.stages)


@torch.inference_mode(mode=False)
@torch.enable_grad()
def run_model_randomization(
    subject: Subject,
    source: ImageSource,
    *,
    methods: Sequence[Any] | None = None,
    similarities: Sequence[Any] = registry.DEFAULT_SIMILARITIES,
    spec: CheckSpec = CheckSpec(),  # noqa: B008 - frozen
    out: Path | None = None,
    narrator: Narrator | None = None,
    executor: Executor | str | None = None,
    labels: Sequence[int] | None = None,
) -> Result:
    """Run the test, or what is missing of it, and return its result.

    `methods` None takes the paper's (without IG-SmoothGrad) and leaves out, with a note, those that the network does not
    admit; a method that is named must be admitted. `out` None: `salsanity-runs/<model>-<digest>` in the working directory.
    Raises a `UsageError` for bad input before anything long is computed.
    """
    narrator, device = narrator or Silent(), device_of(spec.device)
    runs_on = executor_named(executor)
    asked_methods = methods_of(methods, spec, device)
    if spec.init not in INITS:
        registry.draw(spec.init)  # what is wrong with it is said before anything is computed
    asked_similarities = tuple(registry.similarity(s) for s in similarities)
    prints = Prints.of(asked_methods, asked_similarities)  # before any of them is called
    blocks = list(spec.blocks) if isinstance(spec.blocks, tuple) else spec.blocks
    with time_limit(spec.unit_timeout):
        network = prepare(
            subject.model, first_image(source), blocks=blocks, device=device, name=subject.name
        )
        check_unchanged(network)
    if isinstance(source, FolderSource):
        source, remark = for_classes(source, network.classes)
        if remark is not None:
            narrator.say(remark)
    identity = [network.fingerprint, source.name, spec.identity()]
    folder = out or default_folder(CHECK, subject.name, identity)
    with locked(folder):
        store = DirectoryStore(folder)
        old = recorded_run(store, narrator)
        check_same(old, check=CHECK, identity=spec.identity(), data=source.name)
        check_same_network(old, network.fingerprint)
        asked = Asked(
            subject,
            source,
            network,
            asked_methods,
            asked_similarities,
            spec,
            store,
            old,
            prints,
            is_explicit=methods is not None,
        )
        narrator.say(PREPARING)
        with contained(network, spec.unit_timeout):
            run = _prepared(asked, labels)
        lay_out(network, run.ready.speed.memory_format)  # which was put back with all else
        for note in run.ready.notes:
            narrator.say(note)
        _execute(run, narrator, runs_on)
    return Result(folder)


def _half(stages: Sequence[Stage], spec: CheckSpec) -> Stage | None:
    """Return the stage of the top half; None where the run is judged on `full` alone."""
    return half_of(stages) if spec.order == "top_down" else None


def _prepared(asked: Asked, labels: Sequence[int] | None) -> _Run:
    stages = stages_of(asked.network.blocks, asked.spec.order)  # type: ignore[arg-type]
    decisive = [s for s in (_half(stages, asked.spec), full_of(stages)) if s is not None]
    each = len(stages if asked.spec.stages == "all" else decisive)
    ready = prepare_run(asked, states=1 + asked.spec.draws * each, labels=labels)
    init = resolve(
        asked.network,
        asked.subject,
        asked.spec,
        ready.reader.read(ready.ids[:IMAGES_FOR_COLLAPSE]),
        stages,
        decisive=decisive,
        recorded=asked.old.get("init"),
    )
    init = replace(init, reason=asked.recorded("init_reason", init.reason))
    told = (
        f"Initialiser {init.name} ({init.reason}); {init.randomised_share:.1%} of the parameters are randomised "
        f"in {len(stages)} stages."
    )
    return _Run(with_note(ready, told), stages, init)


def _stage_names(run: _Run, draw: int, chunk: range) -> tuple[str, ...]:
    """All stages, or `half` and `full`; the gallery always shows the whole cascade of one draw."""
    if run.spec.stages == "all" or (draw == 0 and chunk.start < run.spec.gallery):
        return tuple(stage.name for stage in run.stages)
    return tuple(s.name for s in (run.half, run.full) if s is not None)


def _base(run: _Run) -> str:
    """Digest what every score depends on, apart from what a unit's key holds itself."""
    spec, network = run.spec, run.ready.tools.network
    facts = {
        "fingerprint": network.fingerprint,
        "blocks": [[b.name, list(b.layers)] for b in network.blocks],
        "init": run.init.name,
        "settings": [spec.init_sd, spec.init_bias, spec.batchnorm, spec.order, spec.seed],
        "keep": list(spec.keep),
        "batch_size": run.ready.speed.batch_size,
        "memory_format": run.ready.speed.memory_format,
        "precision": run.spec.precision,
        "target": spec.target,
        "device": network.device.type,
    }
    return digest(facts)


def _base_of(run: _Run, base: str, chunk: range) -> str:
    """Return the base of one unit: where labels are explained, they are part of it."""
    if run.spec.target != "label":
        return base
    return digest([base, [entry.target for entry in run.ready.entries[chunk.start : chunk.stop]]])


def _plan(run: _Run) -> list[UnitKey]:
    ready = run.ready
    base, similarities = _base(run), similarity_keys(ready)
    methods = tuple(method_key(m, ready) for m in ready.tools.methods)
    groups = rounds.GROUPS_PER_CHUNK if run.spec.until_decided else GROUPS_PER_CHUNK
    chunks = chunked(len(ready.ids), gallery=run.spec.gallery, groups_per_chunk=groups)
    return [
        UnitKey(
            CHECK,
            draw,
            ready.ids[chunk.start : chunk.stop],
            _stage_names(run, draw, chunk),
            methods,
            similarities,
            _base_of(run, base, chunk),
        )
        for chunk in chunks
        for draw in range(run.spec.draws)
    ]


def _execute(run: _Run, narrator: Narrator, executor: Executor) -> None:
    ready, store = run.ready, run.ready.asked.store
    wanted = _plan(run)
    gallery = gallery_of(ready)
    units = missing_units(wanted, intact_units(store, gallery))
    news = changes(ready, units_asked(wanted), narrator)
    document = _document(replace(run, ready=with_note(ready, *news)), wanted)
    store.write_json("spec.json", document)
    store.write_json("coverage.json", run.init.coverage)
    passes = sum(unit_passes(ready, unit) for unit in units)
    maps = sum(len(u.images) * len(u.stages) * len(u.methods) for u in units)
    tell_cost(
        ready,
        narrator,
        passes=passes,
        maps=maps,
        done=len(wanted) - len(units),
        wanted=len(wanted),
        at_most=run.spec.until_decided,
    )
    began = time.perf_counter()
    if run.spec.until_decided:
        failed = Rounds.of(wanted, ready.ids, document, ready.accuracy).run(
            store, lambda units: _run_missing(run, gallery, units, narrator, executor), narrator
        )
    else:
        failed = _run_units(run, gallery, units, narrator, executor)
    conclude(
        store,
        document,
        accuracy=ready.accuracy,
        failed=failed,
        seconds=time.perf_counter() - began,
        narrator=narrator,
    )


def _run_units(
    run: _Run,
    gallery: Gallery,
    units: Sequence[UnitKey],
    narrator: Narrator,
    executor: Executor,
) -> list[dict[str, Any]]:
    ready = run.ready
    work = ModelRandomizationWork(
        replace(ready.tools, tick=narrator.advance),
        _cascade(run),
        {stage.name: stage.index for stage in run.stages},
        ready.reader,
        own_target=run.spec.target == "own",
        shown=Shown(frozenset(gallery.facts), gallery.keep) if gallery.facts else None,
    )
    return execute(
        Work(ready.tools.network, work, gallery.flush, run.spec.unit_timeout),
        units,
        store=ready.asked.store,
        executor=executor,
        narrator=narrator,
        total=sum(unit_passes(ready, unit) for unit in units),
    )


def _run_missing(
    run: _Run,
    gallery: Gallery,
    wanted: Sequence[UnitKey],
    narrator: Narrator,
    executor: Executor,
) -> list[dict[str, Any]]:
    """Run what a round wants and the folder lacks."""
    units = missing_units(wanted, intact_units(run.ready.asked.store, gallery))
    return _run_units(run, gallery, units, narrator, executor)


def _cascade(run: _Run) -> Cascade:
    spec, ready = run.spec, run.ready
    recalibrates = spec.batchnorm == "recalibrate"
    images = torch.split(ready.reader.read(ready.ids[:BASELINE_POOL]), 8) if recalibrates else ()
    stages = {stage.name: stage for stage in run.stages}
    return Cascade(run.init.draw, stages, spec.seed, spec.batchnorm, images)  # type: ignore[arg-type]


def _document(run: _Run, wanted: Sequence[UnitKey]) -> dict[str, Any]:
    spec, blocks = run.spec, run.ready.tools.network.blocks
    common = common_document(run.ready, check=CHECK, base=_base(run), units=units_asked(wanted))
    return {
        **common,
        "settings": {**common["settings"], "init_reason": run.init.reason},
        "order": spec.order,
        "stages_mode": spec.stages,
        "stages": [
            {"name": s.name, "index": s.index, "blocks": list(s.blocks)} for s in run.stages
        ],
        "half": run.half.name if run.half else None,
        "full": run.full.name,
        "blocks": [{"name": b.name, "layers": list(b.layers)} for b in blocks],
        "init": run.init.name,
        "batchnorm": spec.batchnorm,
        "draws": spec.draws,
        "until_decided": spec.until_decided,
        "thresholds": {"full": spec.d_full, "half": spec.d_half},
    }

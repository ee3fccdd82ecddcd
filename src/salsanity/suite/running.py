"""One run from end to end, whatever it checks: prepare, tell the cost, execute, judge."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from salsanity import registry
from salsanity.checks.frame import BringsNetwork, Workshop
from salsanity.data.examples import ImageSource
from salsanity.data.images import FolderSource, for_classes
from salsanity.data.preprocessing import NOT_NORMALISED, Preprocessing
from salsanity.errors import UsageError
from salsanity.executors.named import at_work
from salsanity.executors.named import executor as executor_named
from salsanity.executors.serial import Executor
from salsanity.models.network import Network, lay_out, prepare
from salsanity.models.outputs import as_choice
from salsanity.models.untrained import WARNING, seems_untrained
from salsanity.narrator import Narrator, Notes, Silent
from salsanity.options import identity_of, options_of
from salsanity.records import UnitKey
from salsanity.store.directory import DirectoryStore, units_asked
from salsanity.store.folder import locked, machine_notes
from salsanity.store.upgrade import FORMAT_VERSION
from salsanity.suite.adopting import adopt
from salsanity.suite.asking import (
    WAS,
    check_same,
    check_same_network,
    default_folder,
    first_image,
    methods_of,
    recorded_run,
    refuse_lacking,
)
from salsanity.suite.costs import tell_cost
from salsanity.suite.document import document_of, gallery_of
from salsanity.suite.execute import execute, intact_units
from salsanity.suite.judging import Facts, conclude
from salsanity.suite.planning import Costs, changes, planned
from salsanity.suite.prepared import Asked, Run
from salsanity.suite.preparing import PREPARING, prepare_run
from salsanity.suite.result import Result
from salsanity.suite.rounds import Rounds
from salsanity.suite.streamed import Streamed
from salsanity.suite.subject import Subject, device_of
from salsanity.units.containing import check_unchanged, contained, limit_note, time_limit
from salsanity.units.identity import Prints
from salsanity.units.plan import missing_units
from salsanity.units.spec import RunSpec


@final
@dataclass(frozen=True, eq=False)
class Request:
    """What a run is asked for.

    `methods` None takes the paper's (without IG-SmoothGrad) and leaves out, with a note, those that the network does not
    admit; a method that is named must be admitted. `out` None: a folder in `salsanity-runs`. `targets`: the classes to
    explain, by position in the source. `train`: for checks that train networks. `optional`: names of checks that are left
    out, with a note, where they are not defined for the network. `odd`: what is to be told of the weights and images.
    """

    checks: tuple[Any, ...]
    subject: Subject
    source: ImageSource
    spec: RunSpec = RunSpec()
    methods: Sequence[Any] | None = None
    similarities: str | Sequence[Any] = registry.DEFAULT_SIMILARITIES
    out: Path | None = None
    targets: Sequence[int] | None = None
    train: ImageSource | None = None
    optional: frozenset[str] = frozenset()
    odd: tuple[str, ...] = ()


@torch.inference_mode(mode=False)
@torch.enable_grad()
def run_checks(
    request: Request, *, narrator: Narrator | None = None, executor: Executor | str | None = None
) -> Result:
    """Run the checks, or what is missing of them, and return the result.

    Raises a `UsageError` for bad input before anything long is computed.
    """
    runs_on = executor_named(executor)
    with at_work(runs_on):
        folder = _run_on(runs_on, request, narrator or Silent())
    return Result(folder)  # once all that the run held is gone


def _run_on(runs_on: Executor, request: Request, narrator: Narrator) -> Path:
    """Run in the run's folder, and return it."""
    request = replace(request, spec=_spec_for(request))
    device = device_of(request.spec.device)
    methods = methods_of(request.methods, request.spec, device)
    named = request.similarities
    similarities = tuple(
        registry.similarity(s) for s in ([named] if isinstance(named, str) else named)
    )
    prints = Prints.of(methods, similarities, rerun=request.spec.rerun)  # before any is called
    settings = {check.name: settings_of(check) for check in request.checks}
    is_brought = any(isinstance(check, BringsNetwork) for check in request.checks)
    notes = _beforehand(request).tell(narrator)
    network = None if is_brought else _network(request, device)
    if network is not None:
        source, remarks = _fitted(request.source, network)
        request = replace(request, source=source)
        notes += (remarks + _about(request, network)).tell(narrator)
    folder = request.out or _usual_folder(request, network, settings)
    with locked(folder):
        store = DirectoryStore(folder)
        old = recorded_run(store, narrator)
        request = replace(request, spec=_continued(request.spec, old))
        identity = request.spec.identity()
        check_same(old, identity=identity, settings=settings, data=request.source.name)
        if network is None:  # networks are trained only where they overwrite no other run's
            request = _with_networks(request, folder, device, narrator)
            network = _network(request, device)
        check_same_network(old, network.fingerprint)
        asked = Asked(
            request.checks,
            request.subject,
            request.source,
            network,
            methods,
            similarities,
            request.spec,
            store,
            old,
            prints.with_network(network.module),
            request.methods is not None,
            request.targets,
            request.optional,
            notes,
        )
        _execute(_prepared(asked, narrator), old, narrator, runs_on)
    return folder


def settings_of(check: Any) -> dict[str, Any]:
    """Return the options of a check that a run in a folder may never change."""
    own: dict[str, Any] | None = getattr(check, "settings", None)
    if own is not None:
        return dict(own)
    return identity_of(check) if is_dataclass(check) else {}


def _spec_for(request: Request) -> RunSpec:
    """Return the run's options as its checks need them; refuse those that a check does not have."""
    spec, usual = request.spec, RunSpec()
    values = {name: getattr(spec, name) for name in options_of(RunSpec)}
    changed = {name: v for name, v in values.items() if v != getattr(usual, name)}
    refuse_lacking(request.checks, changed)
    own = {check.name: getattr(check, "target", None) for check in request.checks}
    wanted = {target for target in own.values() if target is not None}
    if len(wanted) > 1:
        told = ", ".join(f"{name} explains {target}" for name, target in own.items() if target)
        raise UsageError(
            f"expected checks that explain one class, got others ({told}); run each in a folder of its own"
        )
    return replace(spec, target=wanted.pop()) if wanted else spec


def _continued(spec: RunSpec, old: Mapping[str, Any]) -> RunSpec:
    """Take over what a folder's run began with: chance by as many partners, also where an older version had fewer."""
    return replace(spec, partners=old.get("partners", spec.partners)) if old else spec


def _network(request: Request, device: torch.device) -> Network:
    subject = request.subject
    with time_limit(request.spec.unit_timeout):
        network = prepare(
            subject.classifier(),
            first_image(request.source),
            device=device,
            name=subject.name,
            output=as_choice(request.spec.output),
            hooks=request.spec.hooks,
        )
        check_unchanged(network)
    return network


def _beforehand(request: Request) -> Notes:
    """Say what is odd about weights and images, and what this machine lacks."""
    limit = limit_note(request.spec.unit_timeout)
    return Notes(request.odd, (*machine_notes(), *([] if limit is None else [limit])))


def _fitted(source: ImageSource, network: Network) -> tuple[ImageSource, Notes]:
    """Return the images with labels only where a folder's subfolders stand for the network's classes."""
    if not isinstance(source, FolderSource):
        return source, Notes()
    fitted, remark = for_classes(source, network.classes)
    return fitted, Notes(() if remark is None else (remark,))


def _about(request: Request, network: Network) -> Notes:
    """Say what a person may have forgotten: weights, or to normalise pixels."""
    known = any("untrained" in odd for odd in request.odd)
    forgotten = [WARNING] if seems_untrained(network) and not known else []
    plain = getattr(request.source, "preprocessing", None)
    is_files = any(hasattr(request.source, held) for held in ("files", "urls", "items"))
    if isinstance(plain, Preprocessing) and not plain.mean and is_files:
        forgotten.append(NOT_NORMALISED)
    return Notes(remarks=tuple(forgotten))


def _usual_folder(
    request: Request, network: Network | None, settings: Mapping[str, Mapping[str, Any]]
) -> Path:
    prints = [p for check in request.checks for p in getattr(check, "prints", list)()]
    about = [network.fingerprint] if network is not None else prints
    identity = [*about, request.source.name, request.spec.identity(), dict(settings)]
    return default_folder(request.subject.name, identity)


def _with_networks(
    request: Request, folder: Path, device: torch.device, narrator: Narrator
) -> Request:
    """Let checks train their networks, or bring the user's; the first network becomes the run's."""
    workshop = Workshop(
        request.subject.make_model,
        request.train,
        request.source,
        folder / "networks",
        device,
        request.spec.seed,
        narrator,
    )
    if len(request.checks) > 1:
        names = ", ".join(check.name for check in request.checks)
        raise UsageError(
            f"expected a check that brings its own networks alone, got {names}; run each in a folder of its own"
        )
    (check,) = request.checks
    brought, model = check.brought(workshop)
    return replace(request, checks=(brought,), subject=replace(request.subject, model=model))


def _prepared(asked: Asked, narrator: Narrator) -> Run:
    narrator.say(PREPARING)
    with contained(asked.network, asked.spec.unit_timeout):
        run = prepare_run(asked)
    lay_out(asked.network, run.speed.memory_format)  # which was put back with all else
    return replace(run, notes=asked.notes + run.notes.tell(narrator))


def _execute(run: Run, old: Mapping[str, Any], narrator: Narrator, executor: Executor) -> None:
    wanted, gallery, store = planned(run), gallery_of(run), run.store
    adopted = adopt(store, old, wanted) if old.get(WAS, FORMAT_VERSION) < FORMAT_VERSION else 0
    if adopted:
        narrator.say(f"{adopted} unit(s) of an older version of salsanity are taken over.")
    news = changes(run, old.get("settings", {}).get("units") or {}, wanted)
    run = replace(run, notes=run.notes + Notes(remarks=news).tell(narrator))
    missing = missing_units(wanted, intact_units(store, gallery))
    images = [entry.to_json() for entry in run.entries]
    document = document_of(run, images, units_asked(wanted))
    store.write_json("spec.json", document)
    store.write_json("coverage.json", [row for s in run.settled for row in s.coverage])
    if run.more is None:
        tell_cost(run, Costs(run, missing), narrator, wanted=len(wanted))
    began = time.perf_counter()
    gates = {s.check.name: s.gates for s in run.settled}
    facts = Facts(gates, run.accuracy, (), 0.0, run.unwatched)

    def compute(units: Sequence[UnitKey]) -> list[dict[str, Any]]:
        lacking = missing_units(units, intact_units(store, gallery))
        return execute(run, lacking, gallery=gallery, executor=executor, narrator=narrator)

    if run.more is not None:
        found = Streamed(run, run.more, gallery, narrator)
        failed = found.execute(executor)
        document = found.document()
        facts = replace(facts, accuracy=found.accuracy)
    elif run.spec.until_decided:
        rounds = Rounds(tuple(wanted), run.ids, document, facts)
        failed = rounds.run(store, compute, narrator)
    else:
        failed = execute(run, missing, gallery=gallery, executor=executor, narrator=narrator)
    seconds = time.perf_counter() - began
    conclude(store, document, replace(facts, failed=failed, seconds=seconds), narrator)

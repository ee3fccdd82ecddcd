"""The data randomisation test from end to end: networks on true and on permuted labels, compared and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from salsanity import registry
from salsanity.checks.data_randomization import CHECK, DataRandomizationWork, Networks
from salsanity.checks.model_randomization import Shown
from salsanity.checks.plan import chunked, missing_units
from salsanity.checks.spec import CheckSpec
from salsanity.data.examples import ImageSource, image_id
from salsanity.errors import SpecError, UsageError
from salsanity.executors.named import executor as executor_named
from salsanity.executors.serial import Executor
from salsanity.models.network import Network, lay_out, prepare
from salsanity.records import UnitKey, digest
from salsanity.store.directory import DirectoryStore, all_scores, units_asked
from salsanity.store.folder import locked
from salsanity.suite import judging
from salsanity.suite.asking import (
    check_same,
    check_same_network,
    default_folder,
    first_image,
    methods_of,
    recorded_run,
)
from salsanity.suite.containing import contained, time_limit
from salsanity.suite.costs import shared, tell_cost
from salsanity.suite.document import (
    changes,
    common_document,
    gallery_of,
    method_key,
    similarity_keys,
    with_note,
)
from salsanity.suite.execute import Work, execute, intact_units
from salsanity.suite.narrator import Narrator, Silent
from salsanity.suite.networks import (
    TrainedNetwork,
    Training,
    label_gates,
    labelled,
    trained,
)
from salsanity.suite.preparing import PREPARING, Asked, Preparation, prepare_run
from salsanity.suite.result import Result
from salsanity.suite.subject import Subject, device_of
from salsanity.training.evaluate import accuracy
from salsanity.training.settings import LABELS, TrainingSettings
from salsanity.units.identity import Prints
from salsanity.verdicts import Gate
from salsanity.verdicts.labels import judge_labels

GROUPS_PER_CHUNK: Final = 4
THRESHOLD: Final = 0.5


@dataclass(frozen=True)
class LabelSpec:
    """What a user asks of the data randomisation test, beside the fields of `CheckSpec` that it shares.

    `true` and `permuted`: trained networks of one architecture that the user brings; empty: train `networks` of each kind
    on `train_images` images (None: all) under `settings`.
    """

    true: tuple[nn.Module, ...] = ()
    permuted: tuple[nn.Module, ...] = ()
    networks: int = 2
    train_images: int | None = None
    settings: TrainingSettings = LABELS
    threshold: float = THRESHOLD

    def __post_init__(self) -> None:
        """Refuse what makes no test."""
        if self.train_images is not None and self.train_images < 1:
            raise SpecError(f"expected train_images of at least 1, got {self.train_images}")
        if bool(self.true) != bool(self.permuted):
            raise SpecError(
                "expected networks of both kinds, true and permuted; give both, or none to train them"
            )
        if not 1 <= self.networks <= 100:
            raise SpecError(f"expected 1 to 100 networks of each kind, got {self.networks}")
        if not 0 < self.threshold < 1:
            raise SpecError(f"expected a threshold between 0 and 1, got {self.threshold}")


@torch.inference_mode(mode=False)
@torch.enable_grad()
def run_data_randomization(
    make_model: Callable[[], nn.Module],
    train: ImageSource | None,
    test: ImageSource,
    *,
    name: str,
    labels: LabelSpec = LabelSpec(),
    spec: CheckSpec = CheckSpec(target="label"),  # noqa: B008 - frozen
    methods: Sequence[Any] | None = None,
    similarities: Sequence[Any] = registry.DEFAULT_SIMILARITIES,
    out: Path | None = None,
    narrator: Narrator | None = None,
    executor: Executor | str | None = None,
) -> Result:
    """Run the test, or what is missing of it, and return its result.

    Maps are compared on `test` images, with the true label's logit. Raises `TrainingError` where a network does not reach the
    wanted train accuracy, `UsageError` for bad input.
    """
    narrator, device = narrator or Silent(), device_of(spec.device)
    spec = replace(spec, target="label")
    runs_on = executor_named(executor)
    chosen = methods_of(methods, spec, device)
    asked_similarities = tuple(registry.similarity(s) for s in similarities)
    prints = Prints.of(chosen, asked_similarities)  # before any of them is called
    identity = {**spec.identity(), **_identity(labels)}
    folder = out or default_folder(CHECK, name, [test.name, identity, _prints(labels)])
    with locked(folder):
        store = DirectoryStore(folder)
        old = recorded_run(store, narrator)
        check_same(
            old, check=CHECK, identity=identity, data=test.name
        )  # before networks are overwritten
        networks = _networks(make_model, train, test, labels, spec, folder, device, narrator)
        with time_limit(spec.unit_timeout):
            base = prepare(
                networks[0].model,
                first_image(test),
                blocks="layer",
                device=device,
                name=name,
            )
        check_same_network(old, base.fingerprint)
        subject = Subject(networks[0].model, name, make_model, test.class_names)
        asked = Asked(
            subject,
            test,
            base,
            chosen,
            asked_similarities,
            spec,
            store,
            old,
            prints,
            is_explicit=methods is not None,
        )
        narrator.say(PREPARING)
        with contained(base, spec.unit_timeout):
            ready = prepare_run(
                asked, states=len(networks) + sum(n.kind == "true" for n in networks)
            )
        lay_out(base, ready.speed.memory_format)  # which was put back with all else
        for note in ready.notes:
            narrator.say(note)
        _execute(_Run(ready, networks, labels, identity), narrator, runs_on)
    return Result(folder)


def _identity(labels: LabelSpec) -> dict[str, Any]:
    return {
        "networks": labels.networks,
        "train_images": labels.train_images,
        "training": labels.settings.to_json(),
    }


def _prints(labels: LabelSpec) -> list[str]:
    """Tell brought networks apart, for the name of a folder."""
    return [
        digest([image_id(parameter) for parameter in model.parameters()])
        for model in (*labels.true, *labels.permuted)
    ]


def _networks(
    make_model: Callable[[], nn.Module],
    train: ImageSource | None,
    test: ImageSource,
    labels: LabelSpec,
    spec: CheckSpec,
    folder: Path,
    device: torch.device,
    narrator: Narrator,
) -> tuple[TrainedNetwork, ...]:
    known = labelled(test)
    if labels.true:
        brought = (("true", labels.true), ("permuted", labels.permuted))
        return tuple(
            TrainedNetwork(kind, i, model, None, None, accuracy(model, known))  # type: ignore[arg-type]
            for kind, models in brought
            for i, model in enumerate(models)
        )
    if train is None:
        raise UsageError(
            "expected training data, or trained networks (true and permuted); give one"
        )
    training = Training(
        make_model,
        labelled(train, limit=labels.train_images, seed=spec.seed),
        known,
        labels.settings,
        spec.seed,
        device,
        folder / "networks",
    )
    return tuple(
        trained(training, kind, i, narrator)
        for kind in ("true", "permuted")
        for i in range(labels.networks)
    )


@dataclass(frozen=True)
class _Run:
    ready: Preparation
    networks: tuple[TrainedNetwork, ...]
    labels: LabelSpec
    identity: dict[str, Any]

    def of(self, kind: str) -> list[TrainedNetwork]:
        """The networks of one kind."""
        return [network for network in self.networks if network.kind == kind]


def _weights(run: _Run) -> tuple[Networks, list[str]]:
    """Read every network as weights to put into the first; return their fingerprints too."""
    found, prints = {}, []
    for network in run.networks:
        copy = prepare(
            network.model,
            first_image(run.ready.asked.source),
            blocks="layer",
            device=run.ready.tools.network.device,
            name=network.name,
        )
        _check_architecture(run.ready.tools.network, copy, network.name)
        found[network.name] = copy.trained
        prints.append(copy.fingerprint)
    true = tuple(found[n.name] for n in run.of("true"))
    return Networks(true, tuple(found[n.name] for n in run.of("permuted"))), prints


def _check_architecture(one: Network, other: Network, name: str) -> None:
    shapes = [{slot.key: slot.tensor.shape for slot in n.slots} for n in (one, other)]
    if shapes[0] != shapes[1]:
        raise SpecError(
            f"expected networks of one architecture, but {name} has other parameters than true:0; compare like with like"
        )


def _plan(run: _Run, prints: Sequence[str]) -> list[UnitKey]:
    ready = run.ready
    speed = [ready.speed.batch_size, ready.speed.memory_format, run.ready.asked.spec.precision]
    base = digest([list(prints), run.ready.asked.spec.seed, *speed])
    methods = tuple(method_key(m, ready) for m in ready.tools.methods)
    chunks = chunked(
        len(ready.ids), gallery=ready.asked.spec.gallery, groups_per_chunk=GROUPS_PER_CHUNK
    )
    return [
        UnitKey(
            CHECK,
            0,
            ready.ids[chunk.start : chunk.stop],
            tuple(network.name for network in run.networks),
            methods,
            similarity_keys(ready),
            digest([base, [e.target for e in ready.entries[chunk.start : chunk.stop]]]),
        )
        for chunk in chunks
    ]


def _execute(run: _Run, narrator: Narrator, executor: Executor) -> None:
    ready, store = run.ready, run.ready.asked.store
    weights, prints = _weights(run)
    wanted = _plan(run, prints)
    gallery = gallery_of(ready)
    units = missing_units(wanted, intact_units(store, gallery))
    news = changes(ready, units_asked(wanted), narrator)
    document = _document(replace(run, ready=with_note(ready, *news)), prints, wanted)
    store.write_json("spec.json", document)
    store.write_json("coverage.json", [])
    states = 2 * len(weights.true) + len(weights.permuted)
    images = sum(len(unit.images) for unit in units)
    passes = shared(ready, ready.tools.methods) * states * images
    tell_cost(
        ready,
        narrator,
        passes=passes,
        maps=states * images * len(ready.tools.methods),
        done=len(wanted) - len(units),
        wanted=len(wanted),
    )
    shown = Shown(frozenset(gallery.facts), gallery.keep) if gallery.facts else None
    tools = replace(ready.tools, tick=narrator.advance)
    work = DataRandomizationWork(tools, weights, ready.reader, shown)
    began = time.perf_counter()
    failed = execute(
        Work(ready.tools.network, work, gallery.flush, ready.asked.spec.unit_timeout),
        units,
        store=store,
        executor=executor,
        narrator=narrator,
        total=passes,
    )
    _conclude(run, document, failed, time.perf_counter() - began, narrator)
    judging.draw_report(store.folder, narrator)


def _conclude(
    run: _Run,
    document: dict[str, Any],
    failed: list[dict[str, Any]],
    seconds: float,
    narrator: Narrator,
) -> None:
    reasons = label_gates(run.networks, run.ready.tools.network.classes)
    records = run.ready.asked.store.records_of(document)
    scores = all_scores(records)
    verdicts = judge_labels(
        scores,
        methods=document["methods"],
        controls=document["controls"],
        true_networks=len(run.of("true")),
        threshold=run.labels.threshold,
        gates=[Gate(reason) for reason in reasons],
    )
    judging.write_conclusion(
        run.ready.asked.store,
        document,
        records,
        scores,
        verdicts,
        gate_reasons=reasons,
        health=[],
        accuracy=run.ready.accuracy,
        failed=failed,
        seconds=seconds,
        narrator=narrator,
    )


def _document(run: _Run, prints: Sequence[str], wanted: Sequence[UnitKey]) -> dict[str, Any]:
    document = common_document(
        run.ready, check=CHECK, base=digest(list(prints)), units=units_asked(wanted)
    )
    document["settings"]["identity"] = run.identity
    stages = [{"name": n.name, "index": i, "blocks": []} for i, n in enumerate(run.networks, 1)]
    networks = [
        {
            "kind": n.kind,
            "seed": n.seed,
            "train_accuracy": n.train_accuracy,
            "test_accuracy": n.test_accuracy,
            "fingerprint": print_,
        }
        for n, print_ in zip(run.networks, prints, strict=True)
    ]
    return {
        **document,
        "networks": networks,
        "stages": stages,
        "half": None,
        "full": "TP",
        "draws": len(run.of("true")) * len(run.of("permuted")),
        "init": None,
        "order": None,
        "thresholds": {"labels": run.labels.threshold, "full": run.labels.threshold},
    }

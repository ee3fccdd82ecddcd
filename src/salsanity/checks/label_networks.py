"""The networks of the data randomisation test: trained here, or brought by the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from salsanity.checks.frame import Workshop
from salsanity.data.examples import ImageSource, seeded_order, without_label
from salsanity.data.tensors import stack
from salsanity.errors import DataError, UsageError
from salsanity.models.weights import load_weights
from salsanity.narrator import Narrator, duration
from salsanity.randomizers.labels import permuted_labels
from salsanity.records import digest
from salsanity.seeds import seed_for
from salsanity.training.checkpoint import are_whole, save_weights
from salsanity.training.evaluate import LabelledImages, accuracy, built
from salsanity.training.loop import Progress, seeded, train
from salsanity.training.settings import TrainingSettings

Kind = Literal["true", "permuted"]
CHANCE_MARGIN: Final = 0.05
"""Test accuracy of a network on permuted labels may be this far from chance (docs/science.md)."""


@dataclass(frozen=True)
class TrainedNetwork:
    """One network of the test, and how well it knows its own training labels and the true test labels."""

    kind: Kind
    index: int
    model: nn.Module
    seed: int | None
    train_accuracy: float | None
    test_accuracy: float

    @property
    def name(self) -> str:
        """The name in scores and figures."""
        return f"{self.kind}:{self.index}"

    def to_json(self, fingerprint: str) -> dict[str, Any]:
        """Return what spec.json says of the network."""
        names = ("kind", "seed", "train_accuracy", "test_accuracy")
        return {**{n: getattr(self, n) for n in names}, "fingerprint": fingerprint}


@dataclass(frozen=True)
class Training:
    """How the networks of a test are made: builder, labelled images, settings, root seed, and where they are kept."""

    make_model: Callable[[], nn.Module]
    train: LabelledImages
    test: LabelledImages
    settings: TrainingSettings
    seed: int
    device: torch.device
    folder: Path

    def identity(self, kind: Kind, index: int) -> str:
        """Digest what the course of a network's training depends on; how long it may run does not."""
        settings = self.settings.to_json()
        for name in ("epochs", "wanted"):
            del settings[name]
        facts = [
            settings,
            self.seed,
            str(self.device.type),
            self.train.fingerprint(),
            kind,
            index,
        ]
        return digest(facts)

    def would_end_at(self, epochs: int, train_accuracy: float) -> bool:
        """Say whether a training that ended after so many epochs ends there with these settings too."""
        wanted, limit = self.settings.stop_at, self.settings.epochs
        is_good = self.settings.wanted is None or train_accuracy > self.settings.wanted
        stops = wanted is not None and train_accuracy > wanted
        return is_good and (epochs == limit or (epochs < limit and stops))


def labelled(source: ImageSource, *, limit: int | None = None, seed: int = 0) -> LabelledImages:
    """Load a labelled data set as tensors, or `limit` items of it in seeded order.

    Raises `DataError` where an item has no label.
    """
    names = getattr(source, "names", None) or [str(i) for i in range(len(source))]
    rows: Sequence[int] = range(len(source))
    if limit is not None and limit < len(source):
        rows = sorted(seeded_order(names, seed)[:limit])
    images, labels = stack(source, rows)
    if labels is None:
        why = without_label(source, rows) or "some have none"
        raise DataError(
            f"expected a label for every image of {source.name}, which the data randomisation test needs, got {why}"
        )
    return LabelledImages(images, labels)


def trained(training: Training, kind: Kind, index: int, narrator: Narrator) -> TrainedNetwork:
    """Train one network, or read it where it was trained before; an interrupted training continues.

    A permuted network has its own permutation of the labels. Raises `TrainingError` below the wanted train accuracy.
    """
    seed = seed_for(training.seed, "network", kind, index)
    labels = _labels(training, kind, index)
    path = training.folder / f"{kind}-{index}.safetensors"
    identity = training.identity(kind, index)
    kept = _read(path, identity, training)
    if kept is not None:
        with seeded(seed, training.device):
            model = built(training.make_model, training.device)
        load_weights(model, path)
        model.eval()
        return _measured(training, kind, index, model, seed, float(kept["train_accuracy"]))
    data = LabelledImages(training.train.images, labels)
    narrator.begin(f"Training {kind}:{index}", training.settings.epochs)
    try:
        result = train(
            training.make_model,
            data,
            settings=training.settings,
            seed=seed,
            device=training.device,
            checkpoint=path.with_suffix(".checkpoint"),
            report=_Teller(narrator).tell,
        )
    finally:
        narrator.end()
    facts = {
        "identity": identity,
        "train_accuracy": str(result.train_accuracy),
        "epochs": str(len(result.epochs)),
    }
    save_weights(path, result.model, metadata=facts)
    path.with_suffix(".checkpoint").unlink(missing_ok=True)
    found = _measured(training, kind, index, result.model, seed, result.train_accuracy)
    narrator.say(
        f"{found.name}: {len(result.epochs)} epochs in {duration(result.seconds)}, train accuracy {result.train_accuracy:.3f}, "
        f"accuracy on true test labels {found.test_accuracy:.3f}."
    )
    return found


def networks_of(
    true: Sequence[nn.Module], permuted: Sequence[nn.Module], test: ImageSource
) -> tuple[TrainedNetwork, ...]:
    """Measure networks that the user brings on labelled test images."""
    known = labelled(test)
    kinds: tuple[tuple[Kind, Sequence[nn.Module]], ...] = (("true", true), ("permuted", permuted))
    return tuple(
        TrainedNetwork(kind, i, model, None, None, accuracy(model, known))
        for kind, models in kinds
        for i, model in enumerate(models)
    )


def trained_networks(
    workshop: Workshop, settings: TrainingSettings, *, networks: int, train_images: int | None
) -> tuple[TrainedNetwork, ...]:
    """Train `networks` of each kind on `train_images` images (None: all), or read those that were trained before.

    Raises `UsageError` without training data or a builder, `TrainingError` below the wanted train accuracy.
    """
    if workshop.train is None or workshop.make_model is None:
        raise UsageError(
            "expected training data, or trained networks (true and permuted); give one"
        )
    training = Training(
        workshop.make_model,
        labelled(workshop.train, limit=train_images, seed=workshop.seed),
        labelled(workshop.test),
        settings,
        workshop.seed,
        workshop.device,
        workshop.folder,
    )
    kinds: tuple[Kind, ...] = ("true", "permuted")
    return tuple(
        trained(training, kind, i, workshop.narrator) for kind in kinds for i in range(networks)
    )


def _labels(training: Training, kind: Kind, index: int) -> Tensor:
    if kind == "true":
        return training.train.labels
    return permuted_labels(training.train.labels, seed_for(training.seed, "permutation", index))


def _read(path: Path, identity: str, training: Training) -> dict[str, str] | None:
    """Return the facts of a network that this training would give, or None."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    try:
        epochs, reached = int(facts["epochs"]), float(facts["train_accuracy"])
    except (KeyError, ValueError):
        return None
    is_this = facts.get("identity") == identity and training.would_end_at(epochs, reached)
    return facts if is_this and are_whole(tensors, facts) else None


def _measured(
    training: Training,
    kind: Kind,
    index: int,
    model: nn.Module,
    seed: int | None,
    train_accuracy: float,
) -> TrainedNetwork:
    on_device = built(lambda: model, training.device)
    known = accuracy(on_device, training.test)
    return TrainedNetwork(kind, index, on_device, seed, train_accuracy, known)


class _Teller:
    """Turns training progress into steps of the bar."""

    def __init__(self, narrator: Narrator) -> None:
        self.narrator = narrator
        self.done = 0.0

    def tell(self, progress: Progress) -> None:
        """Move the bar to where the training stands."""
        now = progress.epoch - 1 + progress.step / max(1, progress.steps)
        self.narrator.note(
            f"loss {progress.loss:.3f}, train accuracy {progress.accuracy:.3f}, at most "
            f"{duration(progress.seconds_left)} left"
        )
        self.narrator.advance(max(0.0, now - self.done))
        self.done = max(self.done, now)


def label_gates(networks: Sequence[TrainedNetwork], classes: int) -> list[str]:
    """Say in words which networks are not what the test needs: honest ones above chance, permuted ones at it."""
    chance = 1 / classes
    reasons = []
    for network in networks:
        shown = f"{network.name} has accuracy {network.test_accuracy:.3f} on true test labels"
        if network.kind == "true" and network.test_accuracy <= chance + CHANCE_MARGIN:
            reasons.append(
                f"{shown}, hardly above chance ({chance:.3f}): it learned nothing that labels could destroy"
            )
        if network.kind == "permuted" and abs(network.test_accuracy - chance) > CHANCE_MARGIN:
            reasons.append(
                f"{shown}, expected within {CHANCE_MARGIN} of chance ({chance:.3f}): it still knows true labels"
            )
        if network.train_accuracy is not None and network.train_accuracy <= 0.95:
            reasons.append(
                f"{network.name} has train accuracy {network.train_accuracy:.3f}, expected above 0.95"
            )
    return reasons

"""The networks of the data randomisation test: trained here, or brought by the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from salsanity.checks.frame import Workshop
from salsanity.data.examples import ImageSource
from salsanity.errors import UsageError
from salsanity.narrator import Narrator
from salsanity.randomizers.labels import permuted_labels
from salsanity.records import digest
from salsanity.seeds import seed_for
from salsanity.training.evaluate import LabelledImages, accuracy, built, labelled
from salsanity.training.kept import School
from salsanity.training.own import Teaching

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
    settings: Teaching
    seed: int
    device: torch.device
    folder: Path

    def identity(self, kind: Kind, index: int) -> str:
        """Digest what the course of a network's training depends on; how long it may run does not."""
        facts = [
            self.settings.course(),
            self.seed,
            str(self.device.type),
            self.train.fingerprint(),
            kind,
            index,
        ]
        return digest(facts)


def trained(training: Training, kind: Kind, index: int, narrator: Narrator) -> TrainedNetwork:
    """Train one network, or read it where it was trained before; an interrupted training continues.

    A permuted network has its own permutation of the labels. Raises `TrainingError` below the wanted train accuracy.
    """
    seed = seed_for(training.seed, "network", kind, index)
    name = f"{kind}:{index}"
    school = School(
        training.make_model, training.settings, training.device, training.folder, narrator
    )
    data = LabelledImages(training.train.images, _labels(training, kind, index))
    kept = school.network(name, data, seed=seed, identity=training.identity(kind, index))
    model = built(lambda: kept.model, training.device)
    known = accuracy(model, training.test)
    if kept.told:
        narrator.say(f"{name}: {kept.told}, accuracy on true test labels {known:.3f}.")
    return TrainedNetwork(kind, index, model, seed, kept.train_accuracy, known)


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
    workshop: Workshop, settings: Teaching, *, networks: int, train_images: int | None
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

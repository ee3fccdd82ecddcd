"""The networks of the shortcut check: some follow a planted mark, to the others it means nothing; verified before use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

import torch
from torch import nn

from salsanity.checks.frame import Workshop
from salsanity.checks.mark import Mark, planted
from salsanity.errors import DataError, TrainingError, UsageError
from salsanity.records import digest
from salsanity.seeds import seed_for
from salsanity.training.evaluate import LabelledImages, accuracy, labelled
from salsanity.training.kept import School
from salsanity.training.own import Teaching

Kind = Literal["plain", "cue"]
KINDS: Final[tuple[Kind, ...]] = ("plain", "cue")

ABOVE_CHANCE: Final = 0.1
"""With a wrong mark, the accuracy of a network that follows it may exceed chance by less than this."""
MOST_LOST: Final = 0.05
"""The most accuracy that a network to which the mark means nothing may lose to a wrong one."""


@final
@dataclass(frozen=True, eq=False)
class CueNetwork:
    """A network, and its accuracy on true test images that bear the mark of their class (`right`), or another's (`wrong`)."""

    kind: Kind
    index: int
    model: nn.Module
    seed: int
    train_accuracy: float
    right: float
    wrong: float

    @property
    def name(self) -> str:
        """The name in scores and figures."""
        return f"{self.kind}:{self.index}"

    def to_json(self, fingerprint: str) -> dict[str, Any]:
        """Return what spec.json says of the network."""
        names = ("kind", "seed", "train_accuracy", "right", "wrong")
        return {**{n: getattr(self, n) for n in names}, "fingerprint": fingerprint}


@final
@dataclass(frozen=True, eq=False)
class Lesson:
    """What networks of both kinds are trained and verified on."""

    mark: Mark
    train: LabelledImages
    right: LabelledImages
    """Test images with the mark of their class."""
    wrong: LabelledImages
    """The same with the mark of another class."""
    seed: int

    @classmethod
    def of(
        cls, train: LabelledImages, test: LabelledImages, *, seed: int, file: Path | None
    ) -> Lesson:
        """Plant the mark; `file`: an image of it."""
        classes = 1 + max(int(train.labels.max()), int(test.labels.max()))
        if classes < 2:
            raise DataError("expected at least two classes, got one; a mark could tell none apart")
        mark = planted(train.images, classes, file=file)
        step = torch.randint(1, classes, test.labels.shape, generator=_generator(seed, "wrong"))
        right, wrong = (
            LabelledImages(mark.on(test.images, places), test.labels)
            for places in (test.labels, (test.labels + step) % classes)
        )
        return cls(mark, train, right, wrong, seed)

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / len(self.mark.corners)

    def images_for(self, kind: Kind, index: int) -> LabelledImages:
        """Return the training images with the mark at the place of their class, or at one drawn for each image."""
        labels = self.train.labels
        where = labels
        if kind == "plain":
            generator = _generator(self.seed, "place", index)
            where = torch.randint(len(self.mark.corners), labels.shape, generator=generator)
        return LabelledImages(self.mark.on(self.train.images, where), labels)

    def measured(
        self, kind: Kind, index: int, model: nn.Module, *, train_accuracy: float
    ) -> CueNetwork:
        """Measure what the mark means to a network."""
        seed = seed_for(self.seed, "network", kind, index)
        right, wrong = (accuracy(model, images) for images in (self.right, self.wrong))
        return CueNetwork(kind, index, model, seed, train_accuracy, right, wrong)


def cue_networks(
    workshop: Workshop,
    settings: Teaching,
    *,
    networks: int,
    train_images: int | None,
    mark: Path | None,
) -> tuple[Mark, tuple[CueNetwork, ...]]:
    """Train `networks` of each kind on the same images and labels, or read those that were trained before; then verify them.

    Raises `UsageError` without training data or a builder, `TrainingError` where a network is not what the check needs.
    """
    if workshop.train is None or workshop.make_model is None:
        raise UsageError(
            "expected training data and a function that builds a network; use `salsanity shortcut` or salsanity.shortcut_test"
        )
    train = labelled(workshop.train, limit=train_images, seed=workshop.seed)
    lesson = Lesson.of(train, labelled(workshop.test), seed=workshop.seed, file=mark)
    school = School(
        workshop.make_model, settings, workshop.device, workshop.folder, workshop.narrator
    )
    known = tuple(_taught(school, lesson, kind, i) for kind in KINDS for i in range(networks))
    refuse(known, lesson.chance)
    return lesson.mark, known


def refuse(networks: Sequence[CueNetwork], chance: float) -> None:
    """Raise `TrainingError` with the figures where a network is not what the check needs."""
    found = [reason for network in networks for reason in _reasons(network, chance)]
    if found:
        raise TrainingError(
            f"expected networks that follow the mark and networks to which it means nothing, got others: {'; '.join(found)}"
        )


def _reasons(network: CueNetwork, chance: float) -> list[str]:
    """Say what is wrong with a network."""
    limit = chance + ABOVE_CHANCE
    shown = f"{network.name} has accuracy {network.right:.3f} with the right mark and {network.wrong:.3f} with a wrong one"
    if network.right <= limit:
        return [f"{shown}, and learned nothing (chance: {chance:.3f}); train it for longer"]
    if network.kind == "cue" and network.wrong >= limit:
        return [
            f"{shown}, expected below {limit:.3f} with a wrong one (chance + {ABOVE_CHANCE:g}), so that it follows the mark; "
            "give a mark that is seen more easily, or images that are harder to learn"
        ]
    if network.kind == "plain" and network.right - network.wrong > MOST_LOST:
        return [
            f"{shown}, expected to lose at most {MOST_LOST:g}, so that the mark means nothing to it; give more training images"
        ]
    return []


def _taught(school: School, lesson: Lesson, kind: Kind, index: int) -> CueNetwork:
    data, seed = lesson.images_for(kind, index), seed_for(lesson.seed, "network", kind, index)
    facts = [school.settings.course(), lesson.seed, str(school.device.type), data.fingerprint()]
    name = f"{kind}:{index}"
    kept = school.network(name, data, seed=seed, identity=digest([*facts, kind, index]))
    model = kept.model.to(school.device)
    found = lesson.measured(kind, index, model, train_accuracy=kept.train_accuracy)
    if kept.told:
        school.narrator.say(
            f"{name}: {kept.told}, accuracy on true test images {found.right:.3f} with the right mark, {found.wrong:.3f} with a "
            "wrong one."
        )
    return found


def _generator(seed: int, *names: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(seed, "mark", *names))

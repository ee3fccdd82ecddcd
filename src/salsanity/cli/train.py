"""`salsanity train`: one network, as the data randomisation test trains them."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

import typer

from salsanity.cli.opening import Builder, Parts, Shelf, builder_options
from salsanity.cli.parameters import Command, Given, Group
from salsanity.cli.wishes import Preset
from salsanity.errors import UsageError
from salsanity.options import checked, option
from salsanity.training.settings import (
    LABELS,
    PAPER,
    PAPER_BY_NETWORK,
    PAPER_IMAGES,
    TrainingSettings,
)

if TYPE_CHECKING:
    from salsanity.checks.label_networks import Kind, Training


@final
@dataclass(frozen=True)
class Lessons:
    """How networks are trained; None: as the preset has it."""

    epochs: int | None = option(
        None, f"Epochs at most; unset, {LABELS.epochs}.", least=1, most=1_000_000
    )
    learning_rate: float | None = option(
        None,
        f"Of Adam; unset, {LABELS.learning_rate:g}, and {PAPER.learning_rate:g} with the preset.",
        least=0,
        most=100,
        is_open=True,
    )
    l2: float | None = option(
        None,
        "Of the weights; unset, 0, and with the preset 0.001 (the paper's MLP: 0).",
        least=0,
        most=100,
    )

    def __post_init__(self) -> None:
        """Refuse values under which nothing is learned."""
        checked(self)


@final
@dataclass(frozen=True)
class Pupil:
    """What becomes of the network, and whether its labels mean anything."""

    out: Path = option(MISSING, "Where the weights go (.safetensors).")
    permute_labels: bool = option(False, "Permute the training labels first.")


def train(given: Given) -> int:
    """Train one network and write its weights; an interrupted training continues."""
    from salsanity.checks.label_networks import trained
    from salsanity.suite.terminal import TerminalNarrator, terminal
    from salsanity.training.checkpoint import save_weights

    pupil = given.of(Pupil)
    if pupil.out.is_dir():
        raise UsageError(f"expected --out as the name of a file, got the folder {pupil.out}")
    training = _training(given, pupil.out)
    kind: Kind = "permuted" if pupil.permute_labels else "true"
    network = trained(training, kind, 0, TerminalNarrator(terminal()))
    facts = {
        "model": given.of(Builder).model,
        "data": given.of(Parts).data,
        "train_accuracy": str(network.train_accuracy),
        "test_accuracy": str(network.test_accuracy),
    }
    save_weights(pupil.out, network.model, metadata=facts)
    for file in training.folder.iterdir():
        file.unlink()
    training.folder.rmdir()
    typer.echo(
        f"{pupil.out}: train accuracy {network.train_accuracy:.3f}, test accuracy {network.test_accuracy:.3f}"
    )
    return 0


def groups() -> tuple[Group, ...]:
    """Return every option."""
    from salsanity.checks.labels import LabelTest
    from salsanity.units.spec import RunSpec

    return (
        Group("What is trained", Builder),
        Group("What is trained", Parts),
        Group("What is trained", Shelf),
        Group("What is trained", Pupil),
        Group("How", Lessons),
        Group("How", LabelTest, names=("train_images",)),
        Group("How", Preset),
        Group("How", RunSpec, names=("seed", "device")),
    )


COMMAND = Command(train, groups)


def _training(given: Given, out: Path) -> Training:
    from salsanity.checks.label_networks import Training
    from salsanity.data.sources import open_data
    from salsanity.models.load import load_model
    from salsanity.suite.subject import device_of
    from salsanity.training.evaluate import labelled
    from salsanity.units.spec import RunSpec

    model, spec, preset = given.of(Builder).model, given.of(RunSpec), given.of(Preset).preset
    data, shelf = given.of(Parts).data, given.of(Shelf).data_dir
    source = open_data(data, data_dir=shelf, split="train")
    test = labelled(open_data(data, data_dir=shelf, split="test"))
    builder = load_model(model, options=builder_options(model, source, preset=preset)).make_model
    assert builder is not None  # noqa: S101 - every loader without weights has one
    return Training(
        builder,
        labelled(source, limit=_images(given, preset), seed=spec.seed),
        test,
        settings_of(preset, given.of(Lessons), model=model),
        spec.seed,
        device_of(spec.device),
        out.with_name(f".{out.name}.training"),
    )


def _images(given: Given, preset: str | None) -> int | None:
    from salsanity.checks.labels import LabelTest

    return given.of(LabelTest).train_images or (PAPER_IMAGES if preset else None)


def settings_of(preset: str | None, lessons: Lessons, *, model: str = "") -> TrainingSettings:
    """Return the training settings of a preset for a network, with what the options say laid over it."""
    own = PAPER_BY_NETWORK.get(model.removeprefix("reference:"), PAPER)
    usual = own if preset else LABELS
    return replace(
        usual,
        epochs=lessons.epochs or usual.epochs,
        learning_rate=lessons.learning_rate or usual.learning_rate,
        l2=usual.l2 if lessons.l2 is None else lessons.l2,
    )

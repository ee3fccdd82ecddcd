"""`salsanity train`: one network, as the data randomisation test trains them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from salsanity.training.settings import TrainingSettings


def train(
    model: Annotated[str, typer.Option(help="reference:cnn, reference:mlp, or file.py:function.")],
    data: Annotated[
        str,
        typer.Option(help="digits, mnist, fashion_mnist, cifar10, a folder, or file.py:function."),
    ],
    out: Annotated[Path, typer.Option(help="Where the weights go (.safetensors).")],
    data_dir: Annotated[
        Path | None, typer.Option(envvar="SALSANITY_DATA", help="Where data sets already lie.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam.")] = None,
    train_images: Annotated[int | None, typer.Option(help="Train on so many images only.")] = None,
    permute_labels: Annotated[
        bool, typer.Option("--permute-labels", help="Permute the training labels first.")
    ] = False,
    preset: Annotated[str | None, typer.Option(help="paper: its settings, hours on a CPU.")] = None,
    seed: Annotated[int, typer.Option(help="The one seed.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> int:
    """Train one network and write its weights; an interrupted training continues."""
    from salsanity.cli.opening import builder_options
    from salsanity.data.sources import open_data
    from salsanity.errors import UsageError
    from salsanity.models.load import load_model
    from salsanity.suite.networks import Training, labelled, trained
    from salsanity.suite.subject import device_of
    from salsanity.suite.terminal import TerminalNarrator, terminal
    from salsanity.training.checkpoint import save_weights

    if out.is_dir():
        raise UsageError(f"expected --out as the name of a file, got the folder {out}")
    training_source = open_data(data, data_dir=data_dir, split="train")
    test = labelled(open_data(data, data_dir=data_dir, split="test"))
    builder = load_model(
        model, options=builder_options(model, training_source, preset=preset)
    ).make_model
    assert builder is not None  # noqa: S101 - every loader without weights has one
    kept = out.with_name(f".{out.name}.training")
    training = Training(
        builder,
        labelled(training_source, limit=train_images, seed=seed),
        test,
        settings_of(preset, epochs=epochs, learning_rate=learning_rate),
        seed,
        device_of(device),
        kept,
    )
    network = trained(
        training, "permuted" if permute_labels else "true", 0, TerminalNarrator(terminal())
    )
    facts = {
        "model": model,
        "data": data,
        "train_accuracy": str(network.train_accuracy),
        "test_accuracy": str(network.test_accuracy),
    }
    save_weights(out, network.model, metadata=facts)
    for file in kept.iterdir():
        file.unlink()
    kept.rmdir()
    typer.echo(
        f"{out}: train accuracy {network.train_accuracy:.3f}, test accuracy {network.test_accuracy:.3f}"
    )
    return 0


def settings_of(preset: str | None, **given: Any) -> TrainingSettings:
    """Return the training settings of a preset with what the options say laid over it."""
    from dataclasses import replace

    from salsanity.errors import UsageError
    from salsanity.training.settings import LABELS, PAPER

    if preset not in (None, "paper"):
        raise UsageError(f"expected --preset paper, got {preset!r}")
    return replace(PAPER if preset else LABELS, **{k: v for k, v in given.items() if v is not None})

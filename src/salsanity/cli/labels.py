"""`salsanity labels`: the data randomisation test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from salsanity.cli.values import listed

if TYPE_CHECKING:
    from torch import nn

    from salsanity.data.examples import ImageSource

Many = list[str] | None


def labels(
    model: Annotated[
        str, typer.Option(help="reference:cnn, reference:mlp, file.py:function, or as for `check`.")
    ],
    data: Annotated[
        str,
        typer.Option(help="digits, mnist, fashion_mnist, cifar10, a folder, or file.py:function."),
    ],
    data_dir: Annotated[
        Path | None, typer.Option(envvar="SALSANITY_DATA", help="Where data sets already lie.")
    ] = None,
    true: Annotated[
        Many, typer.Option(help="Weights of a network trained on true labels; repeat it.")
    ] = None,
    permuted: Annotated[
        Many, typer.Option(help="Weights of a network trained on permuted labels; repeat it.")
    ] = None,
    networks: Annotated[int, typer.Option(help="Networks of each kind to train.")] = 2,
    train_images: Annotated[int | None, typer.Option(help="Train on so many images only.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs at most.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam.")] = None,
    threshold: Annotated[
        float, typer.Option(help="Most of honest networks' agreement that may be left.")
    ] = 0.5,
    method: Annotated[
        Many, typer.Option(help="A saliency method; repeat it or use commas.")
    ] = None,
    similarity: Annotated[Many, typer.Option(help="spearman, ssim, hog, pearson, cosine.")] = None,
    max_images: Annotated[int, typer.Option(help="Test images to explain.")] = 50,
    samples: Annotated[
        int | None, typer.Option(help="Noisy samples (default 10 on a CPU, 50 on a GPU).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Path steps (default 10 on a CPU, 50 on a GPU).")
    ] = None,
    seed: Annotated[int, typer.Option(help="The one seed.")] = 0,
    preset: Annotated[
        str | None, typer.Option(help="paper: its training and its methods; for a GPU.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    batch_size: Annotated[str | None, typer.Option(help="auto or a number.")] = None,
    memory_format: Annotated[str, typer.Option(help="auto, contiguous or channels_last.")] = "auto",
    unit_timeout: Annotated[
        float | None, typer.Option(help="Seconds that one unit of work may take.")
    ] = None,
    gallery: Annotated[int, typer.Option(help="Images kept with their maps for the figures.")] = 8,
    executor: Annotated[
        str | None, typer.Option(help="serial (default), or the name of a plug-in.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the verdicts as JSON on stdout, nothing else.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(help="Write the verdicts as JUnit XML to this file, for CI.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder.")] = None,
) -> int:
    """Run the data randomisation test: train on true and on permuted labels, compare the maps, judge."""
    from salsanity.checks.spec import CheckSpec
    from salsanity.cli.check import batch_size_of, check_junit, show
    from salsanity.cli.opening import builder_options
    from salsanity.cli.train import settings_of
    from salsanity.data.sources import open_data
    from salsanity.models.load import load_model
    from salsanity.registry import BUILT_IN_METHODS, DEFAULT_SIMILARITIES
    from salsanity.suite.data_randomization import LabelSpec, run_data_randomization
    from salsanity.suite.terminal import TerminalNarrator, terminal

    check_junit(junit)
    if not true:
        _check_parts(data)
    test = open_data(data, data_dir=data_dir, split="test")
    options = builder_options(model, test, preset=preset)
    builder = load_model(model, options=options).make_model
    assert builder is not None  # noqa: S101 - every loader without weights has one
    brought = [_networks(model, listed(names), test) for names in (true, permuted)]
    effort = 50 if preset else None
    result = run_data_randomization(
        builder,
        None if brought[0] else open_data(data, data_dir=data_dir, split="train"),
        test,
        name=model,
        labels=LabelSpec(
            brought[0],
            brought[1],
            networks,
            train_images,
            settings_of(preset, epochs=epochs, learning_rate=learning_rate),
            threshold,
        ),
        spec=CheckSpec(
            target="label",
            max_images=max_images,
            samples=samples or effort,
            steps=steps or effort,
            endpoints=bool(preset),
            seed=seed,
            device=device,
            batch_size=batch_size_of(batch_size),
            memory_format=memory_format,  # type: ignore[arg-type]
            gallery=gallery,
            unit_timeout=unit_timeout,
        ),
        methods=listed(method) or (list(BUILT_IN_METHODS) if preset else None),
        similarities=listed(similarity) or DEFAULT_SIMILARITIES,
        out=out,
        narrator=TerminalNarrator(terminal()),
        executor=executor,
    )
    return show(result, as_json=as_json, junit=junit)


def _networks(model: str, files: list[str], test: ImageSource) -> tuple[nn.Module, ...]:
    from salsanity.cli.opening import builder_options
    from salsanity.models.load import load_model

    options = builder_options(model, test)
    return tuple(load_model(model, weights=Path(file), options=options).model for file in files)


def _check_parts(data: str) -> None:
    """Refuse a folder without images to train on and other ones to test on: accuracy on the same ones says nothing."""
    from salsanity.errors import DataError

    folder = Path(data).expanduser()
    if folder.is_dir() and not all((folder / part).is_dir() for part in ("train", "test")):
        raise DataError(
            f"expected the folders train and test in {folder}, each with a subfolder per class; move some images of each "
            "class to test, or bring networks with --true and --permuted"
        )

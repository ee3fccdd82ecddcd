"""`salsanity demo`: both tests on data that comes with a dependency, from nothing to a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from salsanity.suite.networks import TrainedNetwork
    from salsanity.suite.result import Result
    from salsanity.suite.terminal import TerminalNarrator

IMAGES, DRAWS, EFFORT = 24, 5, 5
LABEL_IMAGES = 24


def demo(
    out: Annotated[Path, typer.Option(help="Where the run folders go.")] = Path(
        "salsanity-runs/demo"
    ),
) -> int:
    """Train a small CNN on handwritten digits and run both tests on it, with all methods."""
    from salsanity.suite.terminal import TerminalNarrator, terminal

    narrator = TerminalNarrator(terminal())
    narrator.say(
        "The digits come with scikit-learn: 1,437 to train on, 360 to test on, at 32 x 32."
    )
    network = _trained(out, narrator)
    if network.test_accuracy < 0.95:
        narrator.say(
            f"The network reached only {network.test_accuracy:.3f} on test digits (expected 0.95)."
        )
    narrator.say(
        "\n1. The model parameter randomisation test: destroy what the network learned, block by block."
    )
    first = _model_test(network, out, narrator)
    narrator.say(
        "\n2. The data randomisation test: train on permuted labels, so that there is nothing to learn."
    )
    second = _label_test(out, narrator)
    _show(first, second)
    return 0


def _trained(out: Path, narrator: TerminalNarrator) -> TrainedNetwork:
    import torch

    from salsanity.data.digits import digits_source
    from salsanity.models.reference import demo_network
    from salsanity.suite.networks import Training, labelled, trained
    from salsanity.training.settings import DEMO

    training = Training(
        demo_network,
        labelled(digits_source("train")),
        labelled(digits_source("test")),
        DEMO,
        0,
        torch.device("cpu"),
        out / "network",
    )
    return trained(training, "true", 0, narrator)


def _model_test(network: TrainedNetwork, out: Path, narrator: TerminalNarrator) -> Result:
    from salsanity.checks.spec import CheckSpec
    from salsanity.data.digits import digits_source
    from salsanity.models.reference import demo_network
    from salsanity.registry import BUILT_IN_METHODS
    from salsanity.suite.model_randomization import run_model_randomization
    from salsanity.suite.subject import Subject

    source = digits_source("test")
    return run_model_randomization(
        Subject(network.model, "demo CNN", demo_network, source.class_names),
        source,
        methods=list(BUILT_IN_METHODS),
        spec=CheckSpec(
            stages="all", max_images=IMAGES, draws=DRAWS, samples=EFFORT, steps=EFFORT, device="cpu"
        ),
        out=out / "model",
        narrator=narrator,
    )


def _label_test(out: Path, narrator: TerminalNarrator) -> Result:
    from salsanity.checks.spec import CheckSpec
    from salsanity.data.digits import digits_source
    from salsanity.models.reference import demo_network
    from salsanity.registry import BUILT_IN_METHODS
    from salsanity.suite.data_randomization import LabelSpec, run_data_randomization
    from salsanity.training.settings import DEMO_LABELS, DEMO_LABELS_IMAGES

    base = CheckSpec(
        target="label", max_images=LABEL_IMAGES, samples=EFFORT, steps=EFFORT, device="cpu"
    )
    return run_data_randomization(
        demo_network,
        digits_source("train"),
        digits_source("test"),
        name="demo CNN",
        labels=LabelSpec(train_images=DEMO_LABELS_IMAGES, settings=DEMO_LABELS),
        spec=replace(base, gallery=4),
        methods=list(BUILT_IN_METHODS),
        out=out / "labels",
        narrator=narrator,
    )


def _show(first: Result, second: Result) -> None:
    """Print the verdicts of both tests side by side, and where the reports are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Method", "Weights destroyed", "Labels permuted"):
        table.add_column(heading)
    beside = {row.method: row.outcome for row in second.headlines.itertuples()}
    for row in first.headlines.itertuples():
        table.add_row(str(row.method), str(row.outcome), str(beside.get(row.method, "")))
    console.print()
    console.print(table)
    for title, result in (("Weights destroyed", first), ("Labels permuted", second)):
        console.print(Text(f"\n{title}:", style="bold"))
        for row in result.headlines.itertuples():
            console.print(Text(f"  {row.method}: {row.outcome}. {row.reason}"))
        console.print(Text(f"  Report: {result.folder / 'report.html'}"))

"""`salsanity demo`: both tests on data that comes with a dependency, from nothing to a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from salsanity.checks.label_networks import TrainedNetwork
    from salsanity.suite.result import Result
    from salsanity.suite.running import Request
    from salsanity.suite.terminal import TerminalNarrator
    from salsanity.units.spec import RunSpec

IMAGES, EFFORT, SHOWN = 16, 5, 4


def demo(
    out: Annotated[Path, typer.Option(help="Where the run folders go.")] = Path(
        "salsanity-runs/demo"
    ),
) -> int:
    """Train a small CNN on handwritten digits and run both tests on it, with all methods."""
    from salsanity.suite.running import run_checks
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
    first = run_checks(_model_test(network, out / "model"), narrator=narrator)
    narrator.say(
        "\n2. The data randomisation test: train on permuted labels, so that there is nothing to learn."
    )
    second = run_checks(_label_test(out / "labels"), narrator=narrator)
    _show(first, second)
    return 0


def _trained(out: Path, narrator: TerminalNarrator) -> TrainedNetwork:
    import torch

    from salsanity.checks.label_networks import Training, trained
    from salsanity.data.digits import digits_source
    from salsanity.models.reference import demo_network
    from salsanity.training.evaluate import labelled
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


def _model_test(network: TrainedNetwork, out: Path) -> Request:
    from salsanity.checks.cascade import Cascade

    return _request(Cascade(stages="all"), out, _spec(), model=network.model)


def _label_test(out: Path) -> Request:
    from salsanity.checks.labels import LabelTest
    from salsanity.data.digits import digits_source
    from salsanity.training.settings import DEMO_LABELS, DEMO_LABELS_IMAGES

    check = LabelTest(train_images=DEMO_LABELS_IMAGES, training=DEMO_LABELS)
    return _request(check, out, _spec(gallery=SHOWN), train=digits_source("train"))


def _spec(**options: Any) -> RunSpec:
    from salsanity.units.spec import RunSpec

    return RunSpec(max_images=IMAGES, samples=EFFORT, steps=EFFORT, device="cpu", **options)


def _request(
    check: Any, out: Path, spec: RunSpec, *, model: Any = None, train: Any = None
) -> Request:
    """Ask for a check of the demo's network on test digits by all methods."""
    from salsanity.data.digits import digits_source
    from salsanity.models.reference import demo_network
    from salsanity.registry import BUILT_IN_METHODS
    from salsanity.suite.running import Request
    from salsanity.suite.subject import Subject

    source = digits_source("test")
    return Request(
        (check,),
        Subject(model, "demo CNN", demo_network, source.class_names),
        source,
        spec,
        methods=list(BUILT_IN_METHODS),
        out=out,
        train=train,
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

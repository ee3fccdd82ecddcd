"""`salsanity demo`: both tests on data that comes with a dependency, from nothing to a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from torch import nn

    from salsanity.checks.label_networks import TrainedNetwork
    from salsanity.suite.result import Result
    from salsanity.suite.running import Request
    from salsanity.suite.terminal import TerminalNarrator
    from salsanity.units.spec import RunSpec

IMAGES, LABEL_IMAGES, EFFORT, SHOWN = 24, 16, 5, 4


def demo(
    out: Annotated[Path, typer.Option(help="Where the run folders go.")] = Path(
        "salsanity-runs/demo"
    ),
) -> int:
    """Train a small CNN on handwritten digits and put all methods to every check that is cheap, and to the label test."""
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
        "\n1. The model parameter randomisation test (destroy what the network learned, block by block), and every other check "
        "that needs one network and no training."
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
    from salsanity.models.reference import digits_network
    from salsanity.training.evaluate import labelled
    from salsanity.training.settings import DIGITS

    training = Training(
        digits_network,
        labelled(digits_source("train")),
        labelled(digits_source("test")),
        DIGITS,
        0,
        torch.device("cpu"),
        out / "network",
    )
    return trained(training, "true", 0, narrator)


def _model_test(network: TrainedNetwork, out: Path) -> Request:
    from salsanity.checks.named import ALL_CHEAP, checks_named, optional_of
    from salsanity.models.reference import digits_network

    checks = tuple(checks_named([ALL_CHEAP], {"stages": "verdict"}))
    asked = _request(checks, digits_network, out, _spec(gallery=SHOWN), model=network.model)
    return replace(asked, optional=optional_of([ALL_CHEAP]))


def _label_test(out: Path) -> Request:
    from salsanity.checks.labels import LabelTest
    from salsanity.data.digits import digits_source
    from salsanity.models.reference import demo_network
    from salsanity.training.settings import DEMO_LABELS, DEMO_LABELS_IMAGES

    check = LabelTest(train_images=DEMO_LABELS_IMAGES, training=DEMO_LABELS)
    spec = replace(_spec(gallery=SHOWN), max_images=LABEL_IMAGES)
    return _request((check,), demo_network, out, spec, train=digits_source("train"))


def _spec(**options: Any) -> RunSpec:
    from salsanity.units.spec import RunSpec

    return RunSpec(max_images=IMAGES, samples=EFFORT, steps=EFFORT, device="cpu", **options)


def _request(
    checks: tuple[Any, ...],
    make_model: Callable[[], nn.Module],
    out: Path,
    spec: RunSpec,
    *,
    model: Any = None,
    train: Any = None,
) -> Request:
    """Ask for checks of a network on test digits by all methods."""
    from salsanity.data.digits import digits_source
    from salsanity.registry import BUILT_IN_METHODS
    from salsanity.suite.running import Request
    from salsanity.suite.subject import Subject

    source = digits_source("test")
    return Request(
        checks,
        Subject(model, "demo CNN", make_model, source.class_names),
        source,
        spec,
        methods=list(BUILT_IN_METHODS),
        out=out,
        train=train,
    )


def _show(first: Result, second: Result) -> None:
    """Print the verdicts of every check side by side, and where the reports are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    rows = [*first.headlines.itertuples(), *second.headlines.itertuples()]
    outcomes = {(row.check, row.method): str(row.outcome) for row in rows}
    checks, methods = (dict.fromkeys(str(getattr(r, n)) for r in rows) for n in ("check", "method"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Method", *checks):
        table.add_column(heading)
    for method in methods:
        table.add_row(method, *(outcomes.get((check, method), "") for check in checks))
    console.print()
    console.print(table)
    console.print(Text("\nWeights destroyed:", style="bold"))
    for row in first.headlines.itertuples():
        if row.check == first.spec["check"]:
            console.print(Text(f"  {row.method}: {row.outcome}. {row.reason}"))
    console.print(Text("Labels permuted:", style="bold"))
    for row in second.headlines.itertuples():
        console.print(Text(f"  {row.method}: {row.outcome}. {row.reason}"))
    for result in (first, second):
        console.print(Text(f"Report: {result.folder / 'report.html'}"))

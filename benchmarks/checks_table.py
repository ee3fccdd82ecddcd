"""Every check that needs no training on five networks: what a few methods retain.

    python benchmarks/checks_table.py --data DATA --out RUNS      # resumes; half an hour of one core

The demo's network (trained here), the paper's CNN on MNIST (trained here for three epochs on 10,000 images), and from
DATA/imagenet ResNet-18, GoogLeNet and Inception v3. Sizes are small on purpose: the table shows that the checks work on all
of them and what they say; a verdict about a method needs the default sizes.

`smooth_cascade` averages five copies; `exchange` has 19 draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import salsanity
from inception import PIXELS, pictures
from reproduce_imagenet import RESNET, builder
from salsanity.checks.label_networks import Training, trained
from salsanity.data.digits import digits_source
from salsanity.data.images import open_folder
from salsanity.data.preprocessing import Preprocessing
from salsanity.data.sources import open_data
from salsanity.models.reference import cnn, demo_network
from salsanity.models.weights import load_weights
from salsanity.narrator import Silent
from salsanity.report.card import card_of
from salsanity.report.folder import read_run
from salsanity.training.evaluate import labelled
from salsanity.training.settings import DEMO, LABELS, TrainingSettings

CHECKS = ("class", "repeat", "shift", "reparametrise", "smooth_cascade", "entropy", "exchange")
METHODS = ("gradient", "smoothgrad", "guided_backprop", "gradcam", "input_x_gradient")
COUNT = 6
"""Photographs, without their labels: those are not the classes that the Inception v3 at hand knows."""

INITS = {
    "smooth_cascade": "smooth_init",
    "entropy": "entropy_init",
    "exchange": "exchange_init",
}
RULES = ("zennit:ExcitationBackprop", "captum:Deconvolution", "zennit:EpsilonPlus")
"""Asked of `class` on the ImageNet networks, beside the others: which rules converge."""


@dataclass(frozen=True)
class Subject:
    """A network, its images, how fresh ones are built, and how many images and draws are affordable."""

    title: str
    model: nn.Module
    images: Any
    make_model: Callable[[], nn.Module] | None
    count: int
    draws: int
    init: str = "auto"
    more: tuple[str, ...] = ()
    layer: str | None = None


def subjects(options: argparse.Namespace) -> dict[str, Callable[[], Subject]]:
    """Return the networks by name, each opened when it is its turn."""
    kept, photographs = options.out / "networks", options.data / "imagenet" / "photographs"

    def digits() -> Subject:
        data = labelled(digits_source("train")), labelled(digits_source("test"))
        model = _trained(demo_network, data, DEMO, kept / "demo")
        return Subject("demo CNN, digits", model, digits_source("test"), demo_network, 16, 5)

    def mnist() -> Subject:
        parts = [
            open_data("mnist", data_dir=options.data / "mnist", split=s) for s in ("train", "test")
        ]
        data = labelled(parts[0], limit=10_000), labelled(parts[1])
        settings = TrainingSettings(
            epochs=3, learning_rate=LABELS.learning_rate, l2=0.0, wanted=None
        )
        model = _trained(lambda: cnn(initial="torch"), data, settings, kept / "mnist")
        make = lambda: cnn(initial="torch")  # noqa: E731
        return Subject("paper's CNN, MNIST", model, parts[1], make, 24, 5)

    def imagenet(
        name: str, pixels: Preprocessing, *, init: str, layer: str | None = None
    ) -> Subject:
        make = builder(options.data / "imagenet", name)
        model = make()
        load_weights(model, options.data / "imagenet" / f"{name}.safetensors")
        files = sorted(photographs.glob("*.JPEG"))[:COUNT]
        unlabelled = pictures(kept.parent / "photographs", files)
        images = open_folder(unlabelled, preprocessing=pixels)
        return Subject(name, model, images, make, COUNT, 3, init, RULES, layer)

    return {
        "demo": digits,
        "mnist": mnist,
        "resnet18": lambda: imagenet("resnet18", RESNET, init="auto"),
        "googlenet": lambda: imagenet("googlenet", Preprocessing(size=224), init="he"),
        "inception_v3": lambda: imagenet("inception_v3", PIXELS, init="he", layer="Mixed_7c"),
    }


def _trained(
    make: Callable[[], nn.Module], data: tuple[Any, Any], settings: TrainingSettings, folder: Path
) -> nn.Module:
    training = Training(make, *data, settings, 0, torch.device("cpu"), folder)
    return trained(training, "true", 0, Silent()).model


def run(subject: Subject, check: str, folder: Path) -> salsanity.Result:
    """Run one check, or what is missing of it; of `class`, the rules of other libraries that the network admits too."""
    methods = [*METHODS, *(subject.more if check == "class" else ())]
    more: dict[str, Any] = {}
    if check in INITS:
        more[INITS[check]] = subject.init
    if check == "smooth_cascade":
        more["copies"] = 5
        methods = [m for m in methods if m != "smoothgrad"]
    if check not in ("shift", "reparametrise"):
        more["draws"] = 19 if check == "exchange" else subject.draws
    while True:
        try:
            return salsanity.run(
                check,
                subject.model,
                subject.images,
                make_model=subject.make_model,
                methods=methods,
                similarities=["spearman"],
                max_images=subject.count,
                samples=5,
                layer=subject.layer,
                gallery=0,
                batch_size=8,
                name=subject.title,
                out=folder,
                **more,
            )
        except salsanity.MethodError as error:
            refused = [m for m in methods if m in str(error)]
            if not refused:
                raise
            worst = max(refused, key=len)
            print(f"{subject.title}: left out {worst}: {error}", flush=True)
            methods.remove(worst)


def rows(title: str, check: str, folder: Path) -> list[str]:
    """Return a line per method and control of one run: outcome, number, interval."""
    run = read_run(folder)
    card, (part,) = card_of(run), run.parts
    found = {row.method: row.cells[0] for row in card.rows}
    told = {m: f"{c.outcome} {c.text} ({c.span})" for m, c in found.items() if c is not None}
    for name in part.controls:
        headline = part.headlines[name]
        told[name] = f"{headline.outcome} {headline.retained:.2f}"
    return [f"| {title} | `{check}` | `{method}` | {cell} |" for method, cell in told.items()]


def main() -> None:
    """Run every check on every network; print a row for each method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("salsanity-runs/checks-table"))
    parser.add_argument("--networks", nargs="+")
    parser.add_argument("--checks", nargs="+", default=list(CHECKS))
    options = parser.parse_args()
    print("| network | check | method | outcome, number, 90 % interval |\n|---|---|---|---|")
    known = subjects(options)
    for name in options.networks or known:
        subject = known[name]()
        for check in options.checks:
            folder = options.out / f"{name}-{check}"
            run(subject, check, folder)
            print("\n".join(rows(subject.title, check, folder)), flush=True)


if __name__ == "__main__":
    main()

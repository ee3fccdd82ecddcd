"""How long label networks take: epochs and CPU seconds to 95 % on permuted labels, for other rates and precisions.

    python benchmarks/training_pace.py --data-dir DATA
    python benchmarks/training_pace.py --data-dir DATA --cases fashion_mnist-mlp --seeds 0 1 --train-images 3000

"before": float32 in the usual layout, as in earlier versions. "now": `training.settings.LABELS`. "1e-3": the rate that
was tried and left, since verdicts on its networks come out otherwise. Networks are trained one after another in turns, so
that a drifting machine meets all. The last rows of a case are ratios of the means.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from unittest.mock import patch

from torch import Tensor, nn

from salsanity.data.sources import open_data
from salsanity.errors import TrainingError
from salsanity.models.reference import cnn, mlp
from salsanity.randomizers.labels import permuted_labels
from salsanity.training import loop
from salsanity.training.evaluate import LabelledImages, labelled
from salsanity.training.loop import Progress, train
from salsanity.training.pace import Pace
from salsanity.training.settings import LABELS, TrainingSettings

NETWORKS: Final = {"cnn": cnn, "mlp": mlp}
WAYS: Final = {
    "before": replace(LABELS, mixed_precision=False),
    "now": LABELS,
    "1e-3": replace(LABELS, learning_rate=1e-3, warm_up=600, clip=1.0),
}
GOAL: Final = 0.95


def usual(model: nn.Module, images: Tensor, *, mixed: bool) -> Pace:
    """Run batches as networks and images lie."""
    return Pace(images.device, mixed=mixed)


def taught(kind: str, data: LabelledImages, settings: TrainingSettings, seed: int) -> list[float]:
    """Train on permuted labels; return CPU seconds and epochs to .95 (running), and both to the end, and the accuracy."""
    began, reached = time.process_time(), [float("nan")] * 2

    def seen(progress: Progress) -> None:
        if (
            progress.step == progress.steps
            and progress.accuracy > GOAL
            and reached[0] != reached[0]
        ):
            reached[:] = [time.process_time() - began, progress.epoch]

    network = partial(NETWORKS[kind], initial="torch")
    permuted = LabelledImages(data.images, permuted_labels(data.labels, seed))
    try:
        end = train(network, permuted, settings=settings, seed=seed, report=seen)
    except TrainingError as error:
        print(f"    {error}", flush=True)
        return [*reached, time.process_time() - began, settings.epochs, float("nan")]
    return [*reached, time.process_time() - began, len(end.epochs), end.train_accuracy]


def rows(kind: str, data: LabelledImages, options: argparse.Namespace) -> Iterator[str]:
    """Yield one line per seed and way, and the ratio of all ways to the first."""
    totals: dict[str, list[float]] = {way: [] for way in options.ways}
    for seed in options.seeds:
        for way in options.ways:
            with patch.object(loop, "pace_for", usual) if way == "before" else nullcontext():
                cpu, epochs, whole, all_epochs, accuracy = taught(kind, data, WAYS[way], seed)
            totals[way].append(cpu)
            yield f"| {seed} | {way} | {epochs:.0f} | {cpu:.0f} | {all_epochs:.0f} | {whole:.0f} | {accuracy:.3f} |"
    first = sum(totals[options.ways[0]])
    for way in options.ways[1:]:
        yield f"| all | {way} / {options.ways[0]} | | {sum(totals[way]) / first:.2f} | | | |"


def main() -> None:
    """Print a table for every case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", default=["mnist-cnn"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["before", "now"])
    parser.add_argument("--train-images", type=int, default=10_000)
    options = parser.parse_args()
    for data, kind in (case.rsplit("-", 1) for case in options.cases):
        source = open_data(data, data_dir=options.data_dir, split="train")
        images = labelled(source, limit=options.train_images)
        print(f"\n{data}, {kind.upper()}, {len(images):,} images with permuted labels\n")
        print("| seed | way | epochs to .95 | CPU s | epochs in all | CPU s | train accuracy |")
        print("|---" * 7 + "|")
        for line in rows(kind, images, options):
            print(line, flush=True)


if __name__ == "__main__":
    main()

"""The paper's data randomisation test: its bars beside ours, on MNIST and Fashion-MNIST, for its CNN and its MLP.

    python benchmarks/reproduce_labels.py --data-dir DATA --out runs/labels
    python benchmarks/reproduce_labels.py --data-dir DATA --out runs/paper --preset paper --networks 1 --images 200   # patience

Per case, trains networks on true and on permuted labels (or reads those of an earlier run from --out), explains test
images with the true label's logit, prints the paper's bars (read off its figures, +-.01; one true against one permuted
network) beside the mean absolute Spearman of our true-permuted and true-true pairs and the verdict, and writes figures
like the paper's: maps and bars.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

import salsanity
from salsanity.data.sources import open_data
from salsanity.models.reference import cnn, mlp
from salsanity.training.settings import LABELS, PAPER_BY_NETWORK, PAPER_IMAGES, TrainingSettings

CASES = (("mnist", "cnn"), ("fashion_mnist", "cnn"), ("mnist", "mlp"), ("fashion_mnist", "mlp"))
NETWORKS = {"cnn": cnn, "mlp": mlp}
METHODS = (
    "gradient",
    "smoothgrad",
    "smoothgrad_squared",
    "vargrad",
    "guided_backprop",
    "gradcam",
    "guided_gradcam",
    "integrated_gradients",
    "integrated_gradients_smoothgrad",
    "input_x_gradient",
)

EARLIER = replace(LABELS, mixed_precision=False)
"""How the networks of docs/reproduction.md were trained."""

# Read off the paper's bars, absolute Spearman; the MLP has no GradCAM, and Fashion-MNIST no published MLP.
PUBLISHED: dict[tuple[str, str], dict[str, float]] = {
    ("mnist", "cnn"): {
        "gradient": 0.16,
        "smoothgrad": 0.24,
        "guided_backprop": 0.57,
        "gradcam": 0.03,
        "guided_gradcam": 0.57,
        "integrated_gradients": 0.99,
        "integrated_gradients_smoothgrad": 0.46,
        "input_x_gradient": 0.99,
    },
    ("mnist", "mlp"): {
        "gradient": 0.605,
        "smoothgrad": 0.593,
        "guided_backprop": 0.698,
        "integrated_gradients": 0.990,
        "integrated_gradients_smoothgrad": 0.798,
        "input_x_gradient": 0.990,
    },
    ("fashion_mnist", "cnn"): {
        "gradient": 0.070,
        "smoothgrad": 0.088,
        "guided_backprop": 0.556,
        "gradcam": -0.053,
        "guided_gradcam": 0.556,
        "integrated_gradients": 0.884,
        "integrated_gradients_smoothgrad": 0.545,
        "input_x_gradient": 0.884,
    },
}


def run(data: str, kind: str, options: argparse.Namespace) -> salsanity.Result:
    """Train and compare; what an earlier run in the folder has finished is read."""
    paper = options.preset == "paper"
    return salsanity.data_randomization_test(
        partial(NETWORKS[kind], initial="paper" if paper else "torch"),
        open_data(data, data_dir=options.data_dir, split="train"),
        open_data(data, data_dir=options.data_dir, split="test"),
        methods=[m for m in METHODS if kind == "cnn" or "gradcam" not in m],
        networks=options.networks,
        train_images=PAPER_IMAGES if paper else options.train_images,
        training=lessons(kind, options),
        max_images=options.images,
        samples=options.samples,
        steps=options.steps,
        gallery=8,
        out=options.out / f"{data}-{kind}",
        name=f"{data} {kind.upper()}",
        progress=True,
    )


def lessons(kind: str, options: argparse.Namespace) -> TrainingSettings:
    """Return how networks are trained: as the paper says, or in minutes; `--l2` has the last word."""
    usual = replace(EARLIER, epochs=options.epochs)
    found = PAPER_BY_NETWORK[kind] if options.preset == "paper" else usual
    return found if options.l2 is None else replace(found, l2=options.l2)


def means(scores: pd.DataFrame, view: str, stage: str) -> pd.Series:
    """Mean Spearman by method over images and pairs of networks."""
    wanted = (scores["similarity"] == "spearman") & (scores["view"] == view)
    return scores[wanted & (scores["stage"] == stage)].groupby("method")["value"].mean()


def table(result: salsanity.Result, data: str, kind: str) -> pd.DataFrame:
    """One row per method and control: published, ours (true-permuted, true-true, signed true-permuted), verdict."""
    scores, verdicts = result.scores, result.verdicts
    headline = verdicts[verdicts["view"].isna()].set_index("method")
    rows = pd.DataFrame(
        {
            "published": pd.Series(PUBLISHED.get((data, kind), {}), dtype=float),
            "true-permuted": means(scores, "absolute", "TP"),
            "true-true": means(scores, "absolute", "TT"),
            "signed": means(scores, "signed", "TP"),
            "verdict": headline["outcome"],
            "retained": headline["retained"],
        }
    )
    return rows.reindex([*result.spec["methods"], *result.spec["controls"]])


def markdown(rows: pd.DataFrame) -> str:
    """Write the rows as a Markdown table, numbers with two decimals."""
    lines = [
        "| method | " + " | ".join(rows.columns) + " |",
        "|---" * (len(rows.columns) + 1) + "|",
    ]
    for name, row in rows.iterrows():
        cells = ["" if pd.isna(v) else f"{v:.2f}" if isinstance(v, float) else str(v) for v in row]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figures(
    result: salsanity.Result, folder: Path, stem: str, dpi: int, published: dict[str, float]
) -> None:
    """Write the maps, and the bars with the published values on them."""
    folder.mkdir(parents=True, exist_ok=True)
    result.figure(kind="labels").savefig(folder / f"{stem}-labels.png", dpi=dpi)
    figure = result.figure(kind="bars")
    methods = [*result.spec["methods"], *result.spec["controls"]]
    is_alone = not (
        result.scores["stage"] == "TT"
    ).any()  # one network of each kind: one bar a method
    aside = 0.0 if is_alone else 0.19
    places = [(methods.index(m) + aside, value) for m, value in published.items()]
    if places:
        absolute = figure.axes[result.spec["views"].index("absolute")]
        absolute.plot(*zip(*places, strict=True), "kD", ms=4, mfc="w", label="published")
        absolute.legend(frameon=False, loc="upper left", fontsize="small")
    figure.savefig(folder / f"{stem}-bars.png", dpi=dpi)


def main() -> None:
    """Run the four cases, print tables, write figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("salsanity-runs/reproduce-labels"))
    parser.add_argument("--figures", type=Path, help="where figures go (default: OUT/figures)")
    parser.add_argument("--dpi", type=int, default=100)
    parser.add_argument("--cases", nargs="+", default=["-".join(case) for case in CASES])
    parser.add_argument("--networks", type=int, default=2, help="of each kind")
    parser.add_argument("--train-images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=100, help="at most; training stops at 99 %%")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--l2", type=float, help="default: the paper's with --preset, else none")
    parser.add_argument(
        "--preset",
        choices=["paper"],
        help="55,000 images, 20,000 batches, permuted ones up to 100 epochs, P's weights",
    )
    options = parser.parse_args()
    for data, kind in (case.rsplit("-", 1) for case in options.cases):
        began = time.perf_counter()
        result = run(data, kind, options)
        print(f"\n{data}, {kind.upper()}, {time.perf_counter() - began:.0f} s\n")
        for network in result.spec["networks"]:
            print(
                f"- {network['kind']}: train accuracy {network['train_accuracy']:.3f}, "
                f"accuracy on true test labels {network['test_accuracy']:.3f}"
            )
        print(f"\n{markdown(table(result, data, kind))}", flush=True)
        folder = options.figures or options.out / "figures"
        figures(result, folder, f"{data}-{kind}", options.dpi, PUBLISHED.get((data, kind), {}))


if __name__ == "__main__":
    main()

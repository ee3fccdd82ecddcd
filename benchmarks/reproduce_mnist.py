"""The paper's cascade on MNIST: its CNN and MLP, our numbers beside the published ones.

    python benchmarks/reproduce_mnist.py --data-dir DATA --out runs/mnist

Trains the paper's CNN and MLP on MNIST (or reads the weights of an earlier run from --out), runs the model parameter
randomisation test with the choices of the authors' code (fresh weights as networks begin there; each network's own predicted
class), and prints the mean Spearman correlation by stage. Published: the authors' notebook (10 images,
one draw) for the CNN, and the figure of the paper for the MLP.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

import salsanity
from salsanity.checks.label_networks import Training, trained
from salsanity.data.sources import open_data
from salsanity.models.load import load_model
from salsanity.models.reference import cnn, mlp
from salsanity.suite.terminal import TerminalNarrator, terminal
from salsanity.training.evaluate import labelled
from salsanity.training.settings import TrainingSettings

METHODS = (
    "gradient",
    "smoothgrad",
    "guided_backprop",
    "integrated_gradients",
    "input_x_gradient",
    "integrated_gradients_smoothgrad",
    "gradcam",
    "guided_gradcam",
)

# SCIENCE: C's notebook for the CNN (stages softmax, fc1, hidden2, hidden1), P's figure for the MLP (logits, h3, h2, h1).
PUBLISHED: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ("cnn", "absolute"): {
        "gradient": (0.60, 0.40, 0.11, 0.08),
        "smoothgrad": (0.54, 0.33, 0.18, 0.21),
        "guided_backprop": (0.89, 0.77, 0.63, 0.44),
        "integrated_gradients": (0.99, 0.99, 0.99, 0.99),
        "input_x_gradient": (0.99, 0.99, 0.99, 0.99),
        "integrated_gradients_smoothgrad": (0.58, 0.43, 0.38, 0.36),
        "gradcam": (0.56, 0.34, 0.29, 0.30),
        "guided_gradcam": (0.56, 0.36, 0.33, 0.28),
    },
    ("cnn", "signed"): {
        "gradient": (0.28, 0.07, -0.02, 0.02),
        "guided_backprop": (0.89, 0.76, 0.64, 0.36),
    },
    ("mlp", "absolute"): {
        "gradient": (0.23, 0.10, 0.02, 0.02),
        "guided_backprop": (0.90, 0.82, 0.44, 0.04),
        "integrated_gradients": (0.99, 0.99, 0.99, 0.99),
    },
}


CNN_L2 = 1e-3
FRESH: dict[str, dict[str, object]] = {
    "cnn": {"init": "truncated_normal", "init_sd": 0.1, "init_bias": 0.1},
    "mlp": {"init": "fresh", "make_model": mlp},
}
"""How the authors' code draws fresh weights: its networks are built anew."""


def network(kind: str, options: argparse.Namespace, narrator: TerminalNarrator) -> torch.nn.Module:
    """Train the paper's CNN or MLP on MNIST, or read it where it was trained before."""
    if options.weights is not None:
        return load_model(f"reference:{kind}", weights=options.weights).model
    l2 = options.l2 if kind == "mlp" else CNN_L2
    settings = TrainingSettings(epochs=options.epochs, learning_rate=options.learning_rate, l2=l2)
    training = Training(
        {"cnn": cnn, "mlp": mlp}[kind],
        labelled(
            open_data("mnist", data_dir=options.data_dir, split="train"), limit=options.train_images
        ),
        labelled(open_data("mnist", data_dir=options.data_dir, split="test")),
        settings,
        0,
        torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        options.out / f"{kind}-{options.epochs}-{options.train_images}-{l2:g}",
    )
    found = trained(training, "true", 0, narrator)
    print(
        f"{kind}: train accuracy {found.train_accuracy:.4f}, test accuracy {found.test_accuracy:.4f}"
    )
    return found.model


def cascade(
    kind: str, model: torch.nn.Module, images: int, draws: int, options: argparse.Namespace
) -> salsanity.Result:
    """Run the cascade with C's choices."""
    methods = [m for m in METHODS if kind == "cnn" or "gradcam" not in m]
    made = f"{options.epochs}-{options.train_images}-{options.l2:g}"
    name = made if options.weights is None else options.weights.stem
    return salsanity.model_randomization_test(
        model,
        open_data("mnist", data_dir=options.data_dir, split="test"),
        methods=methods,
        similarities=["spearman"],
        stages="all",
        **FRESH[kind],
        target="own",
        draws=draws,
        max_images=images,
        samples=options.samples,
        steps=options.steps,
        gallery=8,
        out=options.out / f"{kind}-{name}-{images}x{draws}",
        name=f"MNIST {kind}",
        progress=True,
    )


def table(result: salsanity.Result, kind: str, view: str) -> pd.DataFrame:
    """Mean Spearman by method and stage, ours beside the published."""
    scores = result.scores
    rows = scores[(scores["view"] == view) & (scores["stage"] != "self")]
    stages = [stage["name"] for stage in result.spec["stages"]]
    means = rows.groupby(["method", "stage"])["value"].mean().unstack()[stages].round(2)
    published = PUBLISHED.get((kind, view), {})
    means["published"] = [" ".join(f"{v:.2f}" for v in published.get(m, ())) for m in means.index]
    return means


def main() -> None:
    """Train, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("salsanity-runs/reproduce-mnist"))
    parser.add_argument("--kinds", nargs="+", default=["cnn", "mlp"])
    parser.add_argument("--sizes", nargs="+", default=["10x1", "200x10"], help="images x draws")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument(
        "--l2", type=float, default=0.0, help="of the MLP; the authors' code has none"
    )
    parser.add_argument("--train-images", type=int, default=55_000)
    parser.add_argument("--weights", type=Path, help="of a network that was trained before")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    narrator = TerminalNarrator(terminal())
    pd.set_option("display.width", 160)
    for kind in options.kinds:
        model = network(kind, options, narrator)
        for size in options.sizes:
            images, draws = (int(part) for part in size.split("x"))
            result = cascade(kind, model, images, draws, options)
            for view in ("absolute", "signed"):
                print(
                    f"\nMNIST {kind.upper()}, {images} images, {draws} draw(s), {view} Spearman by stage"
                )
                print(table(result, kind, view).to_string())


if __name__ == "__main__":
    main()

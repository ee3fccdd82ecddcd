"""How the verdict of integrated gradients depends on the baseline that it starts from.

    python benchmarks/baselines.py --mnist-dir DATA --mnist-weights cnn.safetensors --imagenet DATA/imagenet

Runs the model parameter randomisation test (half and full) of integrated gradients from every baseline that salsanity has, and of
the gradient beside them: the paper's CNN on MNIST (16 images, 3 draws, 5 steps, each network's own class) and a ResNet-18 on
photographs (8 images, 2 draws, 5 steps, the trained network's class). Prints, as Markdown, the verdict and what absolute and
signed Spearman retain when all layers are random; noise times the input stands below as the measure of what the multiplier
alone retains.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

import salsanity
from subjects import imagenet, mnist_cnn

BASELINES = (
    "zeros",
    "data_mean",
    "blur",
    "max_distance",
    "uniform",
    "gaussian",
    "data",
    "conditional_patches",
)
CONTROL = "noise_x_input"


def methods(names: list[str] | None) -> list[str]:
    """Return the gradient, and integrated gradients from each baseline."""
    return [
        "gradient",
        *(f"integrated_gradients(baseline={name!r})" for name in names or BASELINES),
    ]


def check(
    model: Any, images: Any, *, name: str, out: Path, options: argparse.Namespace, **how: Any
) -> Any:
    """Run or continue the test."""
    return salsanity.model_randomization_test(
        model,
        images,
        methods=methods(options.only),
        name=name,
        out=out,
        steps=options.steps,
        stages="verdict",
        gallery=0,
        progress=True,
        **how,
    )


def row(verdicts: pd.DataFrame, method: str) -> list[str]:
    """Return a method's headline, and its retained Spearman in both views."""
    own = verdicts[verdicts["method"] == method]
    headline = own[own["view"].isna()].iloc[0]
    cells = own[own["similarity"] == "spearman"].set_index("view")
    retained = [f"{cells.loc[view, 'retained_full']:.2f}" for view in ("absolute", "signed")]
    worst = headline["retained_full"]
    return [
        f"`{method}`",
        headline["outcome"],
        *retained,
        "-" if worst != worst else f"{worst:.2f}",
    ]


def table(result: Any) -> str:
    """Return the table of one network as Markdown."""
    head = ["explainer", "verdict", "absolute Spearman", "signed Spearman", "worst cell"]
    named = [*result.headlines["method"], CONTROL]
    rows = [head, ["---"] * len(head), *(row(result.verdicts, method) for method in named)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main() -> None:
    """Run what the options name, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--imagenet", type=Path, help="folder with resnet18.py, weights, photographs/"
    )
    parser.add_argument("--networks", nargs="+", default=["resnet18", "googlenet"])
    parser.add_argument("--mnist-dir", type=Path, help="where MNIST lies")
    parser.add_argument("--mnist-weights", type=Path, help="weights of reference:cnn on MNIST")
    parser.add_argument("--out", type=Path, default=Path("salsanity-runs/baselines"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="some of the baselines")
    options = parser.parse_args()
    if options.mnist_weights:
        model, images = mnist_cnn(options.mnist_weights, options.mnist_dir)
        how = {"target": "own", "max_images": 16, "draws": 3}
        out = options.out / "mnist-cnn"
        print(table(check(model, images, name="MNIST CNN", out=out, options=options, **how)))
    for name in options.networks if options.imagenet else ():
        model, images = imagenet(options.imagenet, name)
        how = {"max_images": 8, "draws": 2, "batch_size": 8}
        out = options.out / name
        print(table(check(model, images, name=name, out=out, options=options, **how)))


if __name__ == "__main__":
    main()

"""Why maps of the paper's MLP survive permuted labels: what weight decay does to pixels that are never lit.

    python benchmarks/mlp_weights.py --data-dir DATA --without RUN --with RUN --figure mlp-l2.png

RUN: folders of `reproduce_labels.py --cases mnist-mlp`, without L2 and with it (`--l2 0`, `--l2 0.001`). Draws how strongly the
first layer reads each pixel (the length of its column of weights), for networks on true and on permuted labels, and prints the
ratio of pixels that are black in all training images to the others, and how alike the two networks read pixels (Spearman).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from safetensors.torch import load_file
from scipy.stats import spearmanr

from salsanity.data.sources import open_data
from salsanity.training.evaluate import labelled

KINDS = ("true-0", "permuted-0")
IMAGES = 3000


def strengths(run: Path, kind: str) -> np.ndarray:
    """Return the length of each pixel's weights in the first layer, (28, 28)."""
    tensors = load_file(next(run.glob(f"*/networks/{kind}.safetensors")))
    first = next(t for name, t in tensors.items() if t.ndim == 2 and t.shape[1] == 28 * 28)
    return first.norm(dim=0).view(28, 28).numpy()


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--without", type=Path, required=True)
    parser.add_argument("--with", type=Path, required=True, dest="decayed")
    parser.add_argument("--figure", type=Path, default=Path("mlp-l2.png"))
    options = parser.parse_args()
    train = labelled(open_data("mnist", data_dir=options.data_dir, split="train"), limit=IMAGES)
    is_dark = (train.images.amax(0)[0] == 0).numpy()
    runs = {"no L2": options.without, "L2 .001": options.decayed}
    figure = Figure(figsize=(6.4, 1.55), layout="constrained")
    panels = figure.subplots(1, 5)
    panels[0].imshow(is_dark, cmap="gray_r")
    panels[0].set_title("never lit", fontsize=8)
    print(f"{is_dark.sum()} of {is_dark.size} pixels are black in all {IMAGES} training images\n")
    print(
        "| | dark pixels, true | dark, permuted | others, true | others, permuted | Spearman of the two |"
    )
    print("|---|---|---|---|---|---|")
    for number, (name, run) in enumerate(runs.items()):
        found = {kind: strengths(run, kind) for kind in KINDS}
        cells = [f"{found[k][mask].mean():.3f}" for mask in (is_dark, ~is_dark) for k in KINDS]
        alike = spearmanr(*(found[kind].ravel() for kind in KINDS)).statistic
        print(f"| {name} | {' | '.join(cells)} | {alike:.2f} |")
        for k, kind in enumerate(KINDS):
            panel = panels[1 + 2 * number + k]
            panel.imshow(found[kind], cmap="viridis", vmin=0)
            panel.set_title(f"{name}, {kind.removesuffix('-0')}", fontsize=8)
    for panel in panels:
        panel.set_axis_off()
    figure.savefig(options.figure, dpi=150)


if __name__ == "__main__":
    main()

"""The paper's own network, Inception v3, in its 17 blocks: the cascade beside the values of the authors' notebook.

Called by `reproduce_imagenet.py --networks inception_v3`. Three runs: the whole cascade of nine images (the junco of the paper's
figure 2 and eight photographs), the junco alone with IG-SmoothGrad too (figure 2), and half and full for the verdicts.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from torch import nn

import salsanity
from salsanity.data.images import open_folder
from salsanity.data.preprocessing import Preprocessing
from salsanity.models.weights import load_weights

JUNCO = "ILSVRC2012_val_00015410.JPEG"
PIXELS = Preprocessing(size=299)
BLOCKS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d"),
    *("Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "Logits"),
)
"""The paper's, bottom first; the head of the network that is at hand has three layers, which are `Logits` here."""

METHODS = (
    "gradient",
    "smoothgrad",
    "vargrad",
    "guided_backprop",
    "gradcam",
    "guided_gradcam",
    "integrated_gradients",
    "input_x_gradient",
)

# Read off the authors' notebook: one image, absolute Spearman, from Logits down to Conv2d_1a_3x3.
PUBLISHED: dict[str, tuple[float, ...]] = {
    "gradient": (
        *(0.58, 0.55, 0.61, 0.60, 0.54, 0.54, 0.51, 0.52, 0.53),
        *(0.52, 0.47, 0.39, 0.31, 0.24, 0.17, 0.14, -0.03),
    ),
    "guided_backprop": (
        *(1.00, 0.99, 0.98, 0.99, 0.95, 0.91, 0.74, 0.75, 0.71),
        *(0.57, 0.48, 0.38, 0.25, 0.17, 0.16, 0.09, -0.02),
    ),
    "guided_gradcam": (
        *(0.93, 0.73, 0.83, 0.79, 0.84, 0.83, 0.73, 0.75, 0.68),
        *(0.65, 0.70, 0.68, 0.53, 0.47, 0.54, 0.56, 0.35),
    ),
    "integrated_gradients": (
        *(0.72, 0.61, 0.67, 0.64, 0.65, 0.63, 0.62, 0.62, 0.63),
        *(0.61, 0.61, 0.56, 0.55, 0.54, 0.55, 0.52, 0.37),
    ),
    "input_x_gradient": (
        *(0.78, 0.77, 0.79, 0.79, 0.75, 0.75, 0.73, 0.74, 0.73),
        *(0.73, 0.70, 0.64, 0.58, 0.55, 0.47, 0.47, 0.31),
    ),
}


def run(
    images: Path, name: str, make_model: Callable[[], nn.Module], options: argparse.Namespace
) -> Callable[..., salsanity.Result]:
    """Return the run of one folder of images: what is asked beyond that is given when it is called."""
    model = make_model()
    load_weights(model, options.data / "inception_v3.safetensors")

    def asked(**more: object) -> salsanity.Result:
        choices = {"methods": METHODS, "similarities": ["spearman", "ssim", "hog"], **more}
        return salsanity.model_randomization_test(
            model,
            open_folder(images, preprocessing=PIXELS),
            make_model=make_model,
            blocks=BLOCKS,
            layer="Mixed_7c",
            init="he",
            samples=options.samples,
            steps=options.steps,
            batch_size=options.batch_size,
            memory_format=options.memory_format,
            out=options.out / f"inception_v3-{name}",
            name="Inception v3",
            progress=True,
            **choices,  # type: ignore[arg-type]
        )

    return asked


def pictures(folder: Path, files: list[Path]) -> Path:
    """Lay copies of some images into a folder of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, folder / file.name)
    return folder


def beside(result: salsanity.Result) -> pd.DataFrame:
    """Mean absolute Spearman by method and stage, the published row under ours."""
    scores = result.scores
    wanted = (scores["similarity"] == "spearman") & (scores["view"] == "absolute")
    rows = scores[wanted & (scores["stage"] != "self")]
    stages = [stage["name"] for stage in result.spec["stages"]]
    means = rows.groupby(["method", "stage"])["value"].mean().unstack()[stages]
    published = pd.DataFrame(PUBLISHED, index=stages).T
    published.index = [f"{name}, published" for name in published.index]
    both = pd.concat([means, published]).sort_index().round(2)
    both.columns = [name.removeprefix("Mixed_").removeprefix("Conv2d_") for name in both.columns]
    return both


def drawn(result: salsanity.Result, path: Path, dpi: int) -> None:
    """Draw figure 4's curves: ours with the range of the nine images, the published as points."""
    figure = result.figure(kind="curves")
    figure.savefig(path, dpi=dpi)


def inception(
    make_model: Callable[[], nn.Module], options: argparse.Namespace
) -> list[salsanity.Result]:
    """Do the three runs, print their tables, draw figures 2 and 4."""
    photographs = sorted((options.data / "photographs").glob("*.JPEG"))
    junco = options.data / "paper_demo_images" / JUNCO
    laid = options.out / "inception_v3-images"
    nine = pictures(laid / "nine", [junco, *photographs[:8]])
    one = pictures(laid / "one", [junco])
    many = pictures(laid / "many", photographs[:24])  # without labels: they are of other classes
    folder = options.figures or options.out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    every = [*METHODS, "integrated_gradients_smoothgrad"]
    figure2 = run(one, "junco", make_model, options)(
        methods=every, stages="all", draws=1, similarities=["spearman"]
    )
    for view in ("absolute", "signed"):
        figure2.figure(kind="cascade", view=view).savefig(
            folder / f"inception_v3-junco-{view}.png", dpi=options.dpi
        )
    figure4 = run(nine, "cascade", make_model, options)(stages="all", draws=3, gallery=9)
    print(f"\nabsolute Spearman, nine images, three draws\n{beside(figure4).to_string()}")
    drawn(figure4, folder / "inception_v3-curves.png", options.dpi)
    judged = run(many, "verdict", make_model, options)(stages="verdict", draws=5, max_images=24)
    return [figure2, figure4, judged]

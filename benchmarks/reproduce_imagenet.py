"""The paper's cascade on ImageNet photographs: real trained networks, three initialisers, the paper's figure.

    python benchmarks/reproduce_imagenet.py --data DATA/imagenet --out runs/imagenet
    python benchmarks/reproduce_imagenet.py --data DATA/imagenet --networks inception_v3 --samples 5 --steps 5
    python benchmarks/reproduce_imagenet.py --data DATA/imagenet --samples 50 --steps 50 --stages all      # a GPU

DATA/imagenet holds `resnet18.py` and `googlenet.py` with their weights (.safetensors), `photographs/` and `class_index.json`.
Judged on the stages `half` and `full` of every draw; one draw of the whole cascade for the first 16 photographs. Prints a
verdict table per run and writes the paper's figure (methods by stages) and the curves with intervals. An interrupted run
continues. What Inception v3, the paper's network, is asked stands in `inception.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from torch import nn

import salsanity
from inception import inception
from salsanity.data.class_names import read_class_names
from salsanity.data.images import open_folder
from salsanity.data.preprocessing import Preprocessing
from salsanity.models.weights import load_weights

METHODS = (
    "gradient",
    "smoothgrad",
    "smoothgrad_squared",
    "vargrad",
    "guided_backprop",
    "gradcam",
    "guided_gradcam",
    "integrated_gradients",
    "input_x_gradient",
)
RESNET = Preprocessing(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
PREPROCESSING = {"resnet18": RESNET, "googlenet": Preprocessing(size=224)}


def builder(folder: Path, name: str) -> Callable[[], nn.Module]:
    """Return the function of `name`.py that builds the network."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)  # type: ignore[no-any-return]


def run(name: str, init: str, target: str, options: argparse.Namespace) -> salsanity.Result:
    """Run the check, or what is missing of it."""
    make_model = builder(options.data, name)
    model = make_model()
    load_weights(model, options.data / f"{name}.safetensors")
    return salsanity.model_randomization_test(
        model,
        open_folder(options.data / "photographs", preprocessing=PREPROCESSING[name]),
        make_model=make_model,
        methods=options.methods,
        init=init,
        target=target,
        stages=options.stages,
        draws=options.draws,
        max_images=options.images,
        samples=options.samples,
        steps=options.steps,
        gallery=options.cascade,
        until_decided=options.until_decided,
        batch_size=options.batch_size,
        memory_format=options.memory_format,
        out=options.out / f"{name}-{init}-{target}",
        name=name,
        class_names=read_class_names(options.data / "class_index.json"),
        progress=True,
    )


def table(result: salsanity.Result) -> str:
    """One Markdown row per method: verdict, retained at full and half in the deciding cell, reason."""
    verdicts = result.verdicts
    lines = ["| method | verdict | at full | at half | reason |", "|---|---|---|---|---|"]
    for row in verdicts[verdicts["view"].isna()].to_dict("records"):
        places = [_interval(row, stage) for stage in ("full", "half")]
        lines.append(
            f"| {row['method']} | {row['outcome']} | {' | '.join(places)} | {row['reason']} |"
        )
    return "\n".join(lines)


def _interval(row: dict[str, object], stage: str) -> str:
    value, low, high = (row[f"retained_{stage}{end}"] for end in ("", "_low", "_high"))
    if value is None or pd.isna(value):
        return ""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def curve(result: salsanity.Result, view: str) -> str:
    """Mean Spearman by stage over the photographs of the cascade."""
    scores = result.scores
    wanted = (scores["similarity"] == "spearman") & (scores["view"] == view) & (scores["draw"] == 0)
    rows = scores[wanted & (scores["stage"] != "self")]
    stages = [stage["name"] for stage in result.spec["stages"]]
    shown = rows[
        rows["image"].isin({e["id"] for e in result.spec["images"][: result.spec["gallery"]]})
    ]
    means = shown.groupby(["method", "stage"])["value"].mean().unstack()[stages].round(2)
    return means.reindex([*result.spec["methods"], *result.spec["controls"]]).to_string()


def figures(result: salsanity.Result, folder: Path, stem: str, dpi: int) -> None:
    """Write the methods-by-stages figure in both views, and the curves."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in ("absolute", "signed"):
        figure = result.figure(kind="cascade", view=view)
        figure.savefig(folder / f"{stem}-cascade-{view}.png", dpi=dpi)
    result.figure(kind="curves").savefig(folder / f"{stem}-curves.png", dpi=dpi)


def main() -> None:
    """Run every network with every initialiser, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("salsanity-runs/reproduce-imagenet"))
    parser.add_argument("--figures", type=Path, help="where figures go (default: OUT/figures)")
    parser.add_argument("--dpi", type=int, default=80)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "googlenet"])
    parser.add_argument("--inits", nargs="+", default=["auto", "module", "he"])
    parser.add_argument("--targets", nargs="+", default=["trained"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument(
        "--cascade", type=int, default=16, help="photographs with the whole cascade"
    )
    parser.add_argument("--stages", choices=["verdict", "all"], default="verdict")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--until-decided", action="store_true", help="growing rounds, fewer passes")
    parser.add_argument("--batch-size", type=int, help="default: measured")
    parser.add_argument("--memory-format", default="auto")
    options = parser.parse_args()
    pd.set_option("display.width", 200)
    if "inception_v3" in options.networks:
        *_, judged = inception(builder(options.data, "inception_v3"), options)
        print(f"\n## Inception v3, half and full\n\n{table(judged)}", flush=True)
    for name in (n for n in options.networks if n != "inception_v3"):
        for init in options.inits:
            for target in options.targets:
                began = time.perf_counter()
                result = run(name, init, target, options)
                used = result.spec["init"]
                seconds = time.perf_counter() - began
                print(
                    f"\n## {name}, init {init} (used: {used}), target {target}, {seconds:.0f} s\n"
                )
                print(table(result))
                print(f"\nabsolute Spearman, draw 0\n{curve(result, 'absolute')}", flush=True)
                figures(
                    result,
                    options.figures or options.out / "figures",
                    f"{name}-{init}-{target}",
                    options.dpi,
                )


if __name__ == "__main__":
    main()

"""Explainers of four libraries side by side: which of them depend on what the network learned?

    python benchmarks/explainers.py --imagenet DATA/imagenet --mnist-dir DATA --mnist-weights cnn.safetensors

Runs the model parameter randomisation test (half and full, 2 draws, 8 images) of an ImageNet ResNet-18 for the explainers in
`RESNET`, and of the paper's CNN on MNIST for those in `MNIST`, which evaluate the network hundreds of times an image.
Explainers run one after another in one run folder per network, so an interrupted run goes on where it was; at the end one run
over all of them is judged, and a table is printed. The settings are cheap on purpose; they stand in the names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

import salsanity
from salsanity.store.directory import DirectoryStore
from subjects import mnist_cnn, resnet18

RESNET = (
    "gradient",
    "input_x_gradient",
    "smoothgrad(samples=5)",
    "vargrad(samples=5)",
    "integrated_gradients(steps=5)",
    "guided_backprop",
    "gradcam",
    "guided_gradcam",
    "captum:Saliency",
    "captum:InputXGradient",
    "captum:GuidedBackprop",
    "captum:Deconvolution",
    "captum:GuidedGradCam",
    "captum:LayerGradCam",
    "captum:DeepLift",
    "captum:DeepLiftShap",
    "captum:GradientShap",
    "captum:IntegratedGradients(n_steps=5)",
    "captum:NoiseTunnel(method='Saliency', nt_samples=5)",
    "captum:FeatureAblation(feature_size=56)",
    "zennit:Gradient",
    "zennit:GuidedBackprop",
    "zennit:DeconvNet",
    "zennit:BetaSmooth",
    "zennit:ExcitationBackprop",
    "zennit:EpsilonPlusFlat",
    "grad_cam:GradCAM",
    "grad_cam:GradCAMPlusPlus",
    "grad_cam:GradCAMElementWise",
    "grad_cam:HiResCAM",
    "grad_cam:XGradCAM",
    "grad_cam:LayerCAM",
    "grad_cam:EigenCAM",
    "grad_cam:EigenGradCAM",
    "grad_cam:SegEigenCAM",
    "grad_cam:KPCA_CAM",
    "grad_cam:FEM",
    "grad_cam:ShapleyCAM",
    "grad_cam:FinerCAM",
    "grad_cam:RefineCAM",
    "grad_cam:RandomCAM",
    "grad_cam:FullGrad",
    "zennit:SmoothGrad(n_iter=5)",
    "zennit:IntegratedGradients(n_iter=5)",
    "zennit:EpsilonPlus",
    "zennit:EpsilonAlpha2Beta1Flat",
    "zennit:EpsilonGammaBox",
    "zennit:SmoothGrad(composite='GuidedBackprop', n_iter=5)",
)

MNIST = (
    "gradient",
    "captum:LRP",
    "captum:Occlusion(feature_size=6)",
    "captum:FeatureAblation",
    "captum:ShapleyValueSampling(feature_size=7, n_samples=5)",
    "captum:KernelShap(feature_size=4, n_samples=200)",
    "captum:Lime(feature_size=4, n_samples=200)",
    "grad_cam:ScoreCAM",
    "grad_cam:AblationCAM",
    "grad_cam:SESS(num_scales=2)",
)


@dataclass(frozen=True)
class Contest:
    """A network, its images, and the explainers that are set side by side on it."""

    name: str
    model: nn.Module
    images: Any
    explainers: tuple[str, ...]
    folder: Path


def contests(options: argparse.Namespace) -> list[Contest]:
    """Return what the options name."""
    found = []
    if options.imagenet:
        model, photographs = resnet18(options.imagenet)
        found.append(Contest("ResNet-18", model, photographs, RESNET, options.out / "resnet18"))
    if options.mnist_weights:
        model, digits = mnist_cnn(options.mnist_weights, options.mnist_dir)
        found.append(Contest("MNIST CNN", model, digits, MNIST, options.out / "mnist-cnn"))
    return found


def check(contest: Contest, explainers: Sequence[str], options: argparse.Namespace) -> Any:
    """Run or continue the test for these explainers."""
    return salsanity.model_randomization_test(
        contest.model,
        contest.images,
        methods=list(explainers),
        name=contest.name,
        out=contest.folder,
        stages="verdict",
        draws=options.draws,
        max_images=options.images,
        gallery=0,
        batch_size=4,
    )


def is_recorded(contest: Contest, explainer: str, options: argparse.Namespace) -> bool:
    """Whether the run folder holds every unit of the explainer: 32 images of one draw are a unit."""
    units = [
        record
        for record in DirectoryStore(contest.folder).records()
        if any(key.rpartition("#")[0] == explainer for key in record.key.methods)
    ]
    return len(units) >= options.draws * -(-options.images // 32)


def seconds_of(folder: Path, explainer: str) -> float:
    """Return what the units of an explainer took together, with loading, comparing and, for the first, the controls."""
    records = DirectoryStore(folder).records()
    return sum(
        float(record.notes.get("seconds") or 0)
        for record in records
        if any(key.rpartition("#")[0] == explainer for key in record.key.methods)
    )


def library_of(explainer: str) -> str:
    """Return the library in whose name an explainer stands."""
    library, separator, _ = explainer.partition(":")
    return library if separator else "salsanity"


def rows(contest: Contest, result: Any) -> list[list[str]]:
    """Return a row of the table per explainer of a finished run."""
    return [
        [
            f"`{row.method}`",
            library_of(row.method),
            contest.name,
            row.outcome,
            _interval(row.retained_full, (row.retained_full_low, row.retained_full_high)),
            _interval(row.retained_half, (row.retained_half_low, row.retained_half_high)),
            f"{seconds_of(contest.folder, row.method):.0f}",
        ]
        for row in result.headlines.itertuples()
    ]


def _interval(value: Any, ends: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.2f} ({ends[0]:.2f} to {ends[1]:.2f})"


def compete(contest: Contest, options: argparse.Namespace) -> list[list[str]]:
    """Run every explainer, then judge all of them in one run."""
    done, refused = [], []
    wanted = [e for e in contest.explainers if not options.only or e in options.only]
    for explainer in wanted:
        if is_recorded(contest, explainer, options):
            done.append(explainer)
            continue
        try:
            result = check(contest, [explainer], options)
        except salsanity.UsageError as error:
            refused.append(
                [
                    f"`{explainer}`",
                    library_of(explainer),
                    contest.name,
                    f"refused: {error}",
                    "-",
                    "-",
                    "-",
                ]
            )
            print(f"{contest.name} {explainer}: {error}", flush=True)
            continue
        done.append(explainer)
        row = result.headlines.iloc[0]
        took = seconds_of(contest.folder, row["method"])
        print(
            f"{contest.name} {explainer}: {row['outcome']}, {took:.0f} s: {row['reason']}",
            flush=True,
        )
    return rows(contest, check(contest, done, options)) + refused if done else refused


def main() -> None:
    """Run, then print the table as Markdown and keep it beside the runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--imagenet", type=Path, help="folder with resnet18.py, its weights, photographs/"
    )
    parser.add_argument("--mnist-dir", type=Path, help="where MNIST lies")
    parser.add_argument("--mnist-weights", type=Path, help="weights of reference:cnn on MNIST")
    parser.add_argument("--out", type=Path, default=Path("salsanity-runs/explainers"))
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="some of the explainers")
    options = parser.parse_args()
    head = [
        "explainer",
        "library",
        "network",
        "verdict",
        "retained at full",
        "retained at half",
        "seconds",
    ]
    table = [row for contest in contests(options) for row in compete(contest, options)]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *table)]
    print("\n".join(lines))
    (options.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (options.out / "table.json").write_text(json.dumps([head, *table], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""`salsanity check`: the model parameter randomisation test."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from salsanity.cli.values import FROM_FILE, configuration, listed
from salsanity.errors import SpecError, UsageError

if TYPE_CHECKING:
    from salsanity.checks.spec import CheckSpec
    from salsanity.suite.result import Result

Text = Annotated[str | None, typer.Option()]
Many = list[str] | None


def check(
    model: Annotated[
        str,
        typer.Option(
            help="torchvision:NAME, timm:NAME, hf:NAME, file.py:function, package.module:function or reference:cnn|mlp."
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            help="A folder of images, flat or with a subfolder per class, in sorted order."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="digits, mnist, fashion_mnist, cifar10 or file.py:function.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(envvar="SALSANITY_DATA", help="Where data sets already lie.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Trained weights: .safetensors, .pt or .pth.")
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option(help="Names of the classes by index: a .json or one name a line."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the centre crop, pixels.")] = None,
    resize: Annotated[int | None, typer.Option(help="Short side before the crop, pixels.")] = None,
    mean: Annotated[str | None, typer.Option(help="Per channel, e.g. .485,.456,.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Per channel, e.g. .229,.224,.225.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 (grey) or 3 (RGB).")] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Pixels that one image file may have (default 50 million).")
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(help="Bytes that one image file may have (default 200 million).")
    ] = None,
    method: Annotated[
        Many,
        typer.Option(help="A saliency method; repeat it or use commas. See `salsanity methods`."),
    ] = None,
    similarity: Annotated[Many, typer.Option(help="spearman, ssim, hog, pearson, cosine.")] = None,
    order: Annotated[str | None, typer.Option(help="top_down, independent or bottom_up.")] = None,
    stages: Annotated[str | None, typer.Option(help="verdict (half and full) or all.")] = None,
    blocks: Annotated[Many, typer.Option(help="auto, layer, or names of modules.")] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="auto, fresh, module, permute, matched, he, truncated_normal, a plug-in or file.py:function."
        ),
    ] = None,
    batchnorm: Annotated[
        str | None, typer.Option(help="keep, reset or recalibrate the running statistics.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The class explained: trained, label or own.")
    ] = None,
    keep: Annotated[
        Many, typer.Option(help="Parameters that may stay as they are (patterns).")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="The layer that GradCAM looks at.")] = None,
    draws: Annotated[int | None, typer.Option(help="Randomised networks (default 5).")] = None,
    max_images: Annotated[int | None, typer.Option(help="Images at most (default 50).")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Noisy samples (default 10 on a CPU, 50 on a GPU).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Path steps (default 10 on a CPU, 50 on a GPU).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The one seed.")] = None,
    d_full: Annotated[
        float | None,
        typer.Option(help="Most that may be retained with everything randomised (0.2)."),
    ] = None,
    d_half: Annotated[
        float | None,
        typer.Option(help="Most that may be retained with the top half randomised (0.75)."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="16 images, 2 draws, 5 samples and steps.")
    ] = False,
    until_decided: Annotated[
        bool | None,
        typer.Option(
            "--until-decided", help="Growing rounds; a method leaves once its verdict is settled."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="paper: the choices of the paper and its code.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...")] = None,
    batch_size: Annotated[str | None, typer.Option(help="auto or a number.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32; tf32 or bfloat16 are faster, their error is printed."),
    ] = None,
    memory_format: Annotated[
        str | None,
        typer.Option(help="auto (the faster one, measured), contiguous, channels_last."),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(help="auto, on, off: keep what the trained part of a cascade computed."),
    ] = None,
    unit_timeout: Annotated[
        float | None, typer.Option(help="Seconds that one unit of work may take.")
    ] = None,
    gallery: Annotated[
        int | None,
        typer.Option(help="Images kept with their maps for the figures (default 8; 0: none)."),
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="serial (default), or the name of a plug-in.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the verdicts as JSON on stdout, nothing else.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(help="Write the verdicts as JUnit XML to this file, for CI.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file of methods, similarities and settings; what is to be checked is said here."
        ),
    ] = None,
) -> int:
    """Run the model parameter randomisation test and say which saliency methods fail it."""
    given = {k: v for k, v in locals().items() if v is not None and k not in _NOT_SPEC}
    file = configuration(config)
    junit = junit or (Path(file["junit"]) if "junit" in file else None)
    check_junit(junit)
    from salsanity.cli.opening import (
        Fitting,
        builder_options,
        open_images,
        open_subject,
        preprocessing_of,
        untrained,
    )
    from salsanity.registry import DEFAULT_SIMILARITIES
    from salsanity.suite.model_randomization import run_model_randomization
    from salsanity.suite.terminal import TerminalNarrator, terminal

    spec = _spec(given, file, given_model=model, quick=quick, preset=preset)
    fitting = Fitting(size, resize, mean, std, channels)
    bounds = {"max_pixels": max_pixels, "max_bytes": max_bytes}
    limits = {name: bound for name, bound in bounds.items() if bound is not None}
    plain = None
    if model.startswith("reference:"):
        plain = open_images(
            folder=images,
            data=data,
            data_dir=data_dir,
            split="test",
            fitting=preprocessing_of(fitting, None, is_folder=images is not None),
            limits=limits,
        )
    subject, known = open_subject(
        model, weights, builder_options(model, plain, preset=preset), class_names=class_names
    )
    narrator = TerminalNarrator(terminal())
    if weights is None and (warning := untrained(subject)) is not None:
        narrator.say(warning)
    source = plain or open_images(
        folder=images,
        data=data,
        data_dir=data_dir,
        split="test",
        fitting=preprocessing_of(fitting, known, is_folder=images is not None),
        limits=limits,
    )
    result = run_model_randomization(
        subject,
        source,
        methods=_methods(method, file, preset),
        similarities=listed(similarity)
        or file.get("similarity")
        or _similarities(preset, DEFAULT_SIMILARITIES),
        spec=spec,
        out=out or (Path(file["out"]) if "out" in file else None),
        narrator=narrator,
        executor=executor or file.get("executor"),
    )
    return show(result, as_json=as_json, junit=junit)


_NOT_SPEC = frozenset(
    {
        "model",
        "images",
        "data",
        "data_dir",
        "weights",
        "class_names",
        "size",
        "resize",
        "mean",
        "std",
        "channels",
        "max_pixels",
        "max_bytes",
        "method",
        "similarity",
        "quick",
        "preset",
        "executor",
        "as_json",
        "junit",
        "out",
        "config",
    }
)

_QUICK: dict[str, Any] = {"max_images": 16, "draws": 2, "samples": 5, "steps": 5}

_PAPER: dict[str, Any] = {
    "samples": 50,
    "steps": 50,
    "endpoints": True,
    "stages": "all",
    "init": "he",
    "target": "own",
    "max_images": 200,
}

_PAPER_MNIST: dict[str, Any] = {"init": "truncated_normal", "init_sd": 0.1, "init_bias": 0.1}
"""How the authors' code draws fresh weights for the paper's CNN and MLP."""


def _spec(
    given: dict[str, Any],
    file: dict[str, Any],
    *,
    given_model: str,
    quick: bool,
    preset: str | None,
) -> CheckSpec:
    """Lay options over the file over the preset; the more explicit wins."""
    from salsanity.checks.spec import CheckSpec

    if preset not in (None, "paper"):
        raise UsageError(f"expected --preset paper, got {preset!r}")
    on_mnist = _PAPER_MNIST if given_model.startswith("reference:") else {}
    base = {**({**_PAPER, **on_mnist} if preset else {}), **(_QUICK if quick else {})}
    from_file = {k: v for k, v in file.items() if k not in FROM_FILE}
    elsewhere = sorted(from_file.keys() & _NOT_SPEC)
    if elsewhere:
        raise SpecError(
            f"expected --{elsewhere[0]} on the command line, not in the file of options"
        )
    merged = {**base, **from_file, **given}
    for name in ("blocks", "keep"):
        if isinstance(merged.get(name), list) and all(isinstance(v, str) for v in merged[name]):
            merged[name] = tuple(listed(merged[name]))
    if merged.get("blocks") in (("auto",), ("layer",)):
        merged["blocks"] = merged["blocks"][0]
    merged["batch_size"] = batch_size_of(merged.get("batch_size"))
    return CheckSpec.from_mapping(merged)


def batch_size_of(value: Any) -> int | None:
    """Read `auto` (None) or a whole number."""
    if value in (None, "auto"):
        return None
    if isinstance(value, int):
        return value
    try:
        return int(value if isinstance(value, str) else "")
    except ValueError:
        raise UsageError(f"expected --batch-size auto or a whole number, got {value!r}") from None


def _methods(method: Many, file: dict[str, Any], preset: str | None) -> list[str] | None:
    from salsanity.registry import BUILT_IN_METHODS

    named = listed(method) or file.get("method")
    return named or (list(BUILT_IN_METHODS) if preset else None)


def _similarities(preset: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    return (
        (
            (
                "spearman",
                "ssim(window=5, weights='uniform', scaling='maximum')",
                "hog(correlation='spearman')",
            )
        )
        if preset
        else usual
    )


def check_junit(path: Path | None) -> None:
    """Raise `UsageError`, before anything is computed, where no file can be written at `path`."""
    if path is None:
        return
    parents = [folder for folder in path.absolute().parents if folder.exists()]
    if path.is_dir() or not parents[0].is_dir() or not os.access(parents[0], os.W_OK):
        raise UsageError(
            f"expected --junit FILE where a file can be written, got {path}; name another"
        )


def show(result: Result, *, as_json: bool, junit: Path | None = None) -> int:
    """Print the verdicts, write them as JUnit XML where that is asked for, and return the exit code."""
    from salsanity.report import read_run, verdict_table, write_junit
    from salsanity.suite.terminal import shown, terminal

    if junit is not None:
        write_junit(read_run(result.folder), junit)
    if as_json:
        json.dump(
            json.loads((result.folder / "verdicts.json").read_text("utf-8")), sys.stdout, indent=1
        )
        sys.stdout.write("\n")
    else:
        from rich.console import Console

        Console(highlight=False).print(verdict_table(read_run(result.folder)))
    places = f"Run folder: {result.folder}\nReport: {result.folder / 'report.html'}"
    terminal().print(shown(places), markup=False)
    return int(result.exit_code)

"""`salsanity checks`, `methods`, `similarities`, `models` and `data`: what there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import typer


def checks() -> int:
    """List the checks: what each asks, what it needs and what it costs."""
    from salsanity.checks.named import ALL_CHEAP, BUILT_IN, CHEAP
    from salsanity.plugins import CHECKS, plugin_names

    for name, kind in BUILT_IN.items():
        typer.echo(f"{name:16}{kind.words.question}")
        for label in ("needs", "costs"):
            typer.echo(f"{'':16}{label.capitalize()}: {getattr(kind, label)}.")
    for name in plugin_names(CHECKS):
        typer.echo(f"{name:16}plug-in")
    typer.echo(f"\n{ALL_CHEAP:16}{', '.join(CHEAP)}: those that need one network and no training")
    typer.echo("Also: file.py:Check, and arguments as in cascade(order='independent')")
    return 0


def methods() -> int:
    """List the saliency methods, the controls and the plug-ins."""
    from salsanity.plugins import LIBRARIES, METHODS, plugin_names
    from salsanity.registry import BUILT_IN_METHODS, CONTROLS, Effort

    for name, make in BUILT_IN_METHODS.items():
        typer.echo(f"{name:34}{_first_line(make(Effort()))}")
    typer.echo("\nControls (always run):")
    for name, control in CONTROLS.items():
        typer.echo(f"{name:34}{_first_line(control())}")
    typer.echo("\nAlso: file.py:function, and arguments as in smoothgrad(samples=20, sd=0.1)")
    for name in plugin_names(METHODS):
        typer.echo(f"{name:34}plug-in")
    for name in plugin_names(LIBRARIES):
        typer.echo(f"{name + ':NAME(...)':34}explainers of another library (docs/explainers.md)")
    return 0


def similarities() -> int:
    """List the similarities of two maps."""
    from salsanity.plugins import SIMILARITIES, plugin_names
    from salsanity.registry import BUILT_IN_SIMILARITIES

    for name, make in BUILT_IN_SIMILARITIES.items():
        typer.echo(f"{name:12}{_first_line(make())}")
    for name in plugin_names(SIMILARITIES):
        typer.echo(f"{name:12}plug-in")
    return 0


def models() -> int:
    """List the forms in which a network can be named."""
    for form, meaning in _MODELS.items():
        typer.echo(f"{form:34}{meaning}")
    return 0


def data() -> int:
    """List the data sets that `--data` knows."""
    for name, meaning in _DATA.items():
        typer.echo(f"{name:34}{meaning}")
    return 0


_MODELS: Final = {
    "torchvision:resnet50": "any classifier of torchvision, with its pretrained weights or --weights",
    "timm:vit_base_patch16_224": "any classifier of timm",
    "hf:microsoft/resnet-50": "any image classifier of transformers",
    "file.py:function": "a function of yours that returns the network",
    "package.module:function": "the same, from an installed package",
    "reference:cnn, reference:mlp": "the paper's networks; train them with `salsanity train`",
}

_DATA: Final = {
    "digits": "1,797 handwritten digits that come with scikit-learn, at 32 x 32",
    "mnist": "MNIST, from --data-dir or fetched once",
    "fashion_mnist": "Fashion-MNIST, likewise",
    "cifar10": "CIFAR-10, likewise",
    "file.py:function": "a function of yours that returns a map-style data set",
}

COMMANDS: Final[dict[str, Callable[..., int]]] = {
    "checks": checks,
    "methods": methods,
    "similarities": similarities,
    "models": models,
    "data": data,
}


def _first_line(value: object) -> str:
    return (type(value).__doc__ or "").strip().splitlines()[0]

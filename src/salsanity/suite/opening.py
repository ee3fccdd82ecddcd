"""What a Python user hands over, as the suite wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from salsanity.data.examples import ImageSource
from salsanity.data.preprocessing import preprocessing_from
from salsanity.data.sources import open_images
from salsanity.executors.named import executor as executor_named
from salsanity.executors.serial import Executor
from salsanity.executors.workers import Workers
from salsanity.narrator import Narrator, Silent
from salsanity.options import from_mapping, options_of

PREPROCESSING: Final = ("size", "resize", "mean", "std", "channels", "interpolation")
"""Options that say how pixels become what the network was trained on."""


def divided(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide options into those of the preprocessing and all others."""
    own = {name: value for name, value in options.items() if name in PREPROCESSING}
    return own, {name: value for name, value in options.items() if name not in own}


def executor_of(
    spec: Executor | str | None, options: Mapping[str, Any]
) -> tuple[Executor, dict[str, Any]]:
    """Return the executor with the workers that `options` ask for, and all other options."""
    names = options_of(Workers)
    own = {name: value for name, value in options.items() if name in names}
    others = {name: value for name, value in options.items() if name not in names}
    return executor_named(spec, from_mapping(Workers, own)), others


def source_of(
    images: Any,
    *,
    class_names: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> tuple[ImageSource, tuple[str, ...]]:
    """Take a tensor, (images, labels), a data set, a loader, or the path of a folder; return it, and what is odd about it."""
    return open_images(
        images,
        class_names=tuple(class_names) if class_names else None,
        preprocessing=preprocessing_from(**(preprocessing or {})),
    )


def narrator_for(progress: bool) -> Narrator:
    """Return a narrator that draws a bar with rich, in a terminal or a notebook, or one that only warns."""
    if not progress:
        return Silent()
    from salsanity.suite.terminal import TerminalNarrator, terminal

    return TerminalNarrator(terminal())

"""What a Python user hands over, as the suite wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from salsanity.data.examples import ImageSource
from salsanity.data.preprocessing import preprocessing_from
from salsanity.data.sources import open_images
from salsanity.errors import SpecError
from salsanity.executors.named import executor as executor_named
from salsanity.executors.serial import Executor
from salsanity.executors.workers import Workers
from salsanity.narrator import Narrator, Silent
from salsanity.options import from_mapping, options_of
from salsanity.training.own import OwnTraining, Teaching
from salsanity.training.settings import LABELS, TrainingSettings
from salsanity.units.identity import print_of

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
    """Return a narrator with one bar, by rich on a terminal and by tqdm in a notebook, or one that only warns and logs."""
    if not progress:
        return Silent()
    from salsanity.suite.terminal import NotebookNarrator, TerminalNarrator, terminal

    console = terminal()
    return NotebookNarrator(console) if console.is_jupyter else TerminalNarrator(console)


def teaching_of(training: Any) -> Teaching:
    """Take settings of the training here, or a training of the user's own: `(model, images, labels) -> model` or None."""
    if training is None or isinstance(training, TrainingSettings):
        return training or LABELS
    if not callable(training):
        raise SpecError(
            f"expected training=TrainingSettings(...) or a function (model, images, labels), got {training!r}"
        )
    return OwnTraining(training, print_of(training))

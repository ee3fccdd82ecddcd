"""Which images a run has, and which class of each is explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from salsanity.data.examples import ImageSource, check_repeatable, without_label
from salsanity.errors import DataError
from salsanity.models.network import Network
from salsanity.models.routes import check_routes
from salsanity.store.remembered import Remembered
from salsanity.suite.prepared import Asked
from salsanity.suite.streaming import FIRST, STREAM_FROM, MoreImages, is_streamed, remembered_key
from salsanity.units.admit import logits_of
from salsanity.units.images import Finder, ImageEntry, ImageIndex, begun

ROUTED: Final = 8
"""So many images at a time are asked whether they go through layers that the first one did not."""


def indexed(asked: Asked) -> tuple[ImageIndex, Finder]:
    """Find the run's images; of a large run those that it begins with."""
    limit = FIRST if is_streamed(asked.source, asked.spec) else asked.spec.max_images
    recorded = asked.recorded_images[: asked.spec.max_images]
    finder = Finder(asked.source, seed=asked.spec.seed, names=getattr(asked.source, "names", None))
    index = begun(finder, limit=limit, recorded=recorded[: max(limit, STREAM_FROM)])
    check_repeatable(asked.source, index.entries[0].index)
    return index, finder


def more_images(asked: Asked, finder: Finder) -> MoreImages | None:
    """Return the images that a large run finds while it goes."""
    if not is_streamed(asked.source, asked.spec):
        return None
    network = asked.network

    key = remembered_key(asked.source, network.fingerprint, asked.spec)
    return MoreImages(
        finder,
        asked.spec.max_images,
        remembered=Remembered(asked.store.folder, key, finder.names),
        aim=lambda _, x: _predicted(network, x),
        target=lambda entry, guess: _target(asked, entry, guess),
    )


def aimed(asked: Asked, index: ImageIndex) -> tuple[tuple[ImageEntry, ...], dict[str, Any] | None]:
    """Choose the class to explain per image, and compare predictions with labels where they are known."""
    network = asked.network
    if asked.spec.target == "label" and asked.targets is None:
        _check_labelled(asked.source, index)
    aimed: list[ImageEntry] = []
    right = known = 0
    for start in range(0, len(index.entries), 32):
        part = index.entries[start : start + 32]
        predicted = _predicted(network, torch.stack([asked.source[e.index].x for e in part]))
        for entry, guess in zip(part, predicted, strict=True):
            known += entry.label is not None
            right += entry.label == guess
            aimed.append(replace(entry, target=_target(asked, entry, guess)))
    if not known:
        return tuple(aimed), None
    return tuple(aimed), {"trained": right / known, "chance": 1 / network.classes, "n": known}


def _predicted(network: Network, x: Tensor) -> list[int]:
    """The classes that a network predicts for images, none of which may go through layers that the first one did not."""
    x = x.to(network.device)
    check_routes(network, torch.split(x, network.largest_batch or ROUTED))
    found: list[int] = logits_of(network, x, batch_size=8).argmax(1).tolist()
    return found


def _check_labelled(source: ImageSource, index: ImageIndex) -> None:
    why = None
    if any(entry.label is None for entry in index.entries):
        why = without_label(source, [entry.index for entry in index.entries])
    if why is not None:
        raise DataError(
            f"expected a label to explain for every image (target=label), got {why}; use target=trained, or give labels.json or "
            "one subfolder per class"
        )


def _target(asked: Asked, entry: ImageEntry, predicted: int) -> int:
    classes = asked.network.classes
    if entry.label is not None and not 0 <= entry.label < classes:
        raise DataError(
            f"expected labels from 0 to {classes - 1}, the network's classes, got {entry.label} for {entry.name}; mend it, or "
            "give the images without labels"
        )
    if asked.spec.target != "label":
        return entry.target if entry.target >= 0 else predicted
    known = entry.label if asked.targets is None else asked.targets[entry.index]
    what = "labels" if asked.targets is None else "targets"
    chosen = -1 if known is None else known
    if not 0 <= chosen < classes:
        raise DataError(
            f"expected {what} from 0 to {classes - 1}, the network's classes, got {chosen} for {entry.name}"
        )
    return chosen


def lacking(index: ImageIndex) -> tuple[str, ...]:
    """Return what is to be told of images that could not be used."""
    if not index.problems:
        return ()
    return (f"{len(index.problems)} image(s) could not be used; the first: {index.problems[0]}",)

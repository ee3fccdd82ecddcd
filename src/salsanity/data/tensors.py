"""Data sets that already lie in memory, and any map-style `Dataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from salsanity.data.decode import pixels_of
from salsanity.data.examples import Example, ImageSource
from salsanity.data.labels import UNLABELLED, as_labels, as_targets, class_index
from salsanity.data.loaders import dataset_of
from salsanity.data.preprocessing import Preprocessing
from salsanity.errors import DataError

__all__ = [
    "DatasetSource",
    "MapDataset",
    "TensorSource",
    "as_source",
    "as_targets",
    "displayable",
    "stack",
]

IMAGE_KEYS: Final = ("pixel_values", "image", "img", "x", "input")
LABEL_KEYS: Final = ("labels", "label", "y", "target")
BEYOND: Final = 0.01
"""Pixels may lie so far outside of [0, 1], as after resizing."""


@final
@dataclass(frozen=True, eq=False)
class TensorSource:
    """Images that lie in memory as one tensor.

    `pixels`: (N, C, H, W) uint8 (0 to 255 stand for 0 to 1) or floating point; other input shapes
    (N, ...) work if nothing has to be preprocessed. `labels`: (N,) integers, -1 where unknown. Item i is called
    `prefix`/i. `why_unlabelled`: why what stood for the labels is none.
    """

    pixels: Tensor
    labels: Tensor | None = None
    name: str = "tensors"
    class_names: tuple[str, ...] | None = None
    prefix: str = "item"
    preprocessing: Preprocessing | None = None
    why_unlabelled: str | None = None

    def __post_init__(self) -> None:
        """Refuse shapes and labels that do not fit."""
        if self.pixels.ndim < 2:
            raise DataError(f"expected images (N, C, H, W), got shape {tuple(self.pixels.shape)}")
        _pixels(self.pixels)
        if self.labels is not None:
            _check_labels(self.labels, len(self.pixels))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the items, without loading them."""
        return tuple(f"{self.prefix}/{index}" for index in range(len(self)))

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.pixels)

    def __getitem__(self, index: int) -> Example:
        """Return image `index`, preprocessed."""
        index = _position(index, len(self))
        label = UNLABELLED if self.labels is None else int(self.labels[index])
        known = (None if label == UNLABELLED else label), self.why_unlabelled
        return _example(self.pixels[index], known, f"{self.prefix}/{index}", self.preprocessing)

    def stacked(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Return the preprocessed images (n, C, H, W) and labels (n,) at `indices`, all at once."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        _, x = _prepared(self.pixels[rows], self.preprocessing)
        _check_finite(x, self.name)
        labels = None if self.labels is None else self.labels[rows].to(torch.int64)
        return x, None if labels is None or bool((labels == UNLABELLED).any()) else labels


@runtime_checkable
class MapDataset(Protocol):
    """What `torch.utils.data.Dataset` calls map-style: a length, and items by index."""

    def __len__(self) -> int:
        """How many items there are."""

    def __getitem__(self, index: int, /) -> Any:
        """Return one item."""


@final
@dataclass(frozen=True, eq=False)
class DatasetSource:
    """Any map-style data set whose items are x, (x, label) or a mapping with an image and a label.

    x: (C, H, W), or what Pillow holds. Floating-point images are taken as preprocessed, and `preprocessing`, if given,
    only tells how to show them; uint8 images and Pillow's are brought to [0, 1] and preprocessed.
    """

    dataset: MapDataset
    name: str = "dataset"
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the items, without loading them."""
        return tuple(f"{self.name}/{index}" for index in range(len(self)))

    def __len__(self) -> int:
        """How many items the data set says it has."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Example:
        """Load item `index`; whatever the data set raises becomes a `DataError` with its name."""
        index = _position(index, len(self))
        name = f"{self.name}/{index}"
        try:
            image, label = _pair(self.dataset[index])
            is_plain = isinstance(image, Image.Image)
            pixels = pixels_of(image, self.preprocessing) if is_plain else _pixels(_tensor(image))
            known = class_index(label, self.class_names)
        except Exception as error:  # user code may raise anything
            raise DataError(f"item {name} cannot be read: {_reason(error)}") from error
        if self.preprocessing is None or (pixels.dtype == torch.uint8 and not is_plain):
            return _example(pixels, known, name, self.preprocessing)
        x, display = (
            (self.preprocessing.normalise(pixels), pixels)
            if is_plain
            else (pixels, self.preprocessing.denormalise(pixels))
        )
        _check_finite(x, name)
        return Example(x, known[0], name, display, known[1])


def as_source(
    data: Any,
    *,
    name: str = "data",
    class_names: tuple[str, ...] | None = None,
    preprocessing: Preprocessing | None = None,
) -> ImageSource:
    """Take what a user has: a source, images, (images, labels), a map-style data set, or a `DataLoader` of one.

    Images and labels may also be a list, as a loader's batch is, or a mapping of arrays such as `pixel_values` and `labels`.
    """
    if isinstance(data, ImageSource) and not isinstance(data, Dataset):
        return data
    if isinstance(data, DataLoader):
        data = dataset_of(data)
    arrays = _arrays(data)
    if arrays is not None:
        pixels = _tensor(arrays[0])
        _check_unit(pixels, preprocessing, name)
        labels, why = (None, None) if arrays[1] is None else as_labels(arrays[1], len(pixels))
        return TensorSource(pixels, labels, name, class_names, name, preprocessing, why)
    if isinstance(data, Mapping):
        raise DataError(
            f"expected images under one of the keys {', '.join(IMAGE_KEYS)}, got the keys {_listed(data)}; give one of its parts"
        )
    if isinstance(data, IterableDataset) or _is_streaming(data):
        data = _read_through(data, name)
    if not isinstance(data, MapDataset) or isinstance(data, str | bytes):
        raise DataError(
            "expected images, (images, labels), a map-style data set or a DataLoader of one, got "
            f"{type(data).__name__}; from what only iterates, give a batch: next(iter(data))"
        )
    return DatasetSource(data, name, class_names, preprocessing)


ITERATED: Final = 10_000
"""Items of a data set that only iterates which are kept in memory at most."""


def _is_streaming(data: Any) -> bool:
    """Whether it is Hugging Face's data set that only iterates."""
    return type(data).__module__.startswith("datasets.") and not hasattr(data, "__len__")


def _read_through(data: Any, name: str) -> list[Any]:
    """Return the items of a data set that only iterates, so that they can be had by their places."""
    found = list(islice(iter(data), ITERATED + 1))
    if len(found) > ITERATED:
        raise DataError(
            f"expected at most {ITERATED:,} items in {name}, which only iterates and so is kept in memory, got more; give a "
            "map-style data set, a folder, or shards"
        )
    return found


def stack(source: ImageSource, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Return images (n, C, H, W) and labels (n,) at `indices`; labels None where one is unknown."""
    if isinstance(source, TensorSource):
        return source.stacked(indices)
    examples = [source[i] for i in indices]
    shapes = {tuple(example.x.shape) for example in examples}
    if len(shapes) != 1:
        raise DataError(
            f"expected images of one shape, got {sorted(shapes)[:4]}; "
            "give a `size` to bring them to one"
        )
    labels = [example.label for example in examples]
    known = None if None in labels else torch.tensor(labels, dtype=torch.int64)
    return torch.stack([example.x for example in examples]), known


def displayable(image: Tensor) -> Tensor:
    """Return an image in [0, 1] for figures: as it is if it lies there, else scaled."""
    low, high = image.min(), image.max()
    if low >= 0 and high <= 1:
        return image
    return (image - low) / (high - low) if high > low else torch.full_like(image, 0.5)


def _example(
    pixels: Tensor,
    known: tuple[int | None, str | None],
    name: str,
    preprocessing: Preprocessing | None,
) -> Example:
    display, x = _prepared(pixels[None], preprocessing)
    _check_finite(x, name)
    return Example(x[0], known[0], name, displayable(display[0]), known[1])


def _check_unit(pixels: Tensor, preprocessing: Preprocessing | None, name: str) -> None:
    """Refuse to take mean and sd off numbers that are no pixels in [0, 1]: 0 to 255, or normalised once already."""
    is_normalised = preprocessing is not None and preprocessing.mean
    if not is_normalised or not pixels.is_floating_point() or not pixels.numel():
        return
    low, high = (float(found) for found in torch.aminmax(pixels.detach()))
    if low < -BEYOND or high > 1 + BEYOND:
        raise DataError(
            f"expected floating-point images of {name} in [0, 1], from which mean and std are taken off, got {low:.3g} to "
            f"{high:.3g}; give 0 to 255 as uint8, and images that are normalised already without mean and std"
        )


def _prepared(pixels: Tensor, preprocessing: Preprocessing | None) -> tuple[Tensor, Tensor]:
    unit = pixels / 255 if pixels.dtype == torch.uint8 else pixels
    if preprocessing is None:
        return unit, unit
    if unit.ndim != 4:
        raise DataError(
            f"expected images (N, C, H, W) to preprocess, got shape {tuple(unit.shape)}"
        )
    fitted = preprocessing.fit(unit)
    return fitted, preprocessing.normalise(fitted)


def _pair(item: Any) -> tuple[Any, Any]:
    """Return the image of an item, and its label or None."""
    if isinstance(item, Mapping):
        image = next((item[key] for key in IMAGE_KEYS if key in item), None)
        pictures = [value for value in item.values() if isinstance(value, Image.Image)]
        if image is None and len(pictures) != 1:
            raise DataError(f"expected one of the keys {IMAGE_KEYS}, got {_listed(item)}")
        label = next((item[key] for key in LABEL_KEYS if key in item), None)
        return (pictures[0] if image is None else image), label
    if isinstance(item, (tuple, list)):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _arrays(data: Any) -> tuple[Any, Any] | None:
    """Return all images and all labels (or None) where `data` holds them as arrays."""
    if isinstance(data, _ARRAYS):
        return data, None
    if isinstance(data, Mapping) and any(isinstance(data.get(key), _ARRAYS) for key in IMAGE_KEYS):
        return _pair(data)
    is_batch = isinstance(data, tuple | list) and len(data) > 1
    if not is_batch or not all(isinstance(part, _ARRAYS) for part in data[:2]):
        return None
    # A list may also hold images, one by one; labels have fewer axes than images, and are as many.
    is_pair = data[0].ndim > max(1, data[1].ndim) and len(data[0]) == len(data[1])
    is_tuple = isinstance(data, tuple) and len(data) == 2
    return (data[0], data[1]) if is_tuple or is_pair else None


_ARRAYS: Final = (Tensor, np.ndarray)


def _listed(item: Mapping[Any, Any]) -> str:
    return ", ".join(sorted(map(str, item))[:8]) or "none"


def _tensor(value: Any) -> Tensor:
    """Read a tensor, an array, or pixels (H, W) or (H, W, C) of another library's image."""
    if isinstance(value, Tensor):
        return value.detach().as_subclass(Tensor)
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if not hasattr(value, "__array_interface__"):
        raise DataError(
            f"expected a tensor, an array or an image, got {type(value).__name__}; read files yourself, or give their folder"
        )
    pixels = torch.from_numpy(np.array(value))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _pixels(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise DataError(f"expected uint8 or floating-point images, got {images.dtype}")
    return images


def _check_labels(labels: Tensor, count: int) -> None:
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.shape != (count,):
        raise DataError(
            f"expected {count} integer labels, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if count and int(labels.min()) < UNLABELLED:
        raise DataError(f"expected class indices from 0, got {int(labels.min())}")


def _check_finite(x: Tensor, name: str) -> None:
    if not torch.isfinite(x).all():
        raise DataError(f"expected finite pixels, got NaN or infinite ones in {name}")


def _position(index: int, count: int) -> int:
    if not -count <= index < count:
        raise IndexError(f"item {index} of {count}")  # ends a `for` over the source
    return index % count


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

"""From a `DataLoader` to the items that it would batch, in the order of its data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    default_collate,
)

from salsanity.errors import DataError

ITS_OWN: Final = frozenset({torch.__name__, "accelerate"})
"""Whose loaders give what the data set holds (accelerate's move it to a device)."""


def dataset_of(loader: DataLoader[Any]) -> Any:
    """Return the map-style data set of the items that a loader would batch, each as its collation makes it.

    The order is the data set's own, whatever the loader shuffles. Raises `DataError` for an iterable data set, and where a
    sampler does not say which items it takes, or a class of the user's gives other batches than the data set's.
    """
    if isinstance(loader.dataset, IterableDataset):
        raise DataError(
            "expected a DataLoader of a map-style data set, got one that only iterates; give a batch: next(iter(loader))"
        )
    iterates = type(loader).__iter__
    if iterates.__module__.partition(".")[0] not in ITS_OWN:
        raise DataError(
            f"expected a DataLoader that gives what its data set holds, got {type(loader).__name__} with an __iter__ of its own, "
            "which would be passed over; put what it does into the data set or collate_fn, or give a batch: next(iter(loader))"
        )
    items: Any = loader.dataset
    if loader.batch_size is not None and loader.collate_fn is not default_collate:
        items = Collated(items, loader.collate_fn)
    taken = _taken(loader)
    return items if taken is None else Subset(items, taken)


@final
@dataclass(frozen=True)
class Collated:
    """Items as a loader's collation makes them, in batches of one that are taken apart again."""

    dataset: Any
    collate: Callable[[list[Any]], Any]

    def __len__(self) -> int:
        """How many items the data set says it has."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return item `index`, collated."""
        batch = self.collate([self.dataset[index]])
        if isinstance(batch, Mapping):
            return {name: _only(part) for name, part in batch.items()}
        return [_only(part) for part in batch] if isinstance(batch, tuple | list) else _only(batch)


def _only(part: Any) -> Any:
    """Return the one item of a batch of one."""
    is_batch = isinstance(part, Tensor | list | tuple) or hasattr(part, "__array_interface__")
    return part[0] if is_batch and len(part) == 1 else part


def _taken(loader: DataLoader[Any]) -> list[int] | None:
    """Return the items that a sampler takes, where it does not take all."""
    sampler = loader.sampler if loader.batch_sampler is None else _inner(loader.batch_sampler)
    if isinstance(sampler, SequentialSampler) or _shuffles_all(sampler):
        return None
    indices = getattr(sampler, "indices", None)
    if indices is None:
        raise DataError(
            f"expected a DataLoader that takes all items or a list of them, got the sampler {type(sampler).__name__}; give its "
            "data set, or a torch.utils.data.Subset of it"
        )
    return sorted({int(index) for index in indices})


def _shuffles_all(sampler: object) -> bool:
    is_random = isinstance(sampler, RandomSampler) and not sampler.replacement
    return is_random and sampler.num_samples >= len(sampler.data_source)  # type: ignore[attr-defined]


def _inner(batch_sampler: Any) -> Any:
    return getattr(batch_sampler, "sampler", batch_sampler)

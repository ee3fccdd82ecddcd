"""Class indices from what users have for labels and targets: numbers of any kind, one-hot rows, names of classes.

A label that is none is no error: it is unknown, with the reason in words, for whoever needs it.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salsanity.errors import DataError

UNLABELLED = -1
"""What data sets write where they have no label."""


def class_index(
    value: Any, class_names: Sequence[str] | None = None
) -> tuple[int | None, str | None]:
    """Read one label: its class index, or None and why it is none (None where there simply is no label)."""
    found = _scalar(value)
    if found is None:
        return None, None
    if isinstance(found, str) and class_names is not None and found in class_names:
        return list(class_names).index(found), None
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int):
        return None, f"its label is {_words(found)}, which is no class index"
    if found == UNLABELLED:
        return None, "its label is -1, which stands for none"
    return (found, None) if found >= 0 else (None, f"its label is {found}, which is no class index")


def as_labels(labels: Any, count: int) -> tuple[Tensor | None, str | None]:
    """Read the labels of `count` images: (N,) int64 with -1 for unknown, or None and why they are no class indices.

    Whole numbers of any type, (N, 1), and one-hot rows are understood. Raises `DataError` for another number of them.
    """
    found = _numbers(labels)
    if found is None:
        return None, "the labels are no numbers"
    if found.ndim == 0 or len(found) != count:
        raise DataError(f"expected {count} labels, one per image, got {_shaped(found)}")
    rows = _indices(found)
    if rows is None:
        return None, f"the labels are {_shaped(found)}, and no class indices"
    return rows, None


def as_targets(targets: Any, images: Sized, classes: int | None = None) -> list[int]:
    """Read the classes to explain: one for all images, or one for each, as an index or a one-hot row.

    `classes`: how many the network has; None does not check. Raises `DataError` for anything else, with what to give.
    """
    count = len(images)
    found = _numbers(targets)
    if found is not None and found.numel() == 1 and found.ndim == 0:
        found = found.expand(count)
    if found is None or found.ndim == 0 or len(found) != count:
        raise DataError(
            f"expected one class to explain for all images or one for each of {count}, got {_shaped(found)}; give targets=3 or "
            "a class index per image"
        )
    rows = _indices(found)
    is_wide = found.ndim == 2 and classes is not None and found.shape[1] != classes
    if rows is None or is_wide or (count and int(rows.min()) < 0):
        wanted = "class indices from 0, or one-hot rows"
        raise DataError(
            f"expected {wanted} of {classes or 'all'} classes, as targets, got {_shaped(found)}; give a class index per image"
        )
    if classes is not None and count and int(rows.max()) >= classes:
        raise DataError(
            f"expected targets from 0 to {classes - 1}, the network's classes, got {int(rows.max())}; give other ones"
        )
    return [int(row) for row in rows]


def _scalar(value: Any) -> Any:
    """Return the number or text that an array of one holds; anything else as it is."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value
    if isinstance(value, np.ndarray | np.generic):
        return value.item() if value.size == 1 else value
    return value


def _numbers(values: Any) -> Tensor | None:
    """Return int64, float64 or bool numbers, (N, 1) as (N,); None where `values` are none."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        array = (values.double() if values.is_floating_point() else values).numpy()
    else:
        is_sequence = isinstance(values, Sequence) and not isinstance(values, str)
        try:
            array = np.asarray([_listed(value) for value in values] if is_sequence else values)
        except (ValueError, TypeError):
            return None
    if array.dtype.kind not in "iufb":
        return None
    wide = {"f": np.float64, "b": np.bool_}.get(array.dtype.kind, np.int64)
    found = torch.from_numpy(np.array(array, dtype=wide))
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor | np.ndarray | np.generic) else value


def _indices(found: Tensor) -> Tensor | None:
    """Return class indices (-1: unknown) of (N,) whole numbers or (N, K) one-hot rows; None for others."""
    if found.ndim == 2 and found.shape[1] > 1:
        is_hot = ((found == 0) | (found == 1)).all() and (found.sum(1) == 1).all()
        return found.to(torch.int64).argmax(1) if is_hot else None
    if found.ndim != 1 or found.dtype == torch.bool:
        return None
    whole = torch.nan_to_num(found).to(torch.int64)
    is_whole = torch.equal(whole.to(found.dtype), found)
    return whole if is_whole and bool((whole >= UNLABELLED).all()) else None


def _shaped(found: Tensor | None) -> str:
    if found is None:
        return "something else"
    kind = {torch.float64: "real numbers", torch.bool: "truth values"}.get(found.dtype, "numbers")
    if found.ndim == 1:
        return f"{len(found)} {kind}"
    return f"{kind} of shape {tuple(found.shape)}"


def _words(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"an array of shape {tuple(value.shape)}"
    if isinstance(value, str | float | bool | int):
        return repr(value)[:60]
    return f"a {type(value).__name__}"

"""Targets: the classes to explain, as users write them."""

import numpy as np
import pytest
import torch

from salsanity.data.tensors import as_targets
from salsanity.errors import DataError

IMAGES = range(4)
WANTED = [2, 0, 1, 2]
TENSOR = torch.tensor(WANTED)


@pytest.mark.parametrize(
    "targets",
    [
        WANTED,
        tuple(WANTED),
        TENSOR,
        TENSOR.numpy(),
        TENSOR.to(torch.uint8),
        TENSOR.float(),
        TENSOR.half(),
        TENSOR[:, None],
        torch.eye(3)[TENSOR],
        np.eye(3)[WANTED],
        torch.eye(3)[TENSOR] > 0,
        [torch.tensor(t) for t in WANTED],
        [np.int64(t) for t in WANTED],
        list(torch.eye(3)[TENSOR]),
        np.array(WANTED, dtype="int16"),
    ],
    ids=str,
)
def test_a_class_per_image(targets):
    found = as_targets(targets, IMAGES, 3)
    assert found == WANTED
    assert all(type(target) is int for target in found)


@pytest.mark.parametrize("target", [1, np.int64(1), torch.tensor(1), 1.0, np.array(1)])
def test_one_class_for_all_images(target):
    assert as_targets(target, IMAGES, 3) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (WANTED[:2], "each of 4, got 2 numbers"),
        ([99] * 4, "0 to 2, the network's classes, got 99"),
        (99, "got 99"),
        (-1, "class indices from 0"),
        ([0, 1, -1, 2], "class indices from 0"),
        ([0, 1, 1.5, 2], "4 real numbers"),
        (["3"] * 4, "targets=3"),
        ("cat", "targets=3"),
        ([True] * 4, "truth values"),
        (torch.ones(4, 3), "shape \\(4, 3\\)"),
        (torch.eye(5)[TENSOR], "one-hot rows of 3 classes"),
        (torch.ones(4, 3, 3), "shape"),
        ([[1], [1, 2], [1], [1]], "targets=3"),
        (None, "targets=3"),
        ({"a": 1}, "targets=3"),
        (object(), "targets=3"),
        ([float("nan")] * 4, "real numbers"),
    ],
)
def test_other_targets_are_refused(targets, words):
    with pytest.raises(DataError, match=words):
        as_targets(targets, IMAGES, 3)


def test_twin_without_a_number_of_classes_nothing_is_too_large():
    assert as_targets([99] * 4, IMAGES) == [99] * 4

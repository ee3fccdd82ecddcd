"""The handwritten digits that come with scikit-learn: real data that needs no download.

1,797 images of 8 x 8 pixels, values 0 to 16 (E. Alpaydin and C. Kaynak, UCI optical recognition of
handwritten digits), brought to 32 x 32.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from salsanity.data.examples import seeded_order
from salsanity.data.preprocessing import Preprocessing
from salsanity.data.tensors import TensorSource

SIDE: Final = 32
TEST_COUNT: Final = 360
"""A fifth; chosen at random, as the file is ordered by writer."""

CLASS_NAMES: Final = tuple(str(digit) for digit in range(10))


def digits_source(
    split: Literal["train", "test"] = "test", *, preprocessing: Preprocessing | None = None
) -> TensorSource:
    """Return the digits as (N, 1, 32, 32) in [0, 1]: 1,437 to train on, 360 to test on, fixed."""
    images, labels = _digits()
    rows = torch.tensor(_rows(split))
    return TensorSource(
        images[rows], labels[rows], "digits", CLASS_NAMES, f"digits-{split}", preprocessing
    )


def _rows(split: Literal["train", "test"]) -> tuple[int, ...]:
    _, labels = _digits()
    order = seeded_order([str(i) for i in range(len(labels))], 0)
    return tuple(sorted(order[:TEST_COUNT] if split == "test" else order[TEST_COUNT:]))


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # takes a second to import

    pixels, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    # Bilinear by a factor of 4 multiplies sixteenths by sixty-fourths: exact in float32, so the ids
    # of the images are the same on every machine.
    images = interpolate(small, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return images, torch.from_numpy(labels).to(torch.int64)

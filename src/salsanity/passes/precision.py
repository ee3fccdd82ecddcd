"""The arithmetic of the passes: float32, or a faster and coarser one where the user asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "tf32", "bfloat16"]


@contextmanager
def computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute forward passes in bfloat16 where that is safe (autocast), or products of a GPU in TF32, during the block.

    `float32` leaves everything as it is, float64 included. The settings of torch are the caller's again afterwards.
    """
    if precision == "bfloat16":
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield
    elif precision == "tf32":
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    else:
        yield


def widened(value: Tensor) -> Tensor:
    """Return half precision as float32, so that sums over samples are not rounded to it; others as they are."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value

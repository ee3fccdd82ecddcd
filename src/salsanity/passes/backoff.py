"""When memory runs out in a batch: the same with half of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from salsanity.passes.foreign import out_of_memory

R = TypeVar("R")


def with_backoff(
    compute: Callable[[int], R], batch_size: int, forget: Callable[[], None] = lambda: None
) -> R:
    """Return `compute(batch_size)`; when memory runs out, `forget` what is kept and try half the size, down to 1."""
    while True:
        try:
            return compute(batch_size)
        except Exception as error:
            if not out_of_memory(error) or batch_size == 1:
                raise
        forget()
        batch_size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

"""Random states of torch, NumPy and Python: the caller's are afterwards as before."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_state(
    seed: int | None, devices: Sequence[torch.device | int] | None = None
) -> Iterator[None]:
    """Seed the global generators inside the block (None: leave them as they are), and put the old states back.

    `devices`: GPUs whose generators are kept; by default all, and they are seeded too.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            if seed is not None:
                random.seed(seed)
                np.random.seed(seed % 2**32)
                if devices is None:
                    torch.manual_seed(seed)
                else:
                    torch.default_generator.manual_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)

"""Where a network comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import nn


@final
@dataclass(frozen=True, eq=False)
class Source:
    """Where a network comes from: how to build it untrained and, if the library can, trained."""

    build: Callable[[], nn.Module]
    pretrained: Callable[[], nn.Module] | None = None
    about: Callable[[nn.Module], tuple[dict[str, Any] | None, tuple[str, ...] | None]] | None = None

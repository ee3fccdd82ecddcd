"""What may be said of the processes that do units elsewhere; no torch here, since the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from salsanity.errors import SpecError
from salsanity.options import checked, option, options_of


@final
@dataclass(frozen=True)
class Workers:
    """The worker processes of the executor ray."""

    workers: int | None = option(
        None,
        "Worker processes of the executor ray; auto: as many as the machine or the cluster has room for.",
        least=1,
        most=100_000,
        unset="auto",
        is_identity=False,
    )
    address: str | None = option(
        None,
        "A Ray cluster that is running, auto or HOST:PORT; unset, Ray is started on this machine for the run.",
        is_identity=False,
    )
    gpus_per_worker: float | None = option(
        None,
        "GPUs of a worker: 1, or a part of one that workers share; unset, 1 where the run is on a GPU.",
        least=0,
        most=1,
        is_identity=False,
    )
    cpus_per_worker: int | None = option(
        None,
        "Cores of a worker, and threads of its PyTorch; unset, as many threads as this process has.",
        least=1,
        most=1024,
        is_identity=False,
    )

    def __post_init__(self) -> None:
        """Refuse values that make no workers."""
        checked(self)
        if self.address is not None and self.address.startswith("ray://"):
            raise SpecError(
                f"expected address as auto or HOST:PORT, got {self.address!r}; give the command on a machine of the cluster "
                "(`ray job submit`, `ray attach`), not through Ray's client"
            )

    @property
    def said(self) -> tuple[str, ...]:
        """Name the options that were given."""
        return tuple(name for name in options_of(Workers) if getattr(self, name) is not None)

"""Lightning: a callback that puts the maps of a network to the cheap checks once it is trained."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(
        "salsanity.integrations.lightning needs Lightning, which cannot be imported; pip install 'salsanity[lightning]'"
    ) from error

from torch import nn

from salsanity import suite
from salsanity.errors import DataError
from salsanity.integrations.findings import numbers
from salsanity.suite.result import Result

__all__ = ["SanityChecks"]

PREFIX = "salsanity"


@final
class SanityChecks(Callback):  # type: ignore[misc] # skipped by mypy, see pyproject.toml
    """Runs checks after `fit`, tells the trainer's loggers what was retained, and keeps the `Result`."""

    def __init__(
        self,
        images: Any = None,
        *,
        checks: str | Sequence[Any] = "all-cheap",
        network: Callable[[LightningModule], nn.Module] | None = None,
        out: str | Path | None = None,
        raise_for_failures: bool = False,
        **options: Any,
    ) -> None:
        """Say what is to be checked.

        `images`: as for `salsanity.run`; by default the trainer's validation data. `checks`: names or checks; by default those
        that need one network and no training. `network`: takes the network out of the module; by default the module itself,
        whose `forward` must return logits. `out`: the run folder; by default the first free `salsanity`, `salsanity-2`, ...
        in the trainer's log folder. `raise_for_failures`: end with `FailuresFound` where a method failed. `options`: those
        of `salsanity.run`, such as `methods` or `max_images`.
        """
        self.images = images
        self.checks = checks
        self.network = network
        self.out = out
        self.raise_for_failures = raise_for_failures
        self.options = options
        self.result: Result | None = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the checks, in the first process only, and not in a `fast_dev_run`, which trains nothing."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        found = self._checked(trainer, pl_module)
        self.result = found
        for logger in trainer.loggers:
            logger.log_metrics(numbers(found, prefix=PREFIX), step=trainer.global_step)
        if self.raise_for_failures:
            found.raise_for_failures()

    def _checked(self, trainer: Trainer, pl_module: LightningModule) -> Result:
        module = copy.deepcopy(pl_module)  # without its trainer, which is no part of the network
        network = module if self.network is None else self.network(module)
        return suite.run(
            self.checks,
            network.eval(),
            self.images if self.images is not None else _validation_data(trainer),
            out=self.out if self.out is not None else _free_folder(trainer),
            name=self.options.get("name", type(pl_module).__name__),
            **{name: value for name, value in self.options.items() if name != "name"},
        )


def _validation_data(trainer: Trainer) -> Any:
    loaders = trainer.val_dataloaders
    found = loaders[0] if isinstance(loaders, list | tuple) and loaders else loaders
    if not found:
        raise DataError(
            "expected images to explain, got a trainer without validation data; pass SanityChecks(images)"
        )
    return found


def _free_folder(trainer: Trainer) -> Path:
    """Return a folder that no run has yet: a network that was trained on is another one."""
    root = Path(trainer.log_dir or trainer.default_root_dir)
    tries = (root / (PREFIX if k == 1 else f"{PREFIX}-{k}") for k in itertools.count(1))
    return next(folder for folder in tries if not folder.exists())

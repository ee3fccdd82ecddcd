"""Explainers that end the process in which they run, unless it is the one that was asked."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn


def plain_gradient(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


@dataclass(frozen=True)
class KilledNowAndThen:
    """Ends the process at every fifth call, in as many processes as `times` says."""

    folder: str
    times: int
    asked: int = field(default_factory=os.getpid)
    calls: list[None] = field(default_factory=list)

    def __salsanity_print__(self) -> str:
        return "killed now and then"

    def __call__(self, model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        self.calls.append(None)
        if os.getpid() != self.asked and len(self.calls) % 5 == 0:
            for number in range(self.times):
                if not (Path(self.folder) / str(number)).exists():
                    (Path(self.folder) / str(number)).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        return plain_gradient(model, x, targets)


@dataclass(frozen=True)
class Signing:
    """Leaves the number of each process in which it explains, and takes its time."""

    folder: str

    def __salsanity_print__(self) -> str:
        return "signing"

    def __call__(self, model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        (Path(self.folder) / str(os.getpid())).touch()
        time.sleep(0.2)
        return plain_gradient(model, x, targets)


@dataclass(frozen=True)
class Poisoned:
    """Ends every process in which it meets an image whose first pixel is `pixel`."""

    folder: str
    pixel: float
    asked: int = field(default_factory=os.getpid)

    def __salsanity_print__(self) -> str:
        return "poisoned"

    def __call__(self, model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        if os.getpid() != self.asked and bool((x[:, 0, 0, 0] == self.pixel).any()):
            (Path(self.folder) / str(os.getpid())).touch()
            os._exit(1)
        return plain_gradient(model, x, targets)

"""What is checked: a network with its name, and how the images of a run are found."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from salsanity.errors import SpecError, UsageError


@dataclass(frozen=True)
class Subject:
    """A trained network; None where a check is yet to bring it. `make_model` builds a fresh one, for the initialiser `fresh`."""

    model: nn.Module | None
    name: str
    make_model: Callable[[], nn.Module] | None = None
    class_names: tuple[str, ...] | None = None

    def classifier(self) -> nn.Module:
        """Return the network; `UsageError` where there is none."""
        if self.model is None:
            raise UsageError(f"expected a trained network, got only a builder of {self.name}")
        return self.model


def device_of(name: str) -> torch.device:
    """Return the device that `--device` names; `auto` takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # `meta` has no values
    except (RuntimeError, AssertionError) as error:
        raise SpecError(
            f"expected a device such as auto, cpu or cuda, but {name!r} cannot be used: {str(error).splitlines()[0]}"
        ) from error
    return device


def versions() -> dict[str, str]:
    """Return the versions of what computes the scores."""
    found = {"python": platform.python_version()}
    for package in ("salsanity", "torch", "numpy", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    """Describe the machine as far as it matters for speed and rounding."""
    described = {
        "device": str(device),
        "processor": platform.processor() or platform.machine(),
        "system": sys.platform,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described

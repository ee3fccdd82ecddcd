"""Executors by name: `serial`, `ray`, and what plug-ins add; and having one at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from salsanity.errors import SpecError, UsageError
from salsanity.executors.serial import Executor, SerialExecutor
from salsanity.executors.workers import Workers
from salsanity.plugins import EXECUTORS, plugin, plugin_names

DEFAULT: Final = "serial"
RAY: Final = "ray"


def executor(spec: str | Executor | None, workers: Workers | None = None) -> Executor:
    """Return the executor that `spec` names or is; None is `serial`. `workers`: for `ray`, and refused for others.

    Raises `UsageError` for an unknown name, and for a plug-in that is no executor.
    """
    if spec == RAY:
        return _ray(workers or Workers())
    if workers is not None and workers.said:
        raise SpecError(
            f"{workers.said[0]!r} is an option of the executor ray, got the executor {_called(spec)}; leave it out, or take ray"
        )
    if spec is None or spec == DEFAULT:
        return SerialExecutor()
    if not isinstance(spec, str):
        if not hasattr(spec, "run"):
            raise UsageError(
                f"expected an executor with run(job, lots), got {type(spec).__name__}; see docs/plugins.md"
            )
        return spec
    added = plugin(EXECUTORS, spec)
    if added is None:
        known = ", ".join((DEFAULT, RAY, *plugin_names(EXECUTORS)))
        raise UsageError(f"expected an executor ({known}), got {spec!r}; name one of them")
    made: Executor = added.made()
    if not hasattr(made, "run"):
        raise added.broken(f"expected an executor with run(job, lots), got {type(made).__name__}")
    return made


@contextmanager
def at_work(runs_on: Executor) -> Iterator[None]:
    """Run the block with as many threads of PyTorch as the executor's workers have, and close the executor after it."""
    threads, before = getattr(runs_on, "threads", None), torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if threads is not None:
            torch.set_num_threads(before)
        close = getattr(runs_on, "close", None)
        if close is not None:
            close()


def _called(spec: str | Executor | None) -> str:
    return str(spec or DEFAULT) if spec is None or isinstance(spec, str) else type(spec).__name__


def _ray(workers: Workers) -> Executor:
    try:
        from salsanity.executors.ray import RayExecutor
    except ImportError as error:
        raise UsageError(
            f"expected Ray for the executor ray, got {error}; install it by `pip install 'salsanity[ray]'`"
        ) from error
    return RayExecutor(workers)

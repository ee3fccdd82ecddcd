"""Executors by name: `serial`, and what plug-ins add."""

from __future__ import annotations

from typing import Final

from salsanity.errors import UsageError
from salsanity.executors.serial import Executor, SerialExecutor
from salsanity.plugins import EXECUTORS, plugin, plugin_names

DEFAULT: Final = "serial"


def executor(spec: str | Executor | None) -> Executor:
    """Return the executor that `spec` names or is; None is `serial`.

    Raises `UsageError` for an unknown name, and for a plug-in that is no executor.
    """
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
        known = ", ".join((DEFAULT, *plugin_names(EXECUTORS)))
        raise UsageError(f"expected an executor ({known}), got {spec!r}; name one of them")
    made: Executor = added.made()
    if not hasattr(made, "run"):
        raise added.broken(f"expected an executor with run(job, lots), got {type(made).__name__}")
    return made

"""Keeping user code from spoiling more than its own unit: a time limit, and a network that is put back after it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from salsanity.errors import ModelError, UnitError
from salsanity.models.network import Network
from salsanity.models.swap import swapped

AGAIN = 1.0
"""Seconds after which an interruption that user code swallowed is repeated."""


@contextmanager
def contained(network: Network, seconds: float | None) -> Iterator[None]:
    """Run the body for at most `seconds` (None: without limit), and put the network back whatever happened.

    Raises `UnitError` when the time is over, `ModelError` where the body left other values in a parameter: passes undo what
    torch's version counters tell them of, so this was written through `.data`, and maps made with it mean nothing.
    """
    with swapped(network, {}):
        with time_limit(seconds):
            yield
        check_unchanged(network)


def check_unchanged(network: Network) -> None:
    """Raise `ModelError` where a parameter has not the values that it was trained to."""
    for slot in network.slots:
        trained = network.trained[slot.layer][slot.name]
        if slot.kind == "parameter" and not torch.equal(slot.tensor, trained):
            raise ModelError(
                f"expected a network that leaves its weights alone, but {slot.path} changed while it ran; "
                "remove what writes to it (through .data) from its forward pass"
            )


class _OutOfTime(BaseException):
    """No `Exception`, so that user code which catches those does not swallow it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `UnitError` in the block after `seconds`; only the main thread can be interrupted so."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    is_running = True

    def stop(_: int, __: FrameType | None) -> None:
        if is_running:
            raise _OutOfTime

    began = time.monotonic()
    previous = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            is_running = False
    except _OutOfTime:
        raise UnitError(
            f"it took longer than {seconds:g} s; raise --unit-timeout, or leave out what hangs"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if left:  # the caller's own alarm, as a test runner sets one
            signal.setitimer(
                signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - began)), interval
            )

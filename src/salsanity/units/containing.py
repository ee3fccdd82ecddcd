"""Keeping user code from spoiling more than its own unit: a time limit, and a network that is put back after it."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    with swapped(network, {}) as sound:
        with time_limit(seconds):
            yield
        check_unchanged(network)
        sound |= {slot.key for slot in network.slots if slot.kind == "parameter"}


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
    """Raise `UnitError` in the block after `seconds`, in any thread and on any system; `limit_note` says how well."""
    if seconds is None:
        yield
        return
    limit = _alarm if _has_alarm() else _watched
    try:
        with limit(seconds):
            yield
    except _OutOfTime:
        raise UnitError(
            f"it took longer than {seconds:g} s; raise --unit-timeout, or leave out what hangs"
        ) from None


def limit_note(seconds: float | None) -> str | None:
    """Say what a time limit of `seconds` cannot do in this thread and on this system; None where nothing."""
    if seconds is None or _has_alarm():
        return None
    return (
        f"The time limit of {seconds:g} s takes effect when code returns to Python: here (not in the main thread, or on a "
        "system without alarms) code that waits in a call of its own is interrupted only after that call."
    )


def _has_alarm() -> bool:
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and hasattr(signal, "SIGALRM") and hasattr(signal, "setitimer")


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTime` in the main thread after `seconds`, by the system's alarm, and again until the block ends."""
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
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if left:  # the caller's own alarm, as a test runner sets one
            signal.setitimer(
                signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - began)), interval
            )


@contextmanager
def _watched(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTime` in this thread after `seconds`, from a thread beside it, and again until the block ends."""
    watched, over = threading.get_ident(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            _raise_in(watched, _OutOfTime)
            wait = AGAIN

    def stop() -> None:
        over.set()
        with suppress(RuntimeError):  # it was interrupted before it began
            watchdog.join()
        _raise_in(watched, None)  # what was raised, and not met yet

    watchdog = threading.Thread(target=watch, name="salsanity-time-limit", daemon=True)
    try:
        try:
            watchdog.start()
            yield
        finally:
            stop()
    except _OutOfTime:  # perhaps in the midst of `stop`
        stop()
        raise


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Let an exception come up in another thread at its next step in Python (None: take it back)."""
    given = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), given)

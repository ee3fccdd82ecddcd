"""Calling a function in a new process of its own, as contracts do to see what outlives this one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

from salsanity.units.files import Files, load_files, loaded_files

SECONDS: Final = 240
"""Time that the other process may take."""

START: Final = "import salsanity.testing.elsewhere as e; e.answer()"


def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `function(*arguments)` returns in a new process, with another seed of hashes; raise what it raises.

    Function, arguments and result must be picklable.
    """
    asked = pickle.dumps((function, arguments))
    question = pickle.dumps((loaded_files([asked]), asked))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    env["PYTHONHASHSEED"] = "1"
    done = subprocess.run(  # noqa: S603 - our own interpreter and our own words
        [sys.executable, "-c", START], input=question, capture_output=True, env=env, timeout=SECONDS
    )
    if done.returncode:
        raise AssertionError(f"the other process ended: {done.stderr.decode()[-2000:]}")
    answered, value = pickle.loads(done.stdout)  # noqa: S301 - from the process just started
    if not answered:
        raise value
    return value


def answer() -> None:
    """Read a function and its arguments from the standard input, call it, and write what came of it."""
    given: tuple[Files, bytes] = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - as above
    out, sys.stdout = sys.stdout, sys.stderr  # whatever the function prints
    try:
        load_files(given[0])
        function, arguments = pickle.loads(given[1])  # noqa: S301 - as above
        found = True, function(*arguments)
    except Exception as error:  # noqa: BLE001 - it is raised where the question came from
        found = False, error
    out.buffer.write(pickle.dumps(found))
    out.flush()

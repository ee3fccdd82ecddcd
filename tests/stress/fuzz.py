"""Coverage-guided fuzzing (atheris) of the parsers of method strings, idx files and files of options.

`python tests/stress/fuzz.py methods 600` fuzzes one target for ten minutes in one thread. Without atheris the same targets run on
random mutations of the corpus, without the guidance of coverage; the table says which it was.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ledger import Ledger

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def methods(data: bytes) -> None:
    """Take a string as a method, a similarity, and a list of both."""
    from salsanity import registry
    from salsanity.cli.values import listed, numbers
    from salsanity.errors import UsageError

    text = data.decode("utf-8", "surrogateescape")
    if ".py" in text or ":" in text:
        text = text.replace(":", ";")  # what is named there would be imported, as it should
    for read in (registry.parse_call, registry.canonical, registry.method, registry.similarity):
        try:
            read(text)
        except UsageError as error:
            _check_sentence(str(error))
    listed([text])
    try:
        numbers("--mean", text)
    except UsageError as error:
        _check_sentence(str(error))


def _check_sentence(text: str) -> None:
    if not text or len(text) > 4000:
        raise AssertionError(f"no sentence: {text[:200]!r}")


_PLACE = Path(tempfile.gettempdir()) / f"salsanity-fuzz-{os.getpid()}"


def idx(data: bytes) -> None:
    """Take bytes as an idx file."""
    from salsanity.data.idx import read_idx
    from salsanity.errors import DataError

    _PLACE.write_bytes(data)
    try:
        array = read_idx(_PLACE, max_bytes=2**16)
    except DataError as error:
        _check_sentence(str(error))
    else:
        if array.nbytes > 2**16:
            raise AssertionError(f"{array.nbytes} bytes from {len(data)}")


def specs(data: bytes) -> None:
    """Take bytes as a file of options, and as spec.json of a folder that is continued."""
    from salsanity.cli.check import groups
    from salsanity.cli.parameters import Given
    from salsanity.cli.wishes import wanted
    from salsanity.errors import StoreError, UsageError
    from salsanity.store.directory import DirectoryStore, asked_units
    from salsanity.suite.asking import is_readable

    _PLACE.write_bytes(data)
    try:
        wanted(Given({"model": "f.py:f", "config": _PLACE}, groups()))
    except UsageError as error:
        _check_sentence(str(error))
    recorded = DirectoryStore(_PLACE.parent).read_object(_PLACE.name)
    _PLACE.with_name(f"{_PLACE.name}.damaged").unlink(missing_ok=True)
    if recorded is None or not is_readable(recorded):
        return
    try:
        asked_units(recorded)
    except StoreError as error:
        _check_sentence(str(error))


TARGETS: dict[str, Callable[[bytes], None]] = {"methods": methods, "idx": idx, "specs": specs}


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process until the time is over; a crash ends the process with another code than 0."""
    if not HAS_ATHERIS:
        _without_guidance(TARGETS[name], name, seconds)
        return
    import atheris

    with atheris.instrument_imports(include=["salsanity", "ast", "tomllib", "gzip", "json"]):
        import salsanity.cli.wishes
        import salsanity.data.idx
        import salsanity.registry
        import salsanity.suite.asking  # noqa: F401
    with tempfile.TemporaryDirectory() as grown:
        options = [
            f"-max_total_time={seconds}",
            "-max_len=2048",
            "-rss_limit_mb=4096",
            "-timeout=20",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], grown, str(CORPUS / name), *options], TARGETS[name])
        atheris.Fuzz()


def _without_guidance(target: Callable[[bytes], None], name: str, seconds: int) -> None:
    seeds = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    chance, deadline, count = random.Random(1), time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(len(data) + 1)
            data[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        target(bytes(data))
        count += 1
    sys.stderr.write(f"stat::number_of_executed_units: {count}\n")


def stress(ledger: Ledger, *, seconds: int = 600) -> None:
    """Fuzz every target in a process of its own."""
    guided = (
        "atheris, guided by coverage"
        if HAS_ATHERIS
        else "random mutations: atheris is not installed"
    )
    for name in TARGETS:
        with ledger.entry(f"fuzzing the parser of {name} for {seconds} s ({guided})") as entry:
            done = subprocess.run(
                [sys.executable, __file__, name, str(seconds)],
                capture_output=True,
                text=True,
                check=False,
            )
            entry.attempt(
                done.returncode == 0, f"{name}: {done.stderr[-1500:]}{done.stdout[-500:]}"
            )
            counted = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
            entry.tried = int(counted[1]) if counted else entry.tried


if __name__ == "__main__":
    fuzz(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 600)

"""torch and torchvision of two indexes: every way to them ends in one sentence with the two commands that mend it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from salsanity.errors import mixed_builds

ROOT = Path(__file__).resolve().parent.parent.parent
MENDED = re.compile(
    r"torch \S+ and torchvision \S+ are builds that do not belong together .*"
    r"pip uninstall --yes torch torchvision; pip install torch==[\d.]+ torchvision --index-url \S+/cpu"
)
BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')\n"


def asked(folder: Path, *arguments: str, library: str = BROKEN) -> tuple[int, str]:
    """Ask the command line of a process that has such a torchvision."""
    for name in ("torchvision", "timm", "pytorch_grad_cam"):
        (folder / name).mkdir()
        own = library if name == "torchvision" else "import torchvision\n"
        (folder / name / "__init__.py").write_text(own)
    (folder / "mine.py").write_text("import torchvision\n\n\ndef build():\n    pass\n")
    path = os.pathsep.join([str(folder), str(ROOT / "src")])
    command = [sys.executable, "-m", "salsanity", *arguments]
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "2000"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("model", ["timm:resnet18", "mine.py:build"])
def test_the_first_check_names_the_builds_and_the_commands(tmp_path: Path, model: str) -> None:
    code, told = asked(tmp_path, "check", "--model", model, "--data", "digits")
    assert code == 2, told
    assert MENDED.search(told), told


def test_twin_a_library_that_is_broken_otherwise_is_not_blamed_on_builds(tmp_path: Path) -> None:
    code, told = asked(
        tmp_path,
        *("check", "--model", "torchvision:resnet18", "--data", "digits"),
        library="raise ImportError('no such file')\n",
    )
    assert code == 2
    assert "pip install 'salsanity[torchvision]'" in told
    assert not MENDED.search(told)


def test_the_reason_is_found_below_what_a_library_makes_of_it() -> None:
    low = RuntimeError("operator torchvision::nms does not exist")
    middle, high = ImportError("a module"), ModuleNotFoundError("Could not import module")
    middle.__cause__, high.__context__ = low, middle
    assert MENDED.search(mixed_builds(high) or "")
    low.__context__ = high  # a circle ends
    assert mixed_builds(high)
    assert mixed_builds(ValueError("operator does not exist")) is None

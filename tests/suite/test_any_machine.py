"""A run on a system without file locks, alarms, and flags against links, as Windows is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

LACKING = """
import os, signal, sys
sys.modules["fcntl"] = None
for module, names in ((signal, ("SIGALRM", "setitimer", "ITIMER_REAL")), (os, ("O_NOFOLLOW", "O_DIRECTORY"))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""

RUN = """
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from networks import chain, images
import salsanity
from salsanity.store.folder import machine_notes
from salsanity.units.containing import limit_note

def hangs(model, inputs, targets):
    while len(inputs):
        pass

for _ in range(2):  # the second time reads what the first wrote
    result = salsanity.model_randomization_test(
        chain(), images(count=8), methods=["gradient"], draws=2, gallery=1,
        similarities=["spearman"], out={out!r}, unit_timeout=300,
    )
print(len(result.scores), (result.folder / "report.html").exists())
print(len(machine_notes()), limit_note(300) is not None)
try:
    salsanity.model_randomization_test(
        chain(), images(count=8), methods=[hangs], draws=2, gallery=0,
        similarities=["spearman"], out={out!r} + "-hangs", unit_timeout=2,
    )
except salsanity.SalsanityError as error:
    print("ended:", error)
else:
    print("ended")
"""


def outcome(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    places = {"tests": str(Path(__file__).parents[1]), "out": str(folder / "run")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.format(**places)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_a_run_needs_neither_locks_nor_alarms_nor_flags_against_links(tmp_path: Path) -> None:
    done = outcome(LACKING + RUN, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0].endswith("True"), lines
    assert int(lines[0].split()[0]) > 0
    assert lines[1] == "3 True"
    assert lines[2].startswith("ended")
    assert json.loads((tmp_path / "run" / "spec.json").read_text("utf-8"))["check"]


TESTS = (
    "store/test_folder.py",
    "store/test_directory.py",
    "units/test_containing.py",
    "suite/test_folder_reuse.py",
)
"""Those that have to do with locks, links and time limits; the others do not know the system."""


def test_the_suite_passes_without_locks(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    code = (
        "import sys; sys.modules['fcntl'] = None\nimport pytest\n"
        "sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            f"--basetemp={tmp_path / 'base'}",
            *(str(root / t) for t in TESTS),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=root.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:]

"""Memory and start-up, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from subject import Row

CHILD = r"""
import json, re, sys
from pathlib import Path
import torch
from salsanity.models.reference import demo_network
from salsanity.data.images import open_folder
from salsanity.data.preprocessing import Preprocessing
import salsanity
count, samples, folder, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.manual_seed(0)
salsanity.model_randomization_test(
    demo_network(), open_folder(folder, preprocessing=Preprocessing(channels=1)),
    methods=["gradient", "smoothgrad"], similarities=["spearman"], draws=1,
    max_images=count, samples=samples, steps=2, batch_size=32, gallery=0, out=Path(out) / "run",
)
print(json.dumps(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024))
"""


def photographs(folder: Path, count: int, side: int) -> None:
    """Write different small grey images."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(count):
        pixels = random.integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05d}.png")


def peak(count: int, samples: int, folder: Path) -> float:
    """Return the peak resident memory of a run in MiB: VmHWM, since ru_maxrss remembers the process that started it."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", CHILD, str(count), str(samples), str(folder), out]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def memory() -> list[Row]:
    """Measure 1,000 images against 100, and 500 samples against 50."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs(folder, 1000, 32)
        few, many = peak(100, 5, folder), peak(1000, 5, folder)
        some, more = peak(100, 50, folder), peak(100, 500, folder)
    return [
        _row("resident memory, 1,000 images against 100", many, few),
        _row("resident memory, 500 samples against 50", more, some),
    ]


def _row(what: str, big: float, small: float) -> Row:
    figures = f"{big:.0f} MiB, {small:.0f} MiB"
    return Row(what, figures, "", "", big / small, "at most 1.1", big / small <= 1.1)


def _fastest(command: list[str], times: int = 5) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        found.append(time.perf_counter() - began)
    return min(found)


def startup() -> list[Row]:
    """Time `salsanity --help`, and `import salsanity` beyond a bare interpreter's start."""
    python = sys.executable
    help_ = _fastest([str(Path(python).parent / "salsanity"), "--help"])
    bare = _fastest([python, "-c", "pass"])
    imported = _fastest([python, "-c", "import salsanity"])
    return [
        Row("`salsanity --help`", f"{help_:.2f} s", "", "", help_, "below 0.5 s", help_ < 0.5),
        Row(
            "`import salsanity`, interpreter included",
            f"{imported:.3f} s",
            f"{bare:.3f} s (bare interpreter)",
            "",
            imported,
            "below 0.15 s",
            imported < 0.15,
        ),
    ]

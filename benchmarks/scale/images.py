"""Many small images through a tiny network on two Ray workers: killed once, continued, judged and reported.

    python benchmarks/scale/images.py FOLDER [--images 50000] [--workers 2] [--draws 2]

Generates IMAGES pictures of 32 x 32 pixels and a network of two layers in FOLDER, gives `salsanity check --executor ray`, ends it
with SIGKILL when a third of the units are there, and gives the same command again. Prints seconds to the first unit, to the end,
and of judging and reporting; the largest resident memory of the command (before it judged, and in all) and of a worker; and
whether a finished unit was computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NETWORK = """
import torch
from torch import nn

def tiny():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 10)
        ).eval()
"""
JUDGING = ("verdicts.json", "report.html")


def generate(folder: Path, count: int) -> None:
    """Write `count` pictures, 1,000 to a subfolder, and the network."""
    (folder / "network.py").write_text(NETWORK)
    pictures = folder / "pictures"
    if len(list(pictures.glob("*/*.png"))) == count:
        return
    chance = np.random.default_rng(0)
    for k in range(count):
        path = pictures / f"{k // 1000:04d}" / f"{k:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR).save(
            path, compress_level=1
        )


def command(folder: Path, asked: argparse.Namespace) -> list[str]:
    """Return the command that is given twice."""
    return [
        *(sys.executable, "-m", "salsanity", "check"),
        *("--model", f"{folder / 'network.py'}:tiny", "--images", str(folder / "pictures")),
        *("--max-images", str(asked.images), "--draws", str(asked.draws), "--gallery", "8"),
        *("--method", "gradient", "--similarity", "spearman", "--batch-size", "32"),
        *("--memory-format", "contiguous", "--size", "32", "--out", str(folder / "run")),
        *("--executor", "ray", "--workers", str(asked.workers), "--cpus-per-worker", "1"),
    ]


def peak(process: int) -> float:
    """Return the largest resident memory of a process so far, in MiB."""
    with suppress(OSError):
        for line in (Path("/proc") / str(process) / "status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return float(line.split()[1]) / 1024
    return 0.0


def workers(mark: str) -> Iterator[int]:
    """Yield the worker processes of a command, by the mark in their environment."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if not folder.name.isdigit() or mark.encode() not in (folder / "environ").read_bytes():
                continue
            if (folder / "cmdline").read_bytes().startswith(b"ray::Bench"):
                yield int(folder.name)


@dataclass
class Given:
    """One run of the command, and what was seen of it."""

    folder: Path
    told: dict[str, Any] = field(default_factory=dict)

    def units(self) -> int:
        """How many units are there."""
        return sum(1 for _ in (self.folder / "run" / "scores").glob("*.parquet"))

    def run(self, words: list[str], *, kill_at: int | None = None) -> int | None:
        """Run to the end, or until so many units are there; sample memory twice a second."""
        began, before = time.perf_counter(), self.units()
        mark = f"salsanity-scale-{os.getpid()}-{began}"
        env = {**os.environ, "SALSANITY_SCALE": mark}
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(words, env=env, stdout=log, stderr=log)
        while process.poll() is None:
            count, now = self.units(), round(time.perf_counter() - began, 1)
            if count > before:
                self.told.setdefault("seconds to the first unit", now)
            is_judging = any((self.folder / "run" / name).exists() for name in JUDGING)
            self._most("MiB of the command", peak(process.pid))
            if not is_judging:
                self._most("MiB of the command before it judged", peak(process.pid))
                self.told["seconds until all units were there"] = now
            for worker in workers(mark):
                self._most("MiB of a worker", peak(worker))
            if kill_at is not None and count >= kill_at:
                process.kill()
                process.wait()
                break
            time.sleep(0.5)
        self.told["seconds"] = round(time.perf_counter() - began, 1)
        return process.returncode

    def _most(self, name: str, value: float) -> None:
        self.told[name] = max(round(value), self.told.get(name, 0))


def main() -> int:
    """Generate, run, kill, continue, and print what was seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--draws", type=int, default=2)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    folder = asked.folder.resolve()
    generate(folder, asked.images)
    words, third = command(folder, asked), asked.images * asked.draws // 32 // 3
    first = Given(folder)
    code = first.run(words, kill_at=third)
    print(json.dumps({"run": "killed", "exit code": code, **first.told}), flush=True)
    kept = {p.name: p.stat().st_mtime_ns for p in (folder / "run" / "scores").iterdir()}
    second = Given(folder)
    code = second.run(words)
    now = {p.name: p.stat().st_mtime_ns for p in (folder / "run" / "scores").iterdir()}
    again = sum(now.get(name) != at for name, at in kept.items() if name.endswith(".parquet"))
    spec = json.loads((folder / "run" / "spec.json").read_text())
    found = {"units": len(now), "kept": len(kept), "computed again": again}
    found |= {"images": len(spec["images"]), "duplicates": spec["settings"]["duplicates"]}
    print(json.dumps({"run": "continued", "exit code": code, **second.told, **found}), flush=True)
    return int(code not in (0, 1, 3))


if __name__ == "__main__":
    sys.exit(main())

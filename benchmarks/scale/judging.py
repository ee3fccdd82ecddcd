"""Judging and reporting a large run: synthetic scores of IMAGES images, ten methods, four controls and DRAWS draws.

    python benchmarks/scale/judging.py FOLDER [--images 50000] [--draws 8]

Writes the folder by the product's own store (without waiting for the disk), unless it is there already, then judges and reports
it in a new process, whose seconds and largest resident memory count. Every unit's file is read once, and pages are checked by
their checksums; a file's own checksum is not checked again in the run that wrote it or began with it, so neither is it here
(`--suspicious` does).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from salsanity.records import CheckRecord, Line, Outcome, UnitKey, UnitResult, Words
from salsanity.store.directory import Brief, DirectoryStore, Finished, units_asked

METHODS = (
    *("gradient", "input_x_gradient", "smoothgrad", "smoothgrad_squared", "vargrad", "gradcam"),
    *("integrated_gradients", "integrated_gradients_smoothgrad", "guided_backprop"),
    "guided_gradcam",
)
CONTROLS = ("edge", "input", "noise", "noise_x_input")
VIEWS, SIMILARITIES = ("signed", "absolute"), ("spearman", "ssim", "hog")
KEPT = {"guided_backprop": 0.6, "guided_gradcam": 0.5, "edge": 1.0, "input": 1.0}
PER_UNIT = 32
STAGES = (("half", 1), ("full", 2))
RECORD = CheckRecord(
    name="cascade",
    words=Words("Synthetic", "Is it fast?", "they do not change", "was not caught"),
    lines=(
        Line("full", "full", 0.2, "after all layers are randomised", nothing=True),
        Line("half", "half", 0.75, "after the top half is randomised"),
    ),
    controls={"edge": Outcome.FAIL, "noise": Outcome.PASS},
    stages=tuple({"name": name, "index": index} for name, index in STAGES),
    states=("trained", "half", "full"),
    draws=8,
    measures=SIMILARITIES,
    is_course=True,
    init="module",
)


def ids_of(images: int) -> list[str]:
    """Return the ids of the images."""
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(images)]


def keys(images: int, draws: int) -> Iterator[UnitKey]:
    """Yield every unit of the run."""
    ids = ids_of(images)
    named = tuple(f"{m}#000000000000" for m in (*METHODS, *CONTROLS))
    measured = tuple(f"{s}#000000000000" for s in SIMILARITIES)
    for first in range(0, images, PER_UNIT):
        for draw in range(draws):
            chunk = tuple(ids[first : first + PER_UNIT])
            yield UnitKey("cascade", draw, chunk, ("half", "full"), named, measured, "0" * 64)


def result_of(key: UnitKey) -> UnitResult:
    """Return planted scores: similarity kept, an effect of the image, and one of image and draw."""
    number = int(key.images[0][:8], 16)
    chance = np.random.default_rng([number, key.draw])
    of_image = np.random.default_rng(number).normal(0, 0.05, len(key.images))
    columns: dict[str, list[Any]] = {}
    for method in (*METHODS, *CONTROLS):
        kept = KEPT.get(method, 0.02)
        cells = [(v, s) for v in VIEWS for s in SIMILARITIES]
        for view, similarity in cells:
            own = () if key.draw or method in CONTROLS else (("self", 0),)
            for stage, index in (*STAGES, *own):
                n = len(key.images)
                share = 1.0 if stage == "self" else kept if stage == "full" else min(1, kept + 0.2)
                values = 0.1 + share * 0.8 + of_image + chance.normal(0, 0.05, n)
                added = {
                    "check": ["cascade"] * n,
                    "draw": [key.draw] * n,
                    "stage": [stage] * n,
                    "stage_index": [index] * n,
                    "image": key.images,
                    "method": [method] * n,
                    "view": [view] * n,
                    "similarity": [similarity] * n,
                    "value": values.tolist(),
                    "chance": (0.1 + chance.normal(0, 0.05, n)).tolist(),
                    "reason": [None] * n,
                }
                for name, column in added.items():
                    columns.setdefault(name, []).extend(column)
    health = [{"check": "cascade", "stage": stage, "dead": 0, "images": n} for stage, _ in STAGES]
    return UnitResult(key, columns, {"health": [], "seconds": 1.0, "synthetic": health})


def document(images: int, draws: int) -> dict[str, Any]:
    """Return spec.json of the run."""
    listed = [
        {"id": i, "name": f"{k:06d}.png", "label": None, "target": 0}
        for k, i in enumerate(ids_of(images))
    ]
    return {
        "format_version": 2,
        "check": "cascade",
        "checks": [{**RECORD.to_json(), "draws": draws}],
        "versions": {},
        "hardware": {},
        "model": {"name": "synthetic", "fingerprint": "0" * 64, "parameters": 1},
        "data": {"name": "synthetic", "class_names": None},
        "images": listed,
        "methods": list(METHODS),
        "controls": list(CONTROLS),
        "similarities": list(SIMILARITIES),
        "views": list(VIEWS),
        "target": "trained",
        "seed": 0,
        "batch_size": 32,
        "gallery": 0,
        "settings": {
            "identity": {},
            "recorded_images": listed,
            "units": units_asked(list(keys(images, draws))),
        },
    }


def write(folder: Path, images: int, draws: int) -> None:
    """Write the folder; print what a unit costs the process that stores it."""
    store, fsync = DirectoryStore(folder), os.fsync
    count = rows = 0
    seconds = 0.0
    os.fsync = lambda *_: None  # type: ignore[assignment]
    for key in keys(images, draws):
        result = result_of(key)
        began = time.process_time()
        store.put(result)
        seconds += time.process_time() - began
        count, rows = count + 1, rows + len(result.columns["value"])
    os.fsync = fsync
    store.write_json("spec.json", document(images, draws))
    size = sum(path.stat().st_size for path in (folder / "scores").iterdir())
    told = {
        "units": count,
        "rows": rows,
        "ms of CPU to store a unit": round(1e3 * seconds / count, 2),
        "MB per million rows": round(size / rows, 2),
        "GB": round(size / 1e9, 3),
    }
    (folder / "written.json").write_text(json.dumps(told))
    print(json.dumps(told), flush=True)


def judge(folder: Path, *, suspicious: bool) -> None:
    """Judge and report the folder in this process, and print what it took."""
    from salsanity.narrator import Silent
    from salsanity.suite.judging import Facts, conclude

    store = DirectoryStore(folder)
    spec = store.read_json("spec.json")
    if not suspicious:  # as the run does that wrote the files
        for key in keys(len(spec["images"]), spec["checks"][0]["draws"]):
            path = store.unit_path(key)
            at = path.stat()
            looked = (at.st_size, at.st_mtime_ns, at.st_ino)
            store._known[path.name] = Finished(Brief.of(key), looked)
    wall, cpu = time.perf_counter(), time.process_time()
    conclude(store, spec, Facts({}, None, (), 0.0), Silent())
    told = {
        "seconds": round(time.perf_counter() - wall, 1),
        "CPU seconds": round(time.process_time() - cpu, 1),
        "GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "verdicts": len(json.loads((folder / "verdicts.json").read_text())),
        "MB of the page": round((folder / "report.html").stat().st_size / 1e6, 2),
    }
    print(json.dumps(told), flush=True)


def main() -> int:
    """Write the folder if need be, and judge it in a new process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--suspicious", action="store_true", help="check every file's own checksum")
    parser.add_argument("--only-judge", action="store_true", help="what the new process does")
    asked = parser.parse_args()
    if asked.only_judge:
        judge(asked.folder, suspicious=asked.suspicious)
        return 0
    if not (asked.folder / "spec.json").exists():
        write(asked.folder, asked.images, asked.draws)
    more = ["--suspicious"] if asked.suspicious else []
    command = [sys.executable, __file__, str(asked.folder), "--only-judge", *more]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

"""What speed and memory come to, as ratios measured in one run on one machine.

    python benchmarks/performance --data DATA/imagenet [--run RUN_FOLDER ...] [--only PART ...]

DATA/imagenet holds `resnet18.py` and `resnet18.safetensors`. The peer needs Quantus 0.6 (`pip install quantus==0.6.0`); without
it its lines say "not run". `--run`: finished runs, on whose scores `--until-decided` is replayed.
Nothing else should run on the machine meanwhile. About 18 minutes on two cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import torch
from foreign import foreign
from memory import memory, startup
from once import once
from outside import rest
from peer import peer, whole
from rounds import rounds
from subject import HEADER, Row

from passes import passes, similarities

PARTS = ("passes", "peer", "memory", "startup", "rounds", "outside", "explainers")
LONG = ("peer-whole",)
"""Parts that run only where they are asked for: an hour and more."""


def rows_of(part: str, options: argparse.Namespace) -> Iterable[Row]:
    """Measure one part."""
    if part == "passes":
        found, one_pass = passes(options.data)
        return [*found, similarities(one_pass), once(options.data)]
    if part in ("peer", "peer-whole"):
        if importlib.util.find_spec("quantus") is None:
            return [
                Row("against Quantus + Captum", "", "", "", None, "10 times", None, "no quantus")
            ]
        return peer(options.data) if part == "peer" else whole(options.data)
    if part == "outside":
        return rest(options.data)
    if part == "explainers":
        return foreign(options.data)
    if part == "rounds":
        if options.run is None:
            return [Row("--until-decided", "", "", "", None, "at most 0.33", None, "no --run")]
        return map(rounds, options.run)
    return {"memory": memory, "startup": startup}[part]()


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, nargs="+")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, *LONG], default=list(PARTS))
    options = parser.parse_args()
    began = time.perf_counter()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}\n\n{HEADER}"
    )
    for part in options.only:
        for row in rows_of(part, options):
            print(row.markdown(), flush=True)
            print(f"{part}: {time.perf_counter() - began:.0f} s so far", file=sys.stderr)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

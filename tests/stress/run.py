"""Runs all stress programs and prints what was tried, how often, and what was lost.

    python tests/stress/run.py            all of it: about two hours
    python tests/stress/run.py --short    some of each: a few minutes
    python tests/stress/run.py kills      one program; the names are those of the files beside this one

The exit code is 0 if nothing was lost.
"""

from __future__ import annotations

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported: forked children must not share a pool of threads

import argparse
import sys
from collections.abc import Callable

import bad_input
import clusters
import cuts
import disk
import fuzz
import kills
import memory
import process
import same
import security
import together
from ledger import Ledger

Program = Callable[[Ledger], None]

WHOLE: dict[str, Program] = {
    "kills": kills.stress,
    "disk": disk.stress,
    "cuts": cuts.stress,
    "together": together.stress,
    "same": same.stress,
    "bad_input": bad_input.stress,
    "memory": memory.stress,
    "security": security.stress,
    "process": process.stress,
    "clusters": clusters.stress,
    "fuzz": fuzz.stress,
}

SHORT: dict[str, Program] = {
    "kills": lambda ledger: kills.stress(ledger, kills=10),
    "disk": lambda ledger: disk.stress(ledger, step=12, sizes=(8, 72)),
    "cuts": lambda ledger: cuts.stress(ledger, most=200, per_file=1),
    "together": lambda ledger: together.stress(ledger, times=1),
    "same": lambda ledger: same.stress(ledger, examples=2),
    "bad_input": lambda ledger: bad_input.stress(ledger, every=12),
    "memory": memory.stress,
    "security": security.stress,
    "process": lambda ledger: process.stress(ledger, runs=10),
    "clusters": lambda ledger: clusters.stress(ledger, kills=3, drivers=2, nodes=1, signals=1),
    "fuzz": lambda ledger: fuzz.stress(ledger, seconds=5),
}


def main() -> int:
    """Run the programs that are asked for, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("programs", nargs="*", choices=[*WHOLE, []], help="default: all")
    parser.add_argument("--short", action="store_true", help="some of each")
    asked = parser.parse_args()
    ledger = Ledger()
    for name in asked.programs or WHOLE:
        (SHORT if asked.short else WHOLE)[name](ledger)
    print(ledger.table())
    print(f"\nLost: {ledger.lost}.")
    return int(ledger.lost > 0)


if __name__ == "__main__":
    sys.exit(main())

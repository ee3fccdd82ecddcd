"""Prints, as requirements, the lowest versions that pyproject.toml admits and that have wheels for the Python at hand.

Usage: python scripts/oldest.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.version import Version

ROOT: Final = Path(__file__).resolve().parent.parent
LISTED: Final = re.compile(r"^Available versions: (.*)$", re.MULTILINE)


def lowest(requirement: Requirement, versions: Iterable[str]) -> Version:
    """Return the lowest version that the requirement admits; `ValueError` where there is none."""
    return min(Version(v) for v in versions if requirement.specifier.contains(v))


def offered(name: str) -> list[str]:
    """Return the versions of which the index has a wheel for this Python."""
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--only-binary", ":all:"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = LISTED.search(told)
    return found[1].split(", ") if found else []


def pinned(name: str) -> str:
    """Return the line of constraints.txt for a distribution."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def main() -> int:
    """Print a line for each requirement."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["captum"]]
    for requirement in map(Requirement, wanted):
        if requirement.name == "torch" and not os.environ.get("OLDEST_TORCH"):
            print(pinned("torch"))
        else:
            print(f"{requirement.name}=={lowest(requirement, offered(requirement.name))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

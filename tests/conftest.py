"""Fixtures that every test may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
collect_ignore = ["assets"]  # repositories and runs that tests look at


def shared_data_folder() -> Path:
    """Where the real data sets lie: SALSANITY_DATA, or shared/data beside the checkout."""
    return Path(os.environ.get("SALSANITY_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; the test skips where it is absent."""
    folder = shared_data_folder()
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder} (set SALSANITY_DATA)")
    return folder

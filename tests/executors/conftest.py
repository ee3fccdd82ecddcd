"""One small Ray of this machine for the tests of this folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salsanity.executors.workers import Workers

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="package")
def runner() -> Iterator[Any]:
    """Ray with room for two workers, which stay for as long as the job is the same."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'salsanity[ray]'")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    from salsanity.executors.ray import RayExecutor

    found = RayExecutor(Workers(workers=2))
    yield found
    found.close()
    ray.shutdown()

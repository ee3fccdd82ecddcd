"""The executor ray, on one small Ray of this machine: the contract."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from salsanity.executors.workers import Workers
from salsanity.testing import ExecutorContract, executors
from salsanity.testing.jobs import small_job
from salsanity.units.job import Job

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'salsanity[ray]'")


@cache
def one_job(draws: int = 2) -> Job:
    return small_job(draws=draws)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Ray with room for two workers."""
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def runner(cluster: None) -> Iterator[Any]:
    """Two workers, which stay for as long as the job is the same."""
    from salsanity.executors.ray import RayExecutor

    found = RayExecutor(Workers(workers=2))
    yield found
    found.close()


class TestRay(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _take(self, runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runner = runner
        monkeypatch.setattr(executors, "small_job", one_job)  # one object: its workers stay

    def executor(self) -> Any:
        return self.runner

"""The executor ray keeps the contract of executors."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from salsanity.testing import ExecutorContract, executors
from salsanity.testing.jobs import small_job
from salsanity.units.job import Job


@cache
def one_job(draws: int = 2) -> Job:
    return small_job(draws=draws)


class TestRay(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _take(self, runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runner = runner
        monkeypatch.setattr(executors, "small_job", one_job)  # one object: its workers stay

    def executor(self) -> Any:
        return self.runner

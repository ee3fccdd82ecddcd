"""One call, and the run that wandb keeps offline holds the result."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salsanity.errors import UsageError
from salsanity.integrations.findings import numbers, outcomes
from salsanity.suite.result import Result

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("wandb", reason="the extra wandb is not installed")


def test_a_result_lies_in_the_run(result: Result, wandb: Any, tmp_path: Path) -> None:
    from salsanity.integrations.wandb import log_result

    with wandb.init(project="salsanity", dir=tmp_path) as run:
        log_result(result)
        summary, config = dict(run.summary), dict(run.config)
    for name, value in numbers(result, prefix="salsanity").items():
        assert summary[name] == pytest.approx(value), name
    for name, outcome in outcomes(result, prefix="salsanity/outcome").items():
        assert summary[name] == outcome
    assert config["salsanity.images"] == 6
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    kept = file.read_bytes()
    for told in (b"salsanity/findings", b"salsanity-run", b"salsanity/cascade/gradient"):
        assert told in kept, told


def test_without_a_run_it_says_what_to_do(result: Result, wandb: Any) -> None:
    from salsanity.integrations.wandb import log_result

    with pytest.raises(UsageError, match=r"wandb.init\(\)"):
        log_result(result)

"""One call, and MLflow's own client reads the result back; a file store, no server."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salsanity.integrations.findings import numbers, outcomes
from salsanity.suite.result import Result


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library itself, while it is imported
        library = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
        library.set_tracking_uri((tmp_path / "mlruns").as_uri())
        yield library
        library.end_run()


@pytest.mark.filterwarnings("ignore")
def test_a_result_is_read_back_by_its_own_client(
    result: Result, mlflow: Any, tmp_path: Path
) -> None:
    from salsanity.integrations.mlflow import log_result

    with mlflow.start_run() as run:
        log_result(result, step=3)
    client = mlflow.MlflowClient()
    data = client.get_run(run.info.run_id).data
    wanted = numbers(result, prefix="salsanity")
    assert data.metrics == pytest.approx(wanted)
    assert (
        client.get_metric_history(run.info.run_id, "salsanity/cascade/gradient/retained")[0].step
        == 3
    )
    assert data.params["salsanity.images"] == "6"
    for name, outcome in outcomes(result, prefix="salsanity").items():
        assert data.tags[name.replace("/", ".")] == outcome
    listed = {file.path for file in client.list_artifacts(run.info.run_id, "salsanity")}
    assert {
        "salsanity/report.html",
        "salsanity/spec.json",
        "salsanity/verdicts.json",
        "salsanity/findings.json",
    } <= listed


@pytest.mark.filterwarnings("ignore")
def test_without_artifacts_no_picture_leaves_the_machine(result: Result, mlflow: Any) -> None:
    from salsanity.integrations.mlflow import log_result

    with mlflow.start_run() as run:
        log_result(result, prefix="mine", artifacts=False)
    listed = mlflow.MlflowClient().list_artifacts(run.info.run_id)
    assert [file.path for file in listed] == ["mine"]
    inside = mlflow.MlflowClient().list_artifacts(run.info.run_id, "mine")
    assert [file.path for file in inside] == ["mine/findings.json"]

"""MLflow: a result as parameters, metrics, tags, a table and artifacts of a run."""

from __future__ import annotations

from typing import Any

try:
    import mlflow
except ImportError as error:
    raise ImportError(
        "salsanity.integrations.mlflow needs MLflow, which cannot be imported; pip install 'salsanity[mlflow]'"
    ) from error

from salsanity.integrations.findings import as_table, findings, numbers, outcomes, settings
from salsanity.suite.result import Result

__all__ = ["log_result"]


def log_result(
    result: Result, *, prefix: str = "salsanity", step: int | None = None, artifacts: bool = True
) -> None:
    """Log a result to the active run of MLflow, which is started where there is none.

    What is retained becomes metrics `prefix/check/method/retained` with `.../low` and `.../high`, outcomes become tags
    `prefix.check.method`, sizes and seed parameters, and what was found a table `prefix/findings.json`. `artifacts`: the run
    folder too; it holds a few images and their maps, unless the check was run with `gallery=0`. `step`: that of the metrics.
    """
    tags: dict[str, Any] = {
        name.replace("/", "."): outcome for name, outcome in outcomes(result, prefix=prefix).items()
    }
    mlflow.log_params(settings(result, prefix=prefix))
    mlflow.log_metrics(numbers(result, prefix=prefix), step=step)
    mlflow.set_tags(tags)
    mlflow.log_table(dict(as_table(findings(result))), f"{prefix}/findings.json")
    if artifacts:
        mlflow.log_artifacts(str(result.folder), artifact_path=prefix)

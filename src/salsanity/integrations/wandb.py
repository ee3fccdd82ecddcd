"""Weights & Biases: a result as numbers, a table, a page and an artifact of a run."""

from __future__ import annotations

from typing import Any

try:
    import wandb
except ImportError as error:
    raise ImportError(
        "salsanity.integrations.wandb needs wandb, which cannot be imported; pip install 'salsanity[wandb]'"
    ) from error

import pandas as pd

from salsanity.errors import UsageError
from salsanity.integrations.findings import as_table, findings, numbers, outcomes, settings
from salsanity.suite.result import Result

__all__ = ["log_result"]


def log_result(
    result: Result, *, run: Any = None, prefix: str = "salsanity", artifacts: bool = True
) -> None:
    """Log a result to a run of Weights & Biases, by default the active one.

    What is retained becomes numbers `prefix/check/method/retained` with `.../low` and `.../high`, outcomes stand in the summary
    under `prefix/outcome/...`, sizes and seed in the configuration, and what was found in a table `prefix/findings`.
    `artifacts`: the report as a page, and the run folder; both hold a few images and their maps, unless the check was run with
    `gallery=0`. Raises `UsageError` where no run is active.
    """
    active = run if run is not None else wandb.run
    if active is None:
        raise UsageError(
            "expected a run of Weights & Biases, got none; call wandb.init() first or pass run="
        )
    table = wandb.Table(dataframe=pd.DataFrame(as_table(findings(result))))
    active.config.update(settings(result, prefix=prefix), allow_val_change=True)
    active.summary.update(outcomes(result, prefix=f"{prefix}/outcome"))
    active.log({**numbers(result, prefix=prefix), f"{prefix}/findings": table})
    if artifacts:
        _log_files(active, result, prefix)


def _log_files(run: Any, result: Result, prefix: str) -> None:
    page = result.folder / "report.html"
    if page.is_file():
        run.log({f"{prefix}/report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)})
    artifact = wandb.Artifact(prefix, type="salsanity-run")
    artifact.add_dir(str(result.folder))
    run.log_artifact(artifact)

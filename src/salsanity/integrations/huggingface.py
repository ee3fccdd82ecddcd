"""Hugging Face: a result as `model-index` metadata and a block of a model card."""

from __future__ import annotations

import math
import re
from typing import Any, Final

try:
    from huggingface_hub import EvalResult, ModelCard, ModelCardData
except ImportError as error:
    raise ImportError(
        "salsanity.integrations.huggingface needs huggingface_hub, which cannot be imported; pip install 'salsanity[huggingface]'"
    ) from error

from salsanity.integrations.findings import Finding, findings
from salsanity.report import card_of
from salsanity.suite.result import Result

__all__ = ["model_card", "results"]

BEGIN: Final = "<!-- salsanity: written by salsanity.integrations.huggingface.model_card -->"
END: Final = "<!-- end of salsanity -->"
BLOCK: Final = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}\n?", re.DOTALL)
METRIC: Final = "retained_similarity"
TASK: Final = "image-classification"


def model_card(
    result: Result,
    card: ModelCard | str | None = None,
    *,
    model_name: str | None = None,
    dataset_name: str,
    dataset_type: str | None = None,
) -> ModelCard:
    """Return a model card with a result: the card as a table, and its numbers as `model-index` metadata.

    `card`: the model card to add to, or its text; a block and numbers that this function put there before are replaced, all
    else stays. Without one a card is begun. `dataset_name`, `dataset_type`: the images that were explained, as a name and as
    its identifier on the hub; the metadata cannot do without. Nothing is uploaded: `card.save(path)` and `card.push_to_hub` are
    the library's own.
    """
    given = ModelCard(str(card)) if card is not None else _begun(result, model_name)
    data = given.data
    data.model_name = model_name or data.model_name or _network(result)
    kept = [one for one in data.eval_results or () if one.metric_type != METRIC]
    data.eval_results = [*kept, *results(result, dataset_name, dataset_type=dataset_type)]
    block = f"{BEGIN}\n{card_of(result.run).to_markdown()}\n{END}\n"
    text = BLOCK.sub("", given.text).rstrip("\n")
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{text}\n\n{block}")


def results(
    result: Result, dataset_name: str, *, dataset_type: str | None = None
) -> list[EvalResult]:
    """Return what was measured as results of the `model-index` format, one per check and method.

    The value is the retained similarity; method, outcome, 90 % interval and reason stand in `metric_args`.
    """
    kind = dataset_type or re.sub(r"[^a-z0-9._-]+", "-", dataset_name.lower()).strip("-")
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=kind,
            dataset_name=dataset_name,
            metric_type=METRIC,
            metric_name=f"{one.check}: {one.method}: {one.outcome}",
            metric_value=round(one.number, 4),
            metric_args=_arguments(one),
        )
        for one in findings(result)
        if math.isfinite(one.number)
    ]


def _arguments(one: Finding) -> dict[str, Any]:
    interval = [round(bound, 4) for bound in (one.low, one.high) if math.isfinite(bound)]
    return {
        "check": one.check,
        "method": one.method,
        "outcome": str(one.outcome),
        **({"interval_90": interval} if interval else {}),
        "reason": one.reason,
        "trusted": one.is_trusted,
    }


def _begun(result: Result, model_name: str | None) -> ModelCard:
    name = model_name or _network(result)
    data = ModelCardData(model_name=name, pipeline_tag=TASK)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n# {name}\n")


def _network(result: Result) -> str:
    return next((part.model_name for part in result.run.parts), "network")

"""Sanity checks for saliency maps (Adebayo et al., NeurIPS 2018), calibrated and made for daily use.

Public names are loaded when they are first used (PEP 562), so that `import salsanity` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salsanity.errors import (
        DataError,
        FailuresFound,
        MethodError,
        ModelError,
        SalsanityError,
        SimilarityError,
        SpecError,
        StoreError,
        TrainingError,
        UsageError,
    )
    from salsanity.records import Outcome
    from salsanity.suite import (
        data_randomization_test,
        merge,
        model_randomization_test,
        run,
        shortcut_test,
    )
    from salsanity.suite.result import Result
    from salsanity.units.batch import partner_maps, retained_similarity
    from salsanity.units.spec import RunSpec

__version__ = "0.1.0"

_HOMES = {
    "DataError": "salsanity.errors",
    "FailuresFound": "salsanity.errors",
    "MethodError": "salsanity.errors",
    "ModelError": "salsanity.errors",
    "Outcome": "salsanity.records",
    "Result": "salsanity.suite.result",
    "RunSpec": "salsanity.units.spec",
    "SalsanityError": "salsanity.errors",
    "SimilarityError": "salsanity.errors",
    "SpecError": "salsanity.errors",
    "StoreError": "salsanity.errors",
    "TrainingError": "salsanity.errors",
    "UsageError": "salsanity.errors",
    "data_randomization_test": "salsanity.suite",
    "merge": "salsanity.suite",
    "model_randomization_test": "salsanity.suite",
    "partner_maps": "salsanity.units.batch",
    "retained_similarity": "salsanity.units.batch",
    "run": "salsanity.suite",
    "shortcut_test": "salsanity.suite",
}

__all__ = [
    "DataError",
    "FailuresFound",
    "MethodError",
    "ModelError",
    "Outcome",
    "Result",
    "RunSpec",
    "SalsanityError",
    "SimilarityError",
    "SpecError",
    "StoreError",
    "TrainingError",
    "UsageError",
    "__version__",
    "data_randomization_test",
    "merge",
    "model_randomization_test",
    "partner_maps",
    "retained_similarity",
    "run",
    "shortcut_test",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'salsanity' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The public surface is pinned."""

from __future__ import annotations

import pytest

import salsanity


def test_all_is_what_it_was() -> None:
    assert salsanity.__all__ == [
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


def test_every_public_name_loads() -> None:
    for name in salsanity.__all__:
        assert getattr(salsanity, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = salsanity.no_such_name

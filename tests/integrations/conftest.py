"""One small run that every library is told of."""

from __future__ import annotations

from pathlib import Path

import pytest

import salsanity
from salsanity.suite.result import Result
from salsanity.testing.networks import small_network, some_images


def odd(model, inputs, targets):  # type: ignore[no-untyped-def]
    """Run the network, and see the input alone."""
    model(inputs)
    return inputs.abs()


@pytest.fixture(scope="session")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder: Path = tmp_path_factory.mktemp("runs") / "small"
    return salsanity.run(
        ["cascade", "repeat"],
        small_network(),
        some_images(6),
        methods=["gradient", "smoothgrad(samples=2, sd=0.1)", odd],
        similarities=["spearman", "cosine"],
        draws=3,
        out=folder,
        name="small",
    )

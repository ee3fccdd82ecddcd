"""Run folders that the tests of the report read."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_run import Recipe, write_cascade, write_labels, write_several

FOUR = ("fc2", "fc1", "conv2", "conv1")


@pytest.fixture(scope="session")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the cascade with hostile names."""
    recipe = Recipe(stages=FOUR, images=8, gallery=3, side=28)
    return write_cascade(tmp_path_factory.mktemp("cascade"), recipe)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the cascade with harmless names, another initialiser and three stages fewer."""
    recipe = Recipe(stages=("fc", "conv"), images=6, gallery=2, side=20, hostile=False, init="he")
    return write_cascade(tmp_path_factory.mktemp("plain"), recipe)


@pytest.fixture(scope="session")
def distrusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose edge detector passed; stages for the verdict alone."""
    recipe = Recipe(
        stages=FOUR, images=8, gallery=2, side=20, trusted=False, mode="verdict", hostile=False
    )
    return write_cascade(tmp_path_factory.mktemp("distrusted"), recipe)


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the data randomisation test."""
    recipe = Recipe(stages=("full",), images=8, gallery=2, side=20)
    return write_labels(tmp_path_factory.mktemp("labels"), recipe)


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three checks, two of which nobody knows."""
    recipe = Recipe(stages=FOUR, images=8, gallery=2, side=20, hostile=False)
    return write_several(tmp_path_factory.mktemp("several"), recipe)


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the cascade as format 1 wrote it."""
    recipe = Recipe(stages=FOUR, images=8, gallery=1, side=20, hostile=False, format=1)
    return write_cascade(tmp_path_factory.mktemp("old"), recipe)

"""Run folders that earlier versions wrote, kept in tests/assets, stay readable."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from salsanity.errors import StoreError
from salsanity.report import read_run, write_report
from salsanity.store.directory import DirectoryStore
from salsanity.suite.result import ExitCode, Result

ASSETS = Path(__file__).resolve().parent.parent / "assets"
OLD = ("check-format-1", "labels-format-1")


@pytest.fixture(params=OLD)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(ASSETS / request.param, tmp_path / "run")
    return tmp_path / "run"


def test_scores_and_verdicts_are_read(folder: Path) -> None:
    result = Result(folder)
    assert result.spec["format_version"] == 2  # as today's folders say it
    assert result.exit_code in set(ExitCode)
    assert set(result.headlines["method"]) == {"gradient", "smoothgrad"}
    assert set(result.scores["method"]) >= {"gradient", "smoothgrad", "edge", "noise"}
    assert result.scores["value"].notna().all()
    files = list((folder / "scores").iterdir())
    assert len(list(DirectoryStore(folder).records())) == len(files) > 0


def test_the_report_is_made_again(folder: Path) -> None:
    run = read_run(folder)
    assert run.parts[0].gallery[0].photo().shape == (3, 16, 16)
    assert write_report(folder).stat().st_size > 10_000


def test_a_folder_of_a_later_format_is_refused(folder: Path) -> None:
    spec = folder / "spec.json"
    spec.write_text(spec.read_text().replace('"format_version": 1', '"format_version": 3'))
    with pytest.raises(StoreError, match="version"):
        read_run(folder)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from salsanity.records import Outcome
from salsanity.report import read_run
from salsanity.report.compare import compare_runs
from salsanity.report.html import render


def test_equal_runs_do_not_differ(cascade: Path) -> None:
    run = read_run(cascade)
    (found,) = compare_runs(run, run)
    assert found.differences == []
    assert not any(pair.changed for pair in found.pairs)
    assert found.names == ("first run", "second run")
    assert found.sentence.startswith("The runs have the same settings; all 10 methods")


def test_settings_that_differ_are_named(cascade: Path, plain: Path) -> None:
    (found,) = compare_runs(read_run(cascade), read_run(plain))
    by_key = {d.key: (d.first, d.second) for d in found.differences}
    assert by_key["init"] == ("module", "he")
    assert by_key["stages"] == ("fc2, fc1, conv2, conv1", "fc, conv")
    assert "draws" not in by_key
    assert found.names[1] == "reference:cnn"


def test_a_verdict_that_changes_is_named(cascade: Path) -> None:
    run = read_run(cascade)
    verdicts = tuple(
        replace(v, outcome=Outcome.FAIL) if v.method == "gradient" and v.view is None else v
        for v in run.parts[0].verdicts
    )
    other = replace(run, parts=(replace(run.parts[0], verdicts=verdicts),))
    (found,) = compare_runs(run, other)
    assert "the verdict changes for Gradient (PASS to FAIL)." in found.sentence
    assert [p.name for p in found.pairs if p.changed] == ["Gradient"]
    assert "the verdict changes" in render(run, other)


def test_methods_of_one_run_alone_are_shown(cascade: Path) -> None:
    run = read_run(cascade)
    spec = dict(run.spec) | {"methods": ["gradient"]}
    fewer = replace(run, spec=spec, parts=(replace(run.parts[0], spec=spec),))
    (found,) = compare_runs(fewer, run)
    assert [p.first is None for p in found.pairs] == [False, *[True] * 9]
    assert "not run" in render(fewer, run)


def test_a_second_run_that_cannot_be_trusted_is_marked(cascade: Path, distrusted: Path) -> None:
    (found,) = compare_runs(read_run(cascade), read_run(distrusted))
    assert any("edge was expected" in reason for reason in found.distrust)
    assert "cannot be trusted." in render(read_run(cascade), read_run(distrusted))


def test_each_check_that_both_runs_hold_is_compared(several: Path, cascade: Path) -> None:
    run = read_run(several)
    assert [c.check for c in compare_runs(run, run)] == [p.record.words.title for p in run.parts]
    assert len(compare_runs(run, read_run(cascade))) == 1
    assert "Two runs side by side" in render(run, run)


def test_the_setting_that_was_meant_comes_first(cascade: Path, plain: Path) -> None:
    (found,) = compare_runs(read_run(cascade), read_run(plain))
    assert found.differences[0].key == "init"
    assert "settings units" not in {d.key for d in found.differences}

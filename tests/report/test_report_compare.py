from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from salsanity.records import Outcome
from salsanity.report import Run, read_run
from salsanity.report.compare import compare_runs, signed
from salsanity.report.html import render
from salsanity.rows import Rows


def test_equal_runs_do_not_differ(cascade: Path) -> None:
    run = read_run(cascade)
    (found,) = compare_runs(run, run)
    assert found.differences == []
    assert not any(row.changed for row in found.rows)
    assert found.names == ("run 1", "run 2")
    assert found.sentence.startswith("The runs have the same settings; all 10 methods")


def test_settings_that_differ_are_named(cascade: Path, plain: Path) -> None:
    (found,) = compare_runs(read_run(cascade), read_run(plain))
    by_key = {d.key: d.values for d in found.differences}
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
    assert [row.name for row in found.rows if row.changed] == ["Gradient"]
    assert "the verdict changes" in render(run, other)


def test_methods_of_one_run_alone_are_shown(cascade: Path) -> None:
    run = read_run(cascade)
    spec = dict(run.spec) | {"methods": ["gradient"]}
    fewer = replace(run, spec=spec, parts=(replace(run.parts[0], spec=spec),))
    (found,) = compare_runs(fewer, run)
    assert [row.entries[0].row is None for row in found.rows] == [False, *[True] * 9]
    assert "not run" in render(fewer, run)


def test_a_second_run_that_cannot_be_trusted_is_marked(cascade: Path, distrusted: Path) -> None:
    (found,) = compare_runs(read_run(cascade), read_run(distrusted))
    ((name, reasons),) = found.distrust
    assert name == found.names[1]
    assert any("edge was expected" in reason for reason in reasons)
    assert "cannot be trusted." in render(read_run(cascade), read_run(distrusted))


def test_each_check_that_both_runs_hold_is_compared(several: Path, cascade: Path) -> None:
    run = read_run(several)
    assert [c.check for c in compare_runs(run, run)] == [p.record.words.title for p in run.parts]
    assert len(compare_runs(run, read_run(cascade))) == 1
    assert "Two runs side by side" in render(run, run)


def test_the_setting_that_was_meant_comes_first(cascade: Path, plain: Path) -> None:
    (found,) = compare_runs(read_run(cascade), read_run(plain))
    assert found.differences[1].key == "init"  # after the network's name
    assert "settings units" not in {d.key for d in found.differences}


def test_any_number_of_runs_stands_side_by_side_with_differences(
    cascade: Path, plain: Path, distrusted: Path
) -> None:
    first, second, third = map(read_run, (cascade, plain, distrusted))
    (found,) = compare_runs(first, second, third)
    assert len(found.names) == len(set(found.names)) == 3
    for row in found.rows:
        assert [entry.row is not None for entry in row.entries] == [True] * 3
        assert row.entries[0].shift is None
    text = render(first, second, third)
    assert "Three runs side by side" in text
    shifts = [e.shift for row in found.rows for e in row.entries[1:] if e.shift]
    assert shifts
    assert all(f'<b class="num">{shift.text}</b>' in text for shift in shifts)
    assert "6 shared images, 3 shared draws" in text


def test_the_setting_that_was_meant_names_the_runs(cascade: Path) -> None:
    run = read_run(cascade)
    (part,) = run.parts
    record = replace(part.record, init="he")
    other = replace(run, parts=(replace(part, record=record),))
    (found,) = compare_runs(run, other)
    assert found.names == ("init module", "init he")
    assert [d.key for d in found.differences] == ["init"]


def test_what_follows_from_another_setting_is_shown_last(cascade: Path, plain: Path) -> None:
    (found,) = compare_runs(read_run(cascade), read_run(plain))
    keys = [d.key for d in found.differences]
    assert keys[-1] == "stages"
    assert keys.index("init") < keys.index("stages")


def test_equal_runs_have_no_difference(cascade: Path) -> None:
    run = read_run(cascade)
    (found,) = compare_runs(run, run)
    for row in found.rows:
        shift = row.entries[1].shift
        assert shift is not None
        assert (shift.found.value, shift.found.low, shift.found.high) == (0, 0, 0)
        assert not shift.found.is_clear


def test_what_was_measured_or_is_a_sentence_is_no_setting(cascade: Path) -> None:
    run = read_run(cascade)
    (part,) = run.parts
    settings = {
        **part.spec["settings"],
        **{"notes": ["Warning: odd."], "memory_format": "channels_last", "batched": {"mine": True}},
        **{"image_problems": ["a.png is broken"], "baseline_pool": 3},
    }
    data = {**part.spec["data"], "preprocessing": {"size": 9}}
    spec = dict(part.spec) | {"batch_size": 7, "seed": 1, "settings": settings, "data": data}
    record = replace(part.record, init="he")
    other = replace(run, spec=spec, parts=(replace(part, spec=spec, record=record),))
    (found,) = compare_runs(run, other)
    assert [(d.key, d.values) for d in found.differences] == [
        ("init", ("module", "he")),
        ("seed", ("0", "1")),
    ]


def test_runs_side_by_side_come_first_and_their_verdicts_before_their_settings(
    several: Path, plain: Path
) -> None:
    text = render(read_run(several), read_run(plain))
    places = [
        *('id="compared"', "Verdicts, and how they differ", "Settings that differ</"),
        *('id="card"', 'id="verdicts"'),
    ]
    assert [text.index(words) for words in places] == sorted(text.index(w) for w in places)
    assert "first of two runs: " in text


def cut(run: Run, images: int, draws: int) -> Run:
    """The run as if scores of only so many images and draws were there."""
    (part,) = run.parts
    kept = {entry["id"] for entry in part.spec["images"][:images]}
    scores = part.scores
    few = scores[scores["image"].isin(kept) & (scores["draw"] < draws)]
    return replace(run, parts=(replace(part, rows=Rows.of(few)),))


def test_where_hardly_an_image_is_shared_no_difference_is_shown(cascade: Path) -> None:
    run = read_run(cascade)
    text = render(run, cut(run, 1, 3))
    assert "too few shared images: 1" in text
    assert 'class="shift' not in text
    text = render(run, cut(run, 4, 1))
    assert "4 shared images, 1 shared draw<" in text
    assert "too few shared images" not in text


def test_a_difference_is_written_with_its_sign() -> None:
    assert [signed(v) for v in (0.123, -0.05, 0.001, -0.001, float("nan"))] == [
        *("+0.12", "\N{MINUS SIGN}0.05", "0.00", "0.00", "–"),
    ]

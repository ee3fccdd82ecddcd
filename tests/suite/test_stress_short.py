"""A short version of each program in tests/stress: the same code, a few attempts; nothing may be lost."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path

import pytest

STRESS = Path(__file__).resolve().parent.parent / "stress"
sys.path.insert(0, str(STRESS))

import bad_input  # noqa: E402
import cuts  # noqa: E402
import disk  # noqa: E402
import fuzz  # noqa: E402
import memory  # noqa: E402
import process  # noqa: E402
import same  # noqa: E402
import security  # noqa: E402
import together  # noqa: E402
from attempts import Answer, Case, fault  # noqa: E402
from kills import Killing  # noqa: E402
from ledger import Entry, Ledger  # noqa: E402
from runs import CHECK, LABELS, Outcome, warm  # noqa: E402


@pytest.fixture
def entry() -> Entry:
    return Entry("short")


def nothing_lost(entry: Entry) -> None:
    assert entry.tried > 0
    assert entry.losses == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_runs_continue(number: signal.Signals, entry: Entry, tmp_path: Path) -> None:
    Killing(CHECK, number, entry, tmp_path).go(2, random.Random(4))
    nothing_lost(entry)


def test_killed_label_tests_continue(entry: Entry, tmp_path: Path) -> None:
    Killing(LABELS, signal.SIGKILL, entry, tmp_path).go(1, random.Random(5))
    nothing_lost(entry)


def test_a_full_disk_at_some_writes(entry: Entry, tmp_path: Path) -> None:
    disk.injected(entry, CHECK, tmp_path, 37)
    nothing_lost(entry)


def test_files_cut_at_some_lengths(entry: Entry, tmp_path: Path) -> None:
    warm(CHECK, tmp_path / "run")
    for path, is_absent in cuts.readers(tmp_path / "run").items():
        cuts.recognised(entry, path, is_absent, 16)
    cuts.checkpoints(entry, tmp_path, 16)
    nothing_lost(entry)


def test_a_reader_that_takes_everything_is_found_out(entry: Entry, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"content")
    cuts.recognised(entry, path, lambda _: False, 100)
    assert len(entry.losses) >= 7


def test_a_second_process_is_refused(entry: Entry, tmp_path: Path) -> None:
    warm(CHECK, tmp_path / "undisturbed")
    wanted = Outcome.of(tmp_path / "undisturbed")
    together.refused(entry, tmp_path / "held")
    together.raced(entry, tmp_path / "raced", wanted)
    nothing_lost(entry)


def test_every_way_gives_the_same_answer(entry: Entry) -> None:
    options = {"methods": ["gradient", "smoothgrad"], "similarities": ["spearman"], "draws": 2}
    same.every_way(entry, {**options, "max_images": 9, "samples": 2, "batch_size": 3, "gallery": 1})
    nothing_lost(entry)


def test_some_bad_inputs() -> None:
    ledger = Ledger()
    bad_input.stress(ledger, every=45)
    assert [loss for entry in ledger.entries for loss in entry.losses] == []
    assert sum(entry.tried for entry in ledger.entries) > 15


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0, "", "Traceback (most recent call last)", Path("none"), 1),
        Answer(4, "", "Error: Unexpected KeyError: 1", Path("none"), 1),
        Answer(-2, "", "escaped", Path("none"), 1),
        Answer(0, "", "", Path("none"), 1),
        Answer(2, "", "\x1b[31mError", Path("none"), 1),
    ],
)
def test_an_improper_answer_is_found_out(answer: Answer) -> None:
    assert fault(Case("bad", ()), answer) is not None


def test_memory_that_runs_out_at_some_calls(entry: Entry, tmp_path: Path) -> None:
    memory.made_up(entry, tmp_path, calls=range(0, 60, 20))
    nothing_lost(entry)


def test_links_and_pickles_do_nothing(entry: Entry, tmp_path: Path) -> None:
    security.links(entry, tmp_path / "links", names=("scores", "errors.log"))
    (tmp_path / "pickles").mkdir()
    security.pickles(entry, tmp_path / "pickles", commands={"check": CHECK}, protocols=(2,))
    security.private(entry, tmp_path)
    security.downloads(entry)
    security.calls(entry)
    nothing_lost(entry)


def test_markup_in_names_stays_text(entry: Entry, tmp_path: Path) -> None:
    security.page(entry, tmp_path)
    nothing_lost(entry)


def test_a_page_with_a_script_of_a_stranger_is_found_out() -> None:
    found = security.Page()
    found.feed("<p onclick=x()>a</p><script>b</script><a href='javascript:c'>d</a>")
    assert len(found.dangers) == 2
    assert found.scripts == 1


def test_runs_leave_nothing_in_the_process() -> None:
    ledger = Ledger()
    process.stress(ledger, runs=7)
    assert [loss for entry in ledger.entries for loss in entry.losses] == []


@pytest.mark.parametrize("name", sorted(fuzz.TARGETS))
def test_the_fuzzer_s_corpus_and_some_mutations(name: str) -> None:
    for path in sorted((fuzz.CORPUS / name).iterdir()):
        fuzz.TARGETS[name](path.read_bytes())
    fuzz._without_guidance(fuzz.TARGETS[name], name, 1)

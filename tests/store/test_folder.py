"""The run folder: one holder, no links out, nothing half-written, errors in its log."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from salsanity.errors import StoreError, UsageError
from salsanity.store.folder import (
    HAS_MARKERS_ONLY,
    LOG,
    append_log,
    held,
    inside,
    locked,
    logged,
    machine_notes,
)

HOLDING = """
import sys, time
from pathlib import Path
from salsanity.store.folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    for name in ("scores/.part-abc", ".report-x.part", "networks/.true-0.checkpoint.x.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    (tmp_path / "scores" / "kept.parquet").write_text("whole")
    with locked(tmp_path):
        pass
    left = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert left == [*([] if HAS_MARKERS_ONLY else [".lock"]), "kept.parquet"]


@pytest.mark.parametrize("name", ["scores", "gallery", "figures", "networks"])
def test_a_folder_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.mkdir()
    (run / name).symlink_to(outside)
    with pytest.raises(StoreError, match=name), locked(run):
        pass


def test_links_inside_are_followed_and_loops_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path, tmp_path / "link") == tmp_path / "link"
    (tmp_path / "up").symlink_to(tmp_path.parent)
    with pytest.raises(StoreError, match="up"):
        inside(tmp_path, tmp_path / "up")


@pytest.mark.parametrize("name", [".lock", LOG])
def test_lock_and_log_are_never_written_through_a_link(name: str, tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.write_text("mine")
    (run / name).symlink_to(outside)
    if name == LOG:
        assert not append_log(run, "text")
    else:
        with pytest.raises(UsageError), locked(run):
            pass
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("place", ["a\0b", "x" * 300, "file/below"])
def test_a_place_that_cannot_be_a_folder_is_one_sentence(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out"), locked(tmp_path / place):
        pass


def test_a_disk_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", cannot)
    with pytest.raises(UsageError, match="locks files"), locked(tmp_path):
        pass


def test_a_second_process_is_refused_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another salsanity process"), locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    if HAS_MARKERS_ONLY:  # and the sentence says what to do
        with pytest.raises(UsageError, match=r"delete \.lock there"), locked(tmp_path):
            pass
        (tmp_path / ".lock").unlink()
    with locked(tmp_path):
        pass


def test_who_waits_for_a_lock_gets_it_when_it_is_free(tmp_path: Path) -> None:
    first = held(tmp_path / ".lock")
    got = []
    waiter = threading.Thread(target=lambda: got.append(held(tmp_path / ".lock")))
    waiter.start()
    waiter.join(0.2)
    assert not got
    first.release()
    waiter.join(10)
    assert got[0].is_locked
    got[0].release()


@pytest.mark.parametrize("name", [".lock", LOG])
def test_links_are_refused_also_where_the_system_follows_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    test_lock_and_log_are_never_written_through_a_link(name, tmp_path)


def test_what_the_system_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_notes()
    monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    found = machine_notes()
    assert len(before) == HAS_MARKERS_ONLY or sys.platform == "win32"
    assert any("links" in note for note in found)
    assert any("power cut" in note for note in found)


def test_an_unexpected_error_is_logged_in_the_folder_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught, logged(tmp_path):
        raise ZeroDivisionError("odd")
    assert any(str(tmp_path / LOG) in note for note in caught.value.__notes__)
    assert "ZeroDivisionError: odd" in (tmp_path / LOG).read_text()


def test_a_full_disk_is_one_sentence_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No space left"), logged(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not (tmp_path / LOG).exists()


def test_our_own_errors_pass_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(UsageError), logged(tmp_path):
        raise UsageError("expected")
    assert not (tmp_path / LOG).exists()

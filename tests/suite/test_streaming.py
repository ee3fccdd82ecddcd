"""Large runs begin before all images are read, and come to the same as if all had been read first."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import salsanity
from salsanity.errors import StoreError
from salsanity.executors.serial import Results, SerialExecutor
from salsanity.store.remembered import NAME, Remembered
from salsanity.suite import aiming, judging, streaming
from salsanity.suite.result import Result
from salsanity.units.job import Job, Lot
from salsanity.units.plan import chunked, in_chunks

COUNT, FIRST, LARGE = 110, 66, 80
"""The first hold the 64 of which baselines are drawn."""

ASKED: dict[str, Any] = {
    "methods": ["gradient", "vargrad"],
    "similarities": ["spearman"],
    "draws": 2,
    "max_images": 1000,
    "samples": 2,
    "steps": 2,
    "gallery": 2,
    "batch_size": 16,
    "memory_format": "contiguous",
}


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (streaming, aiming):
        monkeypatch.setattr(module, "STREAM_FROM", LARGE)
        monkeypatch.setattr(module, "FIRST", FIRST, raising=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two classes; the last three images are copies of others, one file is broken."""
    folder = tmp_path / "pictures"
    noise = torch.randint(
        0, 256, (COUNT, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
    )
    for k, pixels in enumerate([*noise, *noise[:3]]):
        path = folder / "ab"[k % 2] / f"{k:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy()).save(path)
    (folder / "a" / "broken.png").write_bytes(b"no image")
    return folder


def small() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6 * 6, 2)
        ).eval()


def run(pictures: Path, out: Path, **changes: Any) -> Result:
    asked = {**ASKED, "channels": 1, **changes}
    with pytest.warns(UserWarning, match="1 image"):
        return salsanity.run("cascade", small(), pictures, out=out, **asked)


class Stop(Exception):
    pass


class Stopping:
    """Runs some units, and notes how many images had been read by then."""

    def __init__(self, most: int, reads: list[str]) -> None:
        self.most, self.reads, self.at_first = most, reads, -1

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Any = None) -> Results:
        for count, done in enumerate(SerialExecutor().run(job, lots)):
            if count == 0:
                self.at_first = len(set(self.reads))
            if count == self.most:
                raise Stop
            yield done


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    from salsanity.data import images

    found: list[str] = []
    decode = images.decode

    def noted(path: Path, *arguments: Any, **named: Any) -> Any:
        found.append(path.name)
        return decode(path, *arguments, **named)

    monkeypatch.setattr(images, "decode", noted)
    monkeypatch.setattr(images, "SAMPLED", 1)
    return found


def same(a: Result, b: Result) -> None:
    assert a.scores.equals(b.scores)
    assert a.verdicts.equals(b.verdicts)
    for name in ("images", "methods"):
        assert a.spec[name] == b.spec[name]
    assert sorted(a.spec["settings"]["units"]["places"]) == sorted(
        b.spec["settings"]["units"]["places"]
    )
    assert a.gates["accuracy"] == b.gates["accuracy"]
    assert a.spec["settings"]["duplicates"] == b.spec["settings"]["duplicates"] == 3


def test_a_streamed_run_is_the_run_that_reads_all_first(
    pictures: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = run(pictures, tmp_path / "before")
    request.getfixturevalue("streams")
    same(run(pictures, tmp_path / "streamed"), before)
    assert (tmp_path / "streamed" / NAME).exists()
    assert not (tmp_path / "before" / NAME).exists()


def test_the_first_unit_comes_before_all_images_are_read_and_what_was_read_is_remembered(
    streams: None, pictures: Path, tmp_path: Path, reads: list[str]
) -> None:
    stopping = Stopping(2, reads)
    with pytest.raises(Stop), pytest.warns(UserWarning, match="1 image"):
        salsanity.run(
            "cascade", small(), pictures, out=tmp_path / "run", executor=stopping,
            **{**ASKED, "channels": 1},
        )  # fmt: skip
    assert FIRST <= stopping.at_first < COUNT
    begun = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run" / "scores").iterdir()}
    assert begun
    found = run(pictures, tmp_path / "run")
    now = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run" / "scores").iterdir()}
    assert begun.items() <= now.items()
    same(found, run(pictures, tmp_path / "whole"))
    reads.clear()
    run(pictures, tmp_path / "run")  # everything is there
    assert (
        len(set(reads) - {"broken.png"}) <= LARGE + 5
    )  # what was recorded of a small run is looked at again


def test_pixels_that_change_under_the_same_name_size_and_date_spoil_their_unit(
    streams: None, pictures: Path, tmp_path: Path
) -> None:
    first = run(pictures, tmp_path / "run", draws=1)
    name = first.spec["images"][-1]["name"]
    path = pictures / name
    at = path.stat()
    pixels = torch.randint(0, 256, (8, 8), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(path)
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * max(0, at.st_size - len(content)))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    if path.stat().st_size != at.st_size:
        pytest.skip("the new file is larger than the old one")
    second = run(pictures, tmp_path / "run")
    (failed,) = second.gates["failed_units"]
    assert "its pixels changed" in failed["reason"]
    assert second.exit_code == 4


def test_chunks_that_come_one_by_one_are_those_of_the_whole() -> None:
    for gallery in (0, 1, 8, 9, 20):
        for groups in (1, 2, 4):
            for count in range(1, 120):
                asked = {"gallery": gallery, "groups_per_chunk": groups}
                whole = [list(chunk) for chunk in chunked(count, **asked)]
                assert list(in_chunks(range(count), **asked)) == whole, (count, asked)


def test_what_was_found_out_of_images_stays_on_disk(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path, "key", "ab")
    lines = {k: {"name": name, "id": str(k), "looks": None} for k, name in enumerate("ab")}
    remembered.add(lines)
    remembered.add({0: {**lines[0], "id": "3"}})
    for found in (remembered, Remembered(tmp_path, "key", "ab")):
        assert [found.told(place)["id"] for place in (0, 1)] == ["3", "1"]
    other = Remembered(tmp_path, "key", "cb")  # where a is gone, and another came
    assert other.get(0, None) is None
    assert other.told(1)["id"] == "1"
    (tmp_path / NAME).unlink()
    with pytest.raises(StoreError, match="give the same command again"):
        remembered.told(0)


def test_lines_that_were_cut_are_forgotten_and_written_again(tmp_path: Path) -> None:
    lines = {k: {"name": str(k), "id": f"{k}" * 8, "looks": [k, k]} for k in range(5)}
    Remembered(tmp_path, "key", "01234").add(lines)
    path = tmp_path / NAME
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = Remembered(tmp_path, "key", "01234")
        known = [k for k in lines if found.get(k, (k, k)) is not None]
        assert known == list(range(len(known)))
        found.add(lines)
        assert path.read_bytes() == whole
    assert Remembered(tmp_path, "other key", "01234").get(3, (3, 3)) is None
    assert Remembered(tmp_path, "key", "01234").get(3, (3, 4)) is None
    assert Remembered(tmp_path, "key", "01234").get(3, (3, 3)) == lines[3]

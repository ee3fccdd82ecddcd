import hashlib
import logging

import pooch
import pytest

from salsanity.data import fetch
from salsanity.data.fetch import REMOTES, Remote, find_or_fetch
from salsanity.errors import DataError

CONTENT = b"digits"
NAME = "t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and a web that serves CONTENT and counts."""
    asked = []

    def download(self, url, output_file, _pooch, check_only=False):
        asked.append(url)
        output_file = str(output_file)
        with open(output_file, "wb") as file:  # noqa: PTH123 - as pooch's own
            file.write(CONTENT)

    folder = tmp_path / "cache"
    monkeypatch.delenv("SALSANITY_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: folder / name)
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    return folder, asked


def serve(monkeypatch, content):
    checksum = "sha256:" + hashlib.sha256(content).hexdigest()
    remote = Remote(NAME, "https://example.org/" + NAME, checksum)
    monkeypatch.setitem(REMOTES, "mnist", {NAME: remote})


def test_the_users_folders_come_first(tmp_path, monkeypatch, cache):
    given, variable = tmp_path / "given", tmp_path / "variable"
    for top in (given / "mnist", variable):
        top.mkdir(parents=True)
        (top / NAME).write_bytes(b"mine")
    monkeypatch.setenv("SALSANITY_DATA", str(variable))
    assert find_or_fetch("mnist", (NAME,), data_dir=given) == given / "mnist" / NAME
    assert find_or_fetch("mnist", (NAME,), data_dir=tmp_path / "none") == variable / NAME
    assert find_or_fetch("mnist", (NAME,), data_dir=None) == variable / NAME
    assert cache[1] == []


def test_names_are_tried_in_order(tmp_path, cache):
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(b"")
    assert find_or_fetch("mnist", ("none", "a", "b"), data_dir=tmp_path).name == "a"


def test_it_is_fetched_once(monkeypatch, cache, capsys):
    serve(monkeypatch, CONTENT)
    folder, asked = cache
    for _ in range(2):
        path = find_or_fetch("mnist", (NAME,), data_dir=None)
        assert path == folder / "salsanity" / "mnist" / NAME
        assert path.read_bytes() == CONTENT
    assert asked == ["https://example.org/" + NAME]
    assert [p.name for p in path.parent.iterdir()] == [NAME]
    assert capsys.readouterr() == ("", "")


def test_a_wrong_checksum_leaves_nothing(monkeypatch, cache):
    serve(monkeypatch, b"other")
    folder, _ = cache
    with pytest.raises(DataError, match=r"cannot get .*; put the file into a folder DIR/mnist"):
        find_or_fetch("mnist", (NAME,), data_dir=None)
    assert not list((folder / "salsanity" / "mnist").iterdir())


def test_twin_without_a_checksum_the_test_above_fails(monkeypatch, cache):
    monkeypatch.setitem(REMOTES, "mnist", {NAME: Remote(NAME, "https://example.org/x", None)})
    assert find_or_fetch("mnist", (NAME,), data_dir=None).read_bytes() == CONTENT


def test_no_connection_is_a_clear_error(monkeypatch, cache, tmp_path):
    def offline(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", offline)
    with pytest.raises(DataError) as caught:
        find_or_fetch("mnist", (NAME,), data_dir=tmp_path)
    for word in (str(tmp_path / "mnist"), "no route", "--data-dir", "SALSANITY_DATA", "https://"):
        assert word in str(caught.value)


def test_the_level_of_poochs_logger_comes_back(monkeypatch, cache):
    serve(monkeypatch, CONTENT)
    logger = pooch.get_logger()
    before = logger.level
    find_or_fetch("mnist", (NAME,), data_dir=None)
    assert logger.level == before
    assert before != logging.CRITICAL


def test_all_remotes_are_https_with_checksums():
    for files in REMOTES.values():
        for name, remote in files.items():
            assert remote.name == name
            assert remote.url.startswith("https://")
            algorithm, _, value = remote.checksum.partition(":")
            assert (algorithm, len(value)) == ("md5", 32)
            int(value, 16)


def test_a_name_without_a_remote(tmp_path, cache):
    with pytest.raises(DataError, match="expected one of other"):
        find_or_fetch("mnist", ("other",), data_dir=tmp_path)
    assert fetch.TIMEOUT > 0

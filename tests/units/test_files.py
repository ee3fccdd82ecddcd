"""The user's files go with what they define: neighbours, repositories that share names, packages here; edits are refused."""

from __future__ import annotations

import os
import pickle
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salsanity.errors import UsageError
from salsanity.symbols import load_symbol
from salsanity.testing.elsewhere import elsewhere
from salsanity.units.files import (
    Files,
    LoadedFile,
    carried,
    load_carried,
    load_files,
    loaded_files,
)


@pytest.fixture(autouse=True)
def imported_modules() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    sys.modules.update(before)


def repository(folder: Path, owner: str) -> Path:
    """A file whose parts come from a neighbour `parts_here` and from a package `models_here`."""
    (folder / "models_here").mkdir(parents=True)
    (folder / "models_here" / "__init__.py").write_text("from models_here.net import Net\n")
    code = f"class {{}}:\n    owner = {owner!r}\n"
    (folder / "models_here" / "net.py").write_text(code.format("Net"))
    (folder / "parts_here.py").write_text(code.format("Part"))
    own = "from models_here import Net\nfrom parts_here import Part\n\n" + code.format("Own")
    (folder / "file.py").write_text(own)
    return folder / "file.py"


def owners(parts: list[Any]) -> list[str]:
    return [type(part).owner for part in parts]


@pytest.mark.parametrize("name", ["Own", "Part", "Net"])
def test_what_a_file_or_a_neighbour_of_it_defines_is_found_elsewhere(
    name: str, tmp_path: Path
) -> None:
    part = load_symbol(f"{repository(tmp_path / 'a', 'a')}:{name}")()
    assert elsewhere(owners, [part]) == ["a"]


def test_repositories_that_share_names_each_find_their_own(tmp_path: Path) -> None:
    files = [repository(tmp_path / owner, owner) for owner in "ab"]
    parts = [load_symbol(f"{file}:{name}")() for file in files for name in ("Net", "Part", "Own")]
    assert elsewhere(owners, parts) == list("aaabbb")
    assert elsewhere(owners, parts[::-1]) == list("bbbaaa")


def test_a_package_of_the_working_directory_is_found_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path / "here", "here")
    monkeypatch.chdir(tmp_path / "here")
    net = load_symbol("models_here.net:Net")()
    monkeypatch.chdir(os.sep)
    assert elsewhere(owners, [net]) == ["here"]


def test_only_files_of_the_user_s_that_are_named_are_listed(tmp_path: Path) -> None:
    a, b = (repository(tmp_path / owner, owner) for owner in "ab")
    own, _ = load_symbol(f"{a}:Own")(), load_symbol(f"{b}:Own")()
    found = loaded_files([pickle.dumps([own, Path, pytest.ExitCode.OK, owners])])
    assert {Path(file.path).name for file in found} == {"file.py", "test_files.py"}
    (mine,) = (file for file in found if file.path == str(a))
    assert {Path(path).name for path, _ in mine.contents} == {
        "file.py", "parts_here.py", "__init__.py", "net.py",
    }  # fmt: skip


@pytest.mark.parametrize("what", ["edited", "gone"])
@pytest.mark.parametrize("name", ["file.py", "parts_here.py", "models_here/net.py"])
def test_what_changed_since_is_refused(name: str, what: str, tmp_path: Path) -> None:
    file = repository(tmp_path / "a", "a")
    own = load_symbol(f"{file}:Own")()
    listed = loaded_files([pickle.dumps(own)])
    load_files(listed)  # here they are, and need no import
    changed = file.parent / name
    if what == "gone":
        changed.unlink()
    else:
        changed.write_text(changed.read_text() + "# edited\n")
    with pytest.raises(UsageError, match=f"expected .*{Path(name).name} as it was"):
        elsewhere(load_files, listed)


def test_what_fails_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fails_there.py"
    path.write_text("raise RuntimeError('only there')\n")
    with pytest.raises(UsageError, match=r"fails_there\.py failed: RuntimeError: only there"):
        load_files((LoadedFile("fails_there", str(path), ()),))
    assert "fails_there" not in sys.modules


def unpacked_from(parcel: bytes) -> tuple[str, str]:
    listed, contents, folder, part = pickle.loads(zlib.decompress(parcel))
    load_carried(listed, contents, Path(folder))
    own = pickle.loads(part)
    return type(own).owner, str(sys.modules[type(own).__module__].__file__)


def from_another_machine(listed: Files, contents: Any, folder: Path, part: bytes) -> Any:
    """Compressed, since `elsewhere` itself looks for the names of modules in what it is given."""
    return elsewhere(
        unpacked_from, zlib.compress(pickle.dumps((listed, contents, str(folder), part)))
    )


@pytest.mark.parametrize("name", ["Own", "Part", "Net"])
def test_code_travels_to_a_machine_that_lacks_the_files(name: str, tmp_path: Path) -> None:
    file = repository(tmp_path / "a", "a")
    part = pickle.dumps(load_symbol(f"{file}:{name}")())
    listed = loaded_files([part])
    contents = carried(listed)
    file.parent.rename(tmp_path / "gone")
    owner, where = from_another_machine(listed, contents, tmp_path / "copies", part)
    assert owner == "a"
    assert Path(where).is_relative_to(tmp_path / "copies")


def test_twin_without_contents_the_machine_says_what_it_lacks(tmp_path: Path) -> None:
    file = repository(tmp_path / "a", "a")
    listed = loaded_files([pickle.dumps(load_symbol(f"{file}:Own")())])
    file.parent.rename(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"expected .*file\.py as it was when the run began"):
        elsewhere(load_files, listed)


def test_a_package_of_the_working_directory_travels_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path / "here", "here")
    monkeypatch.chdir(tmp_path / "here")
    part = pickle.dumps(load_symbol("models_here.net:Net")())
    listed = loaded_files([part])
    contents = carried(listed)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "gone")
    owner, _ = from_another_machine(listed, contents, tmp_path / "copies", part)
    assert owner == "here"


def test_code_that_was_edited_since_is_not_sent(tmp_path: Path) -> None:
    file = repository(tmp_path / "a", "a")
    listed = loaded_files([pickle.dumps(load_symbol(f"{file}:Own")())])
    file.write_text(file.read_text() + "# edited\n")
    with pytest.raises(UsageError, match=r"expected .*file\.py as it was"):
        carried(listed)

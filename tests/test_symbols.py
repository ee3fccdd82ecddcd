"""Users' files: their neighbours, repositories with modules of the same names, packages here, and pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from salsanity.errors import UsageError
from salsanity.symbols import at_home, load_file, load_symbol, recorded_files


@pytest.fixture(autouse=True)
def imported_modules() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    sys.modules.update(before)


def repository(folder: Path, name: str, code: str = "") -> Path:
    """A folder with a file, and with a `utils` that says whose it is."""
    folder.mkdir(parents=True)
    (folder / "utils.py").write_text(
        f"OWNER = {name!r}\n\ndef owner():\n    return OWNER\n\nclass Part:\n    owner = OWNER\n"
    )
    (folder / "file.py").write_text(
        code or "import utils\nfrom utils import Part\n\ndef owner():\n    return utils.owner()\n"
    )
    return folder / "file.py"


def test_repositories_that_each_have_a_utils_each_get_their_own(tmp_path: Path) -> None:
    files = [repository(tmp_path / name, name) for name in ("a", "b", "c")]
    owners = [load_symbol(f"{file}:owner") for file in files]
    assert [owner() for owner in owners] == ["a", "b", "c"]
    assert [load_symbol(f"{file}:Part").owner for file in files] == ["a", "b", "c"]
    assert sys.modules["utils"].OWNER == "a"  # type: ignore[attr-defined]


def test_packages_and_folders_without_an_init_are_kept_apart_too(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for package in ("models", "parts"):
            folder = tmp_path / name / package
            folder.mkdir(parents=True)
            (folder / "net.py").write_text(f"OWNER = {name!r}\n")
            if package == "models":
                (folder / "__init__.py").write_text("")
        (tmp_path / name / "file.py").write_text(
            "from models.net import OWNER as first\nfrom parts.net import OWNER as second\n"
            "def both(): return first, second\n"
        )
    found = [load_symbol(f"{tmp_path / name / 'file.py'}:both")() for name in ("a", "b")]
    assert found == [("a", "a"), ("b", "b")]


def test_a_module_that_the_user_imported_stays_where_it_was(tmp_path: Path) -> None:
    mine = repository(tmp_path / "mine", "mine")
    with at_home(mine.parent):
        import utils  # type: ignore[import-not-found]
    load_symbol(f"{repository(tmp_path / 'other', 'other')}:owner")
    assert sys.modules["utils"] is utils
    assert utils.Part.__module__ == "utils"


def test_what_is_imported_only_when_called_gets_the_right_one_or_is_refused(
    tmp_path: Path,
) -> None:
    late = "def owner():\n    import utils\n    return utils.owner()\n"
    first = repository(tmp_path / "a", "a")
    load_symbol(f"{first}:owner")
    with pytest.raises(UsageError, match="import its own utils at its top"):
        load_symbol(f"{repository(tmp_path / 'b', 'b', late)}:owner")
    alone = repository(tmp_path / "c", "c", late)
    sys.modules.pop("utils")
    owner = load_symbol(f"{alone}:owner")
    with at_home(alone.parent):
        assert owner() == "c"


def test_a_late_import_never_gets_the_module_of_a_later_folder(tmp_path: Path) -> None:
    late = "def owner():\n    import utils\n    return utils.owner()\n"
    owner = load_symbol(f"{repository(tmp_path / 'a', 'a', late)}:owner")
    assert load_symbol(f"{repository(tmp_path / 'b', 'b')}:owner")() == "b"
    with pytest.raises(ModuleNotFoundError):
        owner()
    with at_home(tmp_path / "a"):
        assert owner() == "a"


def test_installed_modules_are_never_set_aside(tmp_path: Path) -> None:
    import torch

    (tmp_path / "torch").mkdir()
    (tmp_path / "numpy.py").write_text("raise AssertionError")
    (tmp_path / "random.py").write_text("raise AssertionError")
    (tmp_path / "file.py").write_text("import torch, numpy, random\nfound = torch\n")
    assert load_symbol(f"{tmp_path / 'file.py'}:found") is torch


def test_a_file_is_imported_once_and_again_when_it_or_a_neighbour_changes(tmp_path: Path) -> None:
    file = repository(tmp_path / "a", "a")
    first = load_file(file)
    assert load_file(file) is first
    (file.parent / "utils.py").write_text(
        "OWNER = 'new'\nclass Part: ...\ndef owner(): return OWNER\n"
    )
    assert load_symbol(f"{file}:owner")() == "new"
    file.write_text(file.read_text() + "\ndef more(): return 1\n")
    assert load_symbol(f"{file}:more")() == 1
    assert recorded_files(load_file(file)).keys() == {file, file.parent / "utils.py"}
    assert recorded_files(pytest) == {}


def test_a_file_that_fails_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("raise ValueError('no')\n")
    for _ in range(2):
        with pytest.raises(UsageError, match="ValueError: no"):
            load_file(file)
    file.write_text("value = 1\n")
    assert load_symbol(f"{file}:value") == 1


def test_relative_imports_get_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("from .utils import x\n")
    with pytest.raises(UsageError, match=r"package\.module:name"):
        load_file(tmp_path / "file.py")


def test_dataclasses_with_late_annotations(tmp_path: Path) -> None:
    code = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import ClassVar

@dataclass
class Config:
    width: int = 3
    names: ClassVar[list[str]] = []
    sizes: list[int] = field(default_factory=lambda: [1])
"""
    (tmp_path / "file.py").write_text(code)
    config = load_symbol(f"{tmp_path / 'file.py'}:Config")()
    assert (config.width, config.sizes) == (3, [1])


def test_a_package_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package_of_mine"
    package.mkdir()
    (package / "net.py").write_text("from package_of_mine import width\nbuild = lambda: width.W\n")
    (package / "width.py").write_text("W = 7\n")
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(Path.cwd()))])
    before = list(sys.path)
    with pytest.raises(UsageError, match="ModuleNotFoundError"):
        load_symbol("package_of_mine.net:build")
    monkeypatch.chdir(tmp_path)
    assert load_symbol("package_of_mine.net:build")() == 7
    assert sys.path == before


def test_a_file_sees_the_modules_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "library_of_mine.py").write_text("W = 7\n")
    (tmp_path / "scripts" / "file.py").write_text("from library_of_mine import W\n")
    monkeypatch.chdir(tmp_path)
    assert load_symbol("scripts/file.py:W") == 7


OPENING = """
import pickle, sys
from pathlib import Path
from salsanity.symbols import load_file
for file in sys.argv[2:]:
    load_file(Path(file))
found = pickle.loads(Path(sys.argv[1]).read_bytes())
print([type(part).owner for part in found])
"""


@pytest.mark.parametrize("is_loaded", [True, False])
def test_what_files_define_can_be_unpickled_where_they_are_loaded(
    is_loaded: bool, tmp_path: Path
) -> None:
    code = "from utils import Part\nclass Own:\n    owner = 'own'\n"
    files = [repository(tmp_path / name, name, code) for name in ("a", "b")]
    parts = [load_symbol(f"{file}:{name}")() for file in files for name in ("Part", "Own")]
    (tmp_path / "parts").write_bytes(pickle.dumps(parts))
    given = files if is_loaded else []
    done = subprocess.run(
        [sys.executable, "-c", OPENING, str(tmp_path / "parts"), *map(str, given)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.stdout.strip() == "['a', 'own', 'b', 'own']") is is_loaded, done.stderr

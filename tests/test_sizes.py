"""Sizes of functions are measured as they are, and a limit that is broken is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "sizes.py"


def measured(folder: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True)
    return done.returncode, done.stdout


def body(lines: int) -> str:
    return "\n".join(["def f(a, b):", '    """Say."""', *(f"    x{i} = {i}" for i in range(lines))])


def test_the_sources_keep_the_limits() -> None:
    code, told = measured(SCRIPT.parent.parent / "src")
    assert code == 0, told
    assert told.startswith(tuple("123456789")), told


@pytest.mark.parametrize(("lines", "code"), [(45, 0), (46, 1)])
def test_a_body_counts_without_its_docstring(tmp_path: Path, lines: int, code: int) -> None:
    (tmp_path / "one.py").write_text(body(lines) + "\n")
    found, told = measured(tmp_path)
    assert found == code
    assert f"longest {lines} (f" in told


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("def f(a, b, c, d, e, *, f, g, h): return a", 0),
        ("def f(a, b, c, d, e, *, f, g, h, i): return a", 1),
        ("def f(a, b, c, d, e, *args, g, h, **more): return a", 1),
        ("class C:\n    def f(self, a, b, c, d, e, f, g, h): return a", 0),
        ("class C:\n    a: int\n    b: int\n    def f(self): return 1", 0),
    ],
)
def test_arguments_are_counted_without_self(tmp_path: Path, signature: str, code: int) -> None:
    (tmp_path / "one.py").write_text(signature + "\n")
    found, told = measured(tmp_path)
    assert found == code, told


def test_a_folder_without_functions_is_an_error(tmp_path: Path) -> None:
    assert measured(tmp_path)[0] == 2

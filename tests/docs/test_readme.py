"""README.md runs as it stands, and what it says is printed is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.pages import ROOT, blocks, names_of, run, same_output, undrawn


def test_the_ten_lines_of_README_md_print_what_stands_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    undrawn(monkeypatch)
    names = names_of({})
    (done,) = run(blocks(ROOT / "README.md"), names)
    _, told, after = done
    assert after is not None
    assert not same_output(told, after.text), told
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()

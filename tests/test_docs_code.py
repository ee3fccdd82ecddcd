"""The Python of the documentation runs: the blocks of a page, one after another, in one namespace with a small network."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salsanity.suite.result import Result
from salsanity.testing.networks import small_network, some_images

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
SLOW = "another_process"
"""A test of a contract that starts a process; it has its place in tests/testing."""


def blocks_of(page: str) -> list[str]:
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def page_of(page: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks of a page; one that begins with the name of a file is that file, lying here."""
    for number, block in enumerate(blocks_of(page)):
        named = FILE.match(block)
        if named is not None:
            Path(named[1]).write_text(block, encoding="utf-8")
        else:
            exec(compile(block, f"{page}, block {number + 1}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def names() -> dict[str, Any]:
    return {"model": small_network(), "images": some_images(8), "__name__": "page"}


def judged(result: Result) -> dict[str, set[str]]:
    assert result.trusted, result.gates["reasons"]
    return {str(check): set(rows["outcome"]) for check, rows in result.headlines.groupby("check")}


def test_the_page_on_plug_ins(capsys: pytest.CaptureFixture[str]) -> None:
    found = page_of("plugins.md", names())
    assert judged(found["result"]).keys() == {"all_but_first"}
    assert "guided_backprop" in capsys.readouterr().out
    contract = found["TestAllButFirst"]
    kept = [name for name in dir(contract) if name.startswith("test_") and SLOW not in name]
    assert len(kept) > 10
    for name in kept:
        getattr(contract(), name)()
    assert list(importlib.import_module("pool").Pool().run(None, [])) == []
    assert len(Path("my_checks.py").read_text().splitlines()) <= 40


def test_the_page_on_checks() -> None:
    found = page_of("checks.md", names() | {"model_of_the_other_half": small_network()})
    outcomes = judged(found["result"])
    assert outcomes.keys() == {"mirror", "runner_up", "other_half"}
    assert outcomes["other_half"] == {"PASS"}  # it is the same network


def test_every_check_has_a_section_and_every_section_its_words() -> None:
    from salsanity.checks.named import BUILT_IN

    page = (DOCS / "checks.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\S+)\n\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    for name, kind in BUILT_IN.items():
        assert f"*{kind.words.question}*" in sections[name], name
        for part in ("**What it does.**", "**Controls.**", "**Source.**"):
            assert part in sections[name], f"{name} lacks {part}"


def test_twin_code_that_does_not_run_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wrong.md").write_text("```python\nimport salsanity\nsalsanity.nothing()\n```\n")
    monkeypatch.setattr(sys.modules[__name__], "DOCS", tmp_path)
    with pytest.raises(AttributeError, match="nothing"):
        page_of("wrong.md", names())

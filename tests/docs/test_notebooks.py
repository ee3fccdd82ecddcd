"""The notebooks run from top to bottom, each in a folder of its own, and are kept without outputs."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from docs.pages import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import notebooks

BOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SAID = {
    "first_verdict": [r"FAIL", r"first-verdict/report\.html"],
    "new_method": [r"\d+ promises kept", r"\\toprule", r"agreement"],
    "gate_release": [r"outlines: ", r"PASS", r"^0$", r"## Sanity checks"],
}
"""What the cells print or show."""


def told(book: Any) -> str:
    """Return what the cells printed and showed, as text."""
    outputs = [o for cell in book.cells for o in cell.get("outputs", ())]
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


def executed(book: Any, folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client itself
        NotebookClient(book, timeout=200, resources={"metadata": {"path": str(folder)}}).execute()
    return book


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", BOOKS, ids=[path.stem for path in BOOKS])
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = executed(nbformat.read(path, 4), tmp_path)
    text = told(book)
    for wanted in SAID[path.stem]:
        assert re.search(wanted, text, re.MULTILINE), f"{wanted} in {text}"
    kinds = {k for c in book.cells for o in c.get("outputs", ()) for k in o.get("data", {})}
    assert "text/html" in kinds
    assert not [o for c in book.cells for o in c.get("outputs", ()) if _is_empty(o)]
    page = notebooks.as_text(json.loads(nbformat.writes(book)), path.name)
    shown = [c for c in book.cells if any(o.get("name") != "stderr" for o in c.get("outputs", ()))]
    assert page.count('<div class="output">') >= len(shown) > 2
    assert str(tmp_path) not in page
    assert f"jupyter notebook examples/{path.name}" in page


def _is_empty(output: Any) -> bool:
    """Say whether something was shown that is nothing to see."""
    return output.output_type == "display_data" and set(output.data) <= {"text/plain", "text/html"}


@pytest.mark.parametrize("path", BOOKS, ids=[path.stem for path in BOOKS])
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert book.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 20_000


def test_the_three_are_there() -> None:
    assert [path.stem for path in BOOKS] == sorted(SAID)


def test_outputs_stand_below_their_cells() -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["1 < 2\n", "\n", "and\n"]},
        {"output_type": "stream", "name": "stderr", "text": "progress"},
        {"output_type": "display_data", "data": {"text/html": "<b>x</b>", "text/plain": "x"}},
        {"output_type": "display_data", "data": {"image/png": "aGVs\nbG8=\n"}},
        {"output_type": "execute_result", "data": {"text/plain": "<Outcome>"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": "f()", "outputs": outputs},
    ]
    page = notebooks.as_text({"cells": cells}, "a.ipynb")
    found = re.findall(r'<div class="output">(.*?)</div>', page, re.DOTALL)
    assert found[0] == "<pre>1 &lt; 2\n\nand</pre>"
    assert found[1] == "<b>x</b>"
    assert found[2].startswith('<img src="data:image/png;base64,aGVsbG8=" alt=')
    assert found[3:] == ["<pre>&lt;Outcome&gt;</pre>"]
    assert "progress" not in page


def test_a_notebook_is_run_once_for_each_state_of_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text('{"cells": []}')
    ran: list[Path] = []
    monkeypatch.delenv(notebooks.AS_KEPT, raising=False)
    monkeypatch.setattr(notebooks, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(notebooks, "run", lambda path: ran.append(path) or {"cells": [len(ran)]})
    assert [notebooks.executed(path)["cells"] for _ in range(2)] == [[1], [1]]
    path.write_text('{"cells": [ ]}')
    assert notebooks.executed(path)["cells"] == [2]
    assert len([*(tmp_path / "cache").iterdir()]) == 1
    monkeypatch.setenv(notebooks.AS_KEPT, "1")
    assert notebooks.executed(path)["cells"] == []
    assert len(ran) == 2


@pytest.mark.filterwarnings("ignore")
def test_twin_a_cell_that_does_not_run_is_found(tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        executed(book, tmp_path)

"""Notebooks as pages: run once for each state of the sources, kept under .cache/, and turned into Markdown with what they show.

The notebooks themselves are kept without outputs.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CACHE: Final = ROOT / ".cache" / "notebooks"
AS_KEPT: Final = "SALSANITY_NOTEBOOKS_AS_KEPT"
"""A variable of the environment; where it is set, notebooks are not run, and their pages have no outputs."""

SECONDS: Final = 900
"""That a cell may take."""

QUIET: Final = ["--log-level=40"]
"""What the kernel itself has to tell stays out of the build: errors alone."""

FROM_EXAMPLES: Final = re.compile(r"\]\(\.\./docs/")
NOTEBOOK: Final = re.compile(r"\]\((\w+)\.ipynb\)")
TO_RUN: Final = "To run and to change it: `pip install notebook` beside salsanity, then `jupyter notebook examples/{}`."


def executed(path: Path) -> Mapping[str, Any]:
    """Return a notebook with its outputs: those kept from an earlier build of the same sources, else those of running it now."""
    if os.environ.get(AS_KEPT):
        return _read(path)
    kept = CACHE / f"{path.stem}-{digest(path)}.json"
    if not kept.is_file():
        text = json.dumps(run(path))
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.glob(f"{path.stem}-*"):
            old.unlink(missing_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(text, encoding="utf-8")
        part.replace(kept)
    return _read(kept)


def _read(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def digest(path: Path) -> str:
    """Return a digest of all that a notebook's outputs depend on: itself, salsanity's sources, Python and the libraries below."""
    found = hashlib.sha256(path.read_bytes())
    for source in sorted((ROOT / "src").rglob("*.py")):
        found.update(source.relative_to(ROOT).as_posix().encode() + source.read_bytes())
    names = ("torch", "numpy", "pandas", "matplotlib")
    found.update(" ".join([platform.python_version(), *map(version, names)]).encode())
    return found.hexdigest()[:16]


def run(path: Path) -> Mapping[str, Any]:
    """Run a notebook from top to bottom in an empty folder and return it with its outputs.

    Raises:
        CellExecutionError: a cell raised.
    """
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(book, timeout=SECONDS, resources=place, extra_arguments=QUIET).execute()
    found: Mapping[str, Any] = json.loads(nbformat.writes(book))
    return found


def as_text(notebook: Mapping[str, Any], name: str) -> str:
    """Return a notebook as Markdown: text as it is, code as blocks with what they show, and where the notebook itself is."""
    head, *rest = (part for cell in notebook["cells"] for part in _parts(cell))
    note = f"[The notebook itself]({name}). {TO_RUN.format(name)}"
    return "\n\n".join([head, note, *rest]) + "\n"


def _parts(cell: Mapping[str, Any]) -> Iterator[str]:
    text = _joined(cell["source"])
    if cell["cell_type"] == "markdown":
        yield NOTEBOOK.sub(r"](\1.md)", FROM_EXAMPLES.sub("](../", text))
        return
    yield f"```python\n{text}\n```"
    for output in cell.get("outputs", ()):
        shown = _shown(output)
        if shown:
            yield f'<div class="output">{shown}</div>'


def _shown(output: Mapping[str, Any]) -> str:
    """Return what a cell showed as HTML; nothing for what it told of its progress."""
    if output["output_type"] == "stream":
        return _plain(output["text"]) if output["name"] == "stdout" else ""
    data = output.get("data", {})
    if "text/html" in data:
        return _joined(data["text/html"]).replace("\n\n", "\n").strip()
    if "image/png" in data:
        picture = "".join(_joined(data["image/png"]).split())
        return f'<img src="data:image/png;base64,{picture}" alt="What the cell above draws">'
    return _plain(data.get("text/plain", ""))


def _plain(text: str | list[str]) -> str:
    """Return text as it was printed."""
    said = html.escape(_joined(text).strip("\n"))
    return f"<pre>{said}</pre>" if said else ""


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)

"""What MkDocs is told beside docs/: pages of the repository's root, and notebooks as pages with their source beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parent.parent
ROOTS: Final = ("ARCHITECTURE", "CHANGELOG", "CODE_OF_CONDUCT", "CONTRIBUTING", "SECURITY")
"""Pages that lie at the root, where people look for them."""

UPWARD: Final = re.compile(r"\]\((?:\.\./)+([A-Z_]+)\.md")
FROM_ROOT: Final = re.compile(r"\]\(docs/")
FROM_EXAMPLES: Final = re.compile(r"\]\(\.\./docs/")
NOTEBOOK: Final = re.compile(r"\]\((\w+)\.ipynb\)")
BESIDE: Final = re.compile(rf"\]\(({'|'.join(ROOTS)})\.md")

SHIM: Final = "https://unpkg.com/iframe-worker/shim"
"""What the theme's plugin `offline` loads from a server, so that search runs from the disk."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for name in ROOTS:
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        files.append(_made(config, f"{name.lower()}.md", as_page(text)))
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        source = path.read_text(encoding="utf-8")
        text = as_text(json.loads(source), path.name)
        files.append(_made(config, f"examples/{path.stem}.md", text))
        files.append(_made(config, f"examples/{path.name}", source))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links out of docs/ to the pages that stand for their files."""
    up = "../" * page.file.src_uri.count("/")
    return UPWARD.sub(lambda found: f"]({up}{found[1].lower()}.md", markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Take what lets search run from the disk from the site itself."""
    up = "../" * page.file.dest_uri.count("/")
    return output.replace(SHIM, f"{up}assets/frame_worker.js")


def as_page(text: str) -> str:
    """Return a page of the root as one of docs/: links to docs/ and to its neighbours lead there."""
    return BESIDE.sub(lambda found: f"]({found[1].lower()}.md", FROM_ROOT.sub("](", text))


def as_text(notebook: Mapping[str, Any], name: str) -> str:
    """Return a notebook as Markdown: text as it is, code as blocks, and where the notebook itself is."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        linked = NOTEBOOK.sub(r"](\1.md)", FROM_EXAMPLES.sub("](../", text))
        parts.append(linked if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    head, *rest = parts
    note = f"*[The notebook itself]({name}), to run and to change.*"
    return "\n\n".join([head, note, *rest]) + "\n"


def _made(config: Any, uri: str, text: str) -> File:
    return File.generated(config, uri, content=text)

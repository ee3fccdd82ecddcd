"""What MkDocs is told beside docs/: pages of the repository's root, and notebooks as pages with their source beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files
from notebooks import as_text, executed

ROOT: Final = Path(__file__).resolve().parent.parent
ROOTS: Final = ("ARCHITECTURE", "CHANGELOG", "CODE_OF_CONDUCT", "CONTRIBUTING", "SECURITY")
"""Pages that lie at the root, where people look for them."""

UPWARD: Final = re.compile(r"\]\((?:\.\./)+([A-Z_]+)\.md")
FROM_ROOT: Final = re.compile(r"\]\(docs/")
FILE: Final = re.compile(r"\[([\w/-]+\.md)\]\(")
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
        text = as_text(executed(path), path.name)
        files.append(_made(config, f"examples/{path.stem}.md", text))
        files.append(_made(config, f"examples/{path.name}", source))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links out of docs/ to the pages that stand for their files."""
    up = "../" * page.file.src_uri.count("/")
    return titled(UPWARD.sub(lambda found: f"]({up}{found[1].lower()}.md", markdown))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Take what lets search run from the disk from the site itself."""
    up = "../" * page.file.dest_uri.count("/")
    return output.replace(SHIM, f"{up}assets/frame_worker.js")


def as_page(text: str) -> str:
    """Return a page of the root as one of docs/: links to docs/ and to its neighbours lead there."""
    return BESIDE.sub(lambda found: f"]({found[1].lower()}.md", FROM_ROOT.sub("](", text))


def titled(text: str) -> str:
    """Return a page on which links are called as the pages that they lead to, where they were called as their files."""
    return FILE.sub(lambda found: f"[{_title(found[1])}](", text)


def _title(name: str) -> str:
    """Return the title of a page, by the name of its file from the root or from docs/."""
    home = next((f for f in (ROOT / name, ROOT / "docs" / name) if f.is_file()), None)
    if home is None:
        return name
    return home.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _made(config: Any, uri: str, text: str) -> File:
    return File.generated(config, uri, content=text)

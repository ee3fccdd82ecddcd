"""Looks up every link of a built site: files, anchors, pictures. Nothing is asked for outside, nor may be loaded from there.

Says too where a page tells of the machine that built it. Exits with 1 where something is wrong.

Usage: python scripts/links.py SITE
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

LOADED: Final = {"img": "src", "script": "src", "source": "src", "iframe": "src"}
LED: Final = {"a": "href", "area": "href"}
STYLES: Final = ("stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch")
OUTSIDE: Final = ("http", "https", "mailto", "data", "javascript")
NOWHERE: Final = "404.html"
"""Shown by servers at any depth, so that its links begin at their root."""


@dataclass
class Page:
    """Anchors, links and what is loaded, of one page."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        HTMLParser.__init__(self)
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.page.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        if given.get(LED.get(tag, "")):
            self.page.links.append(given[LED[tag]])
        if given.get(LOADED.get(tag, "")):
            self.page.loads.append(given[LOADED[tag]])
        if tag == "link" and any(kind in STYLES for kind in given.get("rel", "").split()):
            self.page.loads.append(given.get("href", ""))


def read(path: Path) -> Page:
    """Read a page."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page


def wrong(site: Path) -> Iterator[str]:
    """Say what leads nowhere, is loaded from outside, or tells of this machine."""
    found = [path for path in sorted(site.resolve().rglob("*.html")) if path.name != NOWHERE]
    pages = {path: read(path) for path in found}
    if not pages:
        yield f"expected a site in {site}, got no page"
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for target in page.loads:
            if urlsplit(target).scheme in ("http", "https") or target.startswith("//"):
                yield f"{name} loads {target} from outside"
        for target in [*page.links, *page.loads]:
            why = _lost(path, target, pages)
            if why:
                yield f"{name} leads to {target}: {why}"
        yield from (f"{name} tells of this machine: {told}" for told in _machine(path, site))


def _lost(path: Path, target: str, pages: Mapping[Path, Page]) -> str:
    """Return why a link leads nowhere, or nothing."""
    parts = urlsplit(target)
    if parts.scheme in OUTSIDE or target.startswith("//"):
        return ""
    found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if found.is_dir():
        found = found / "index.html"
    if not found.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if not anchor or found not in pages or anchor.startswith("__"):  # those are the theme's own
        return ""
    return "" if anchor in pages[found].anchors else "no such place in it"


def _machine(path: Path, site: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    for told in {str(site.resolve().parent), str(Path.home()), os.environ.get("HOSTNAME", "")}:
        if len(told) > 5 and told in text:
            yield told


def main(site: Path) -> int:
    """Print what is wrong."""
    found = [*wrong(site)]
    for sentence in found:
        print(sentence)
    pages = len([*site.rglob("*.html")])
    print(f"{pages} pages, {len(found)} links that lead nowhere or outside")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

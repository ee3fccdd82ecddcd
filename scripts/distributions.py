"""Says what the distributions in a folder lack, or hold although they should not; exits with 1 where there is something.

Usage: python scripts/distributions.py FOLDER
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from email import message_from_bytes
from pathlib import Path
from typing import Final

SOURCE: Final = (
    *("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "constraints.txt"),
    *("tests/conftest.py", "tests/assets/check-format-1/spec.json", "docs/index.md", "mkdocs.yml"),
    *("docs/figures/report-demo-maps.png", "examples/first_verdict.ipynb", "scripts/test"),
)
WHEEL: Final = (
    *("salsanity/py.typed", "salsanity/report/templates/report.html.j2", "salsanity/__init__.py"),
)
UNWANTED: Final = re.compile(
    r"(^|/)(__pycache__|\.venv|salsanity-runs|\.ipynb_checkpoints)(/|$)|\.pyc$"
)
RELATIVE: Final = re.compile(r"\]\((?!https?://|#|mailto:)([^)]*)\)")


def wrong_names(kind: str, names: Iterable[str], wanted: Sequence[str]) -> Iterator[str]:
    """Say which files are missing, and which should not be there."""
    found = set(names)
    yield from (f"the {kind} lacks {name}" for name in wanted if name not in found)
    yield from (f"the {kind} holds {name}" for name in sorted(found) if UNWANTED.search(name))


def wrong_metadata(text: bytes) -> Iterator[str]:
    """Say what an index would show badly: links that lead nowhere, addresses that are placeholders."""
    told = message_from_bytes(text)
    description = str(told.get_payload())
    yield from (f"the description links to {link}" for link in RELATIVE.findall(description))
    if "example." in " ".join(told.get_all("Project-URL", [])):
        yield "a project URL is a placeholder"
    if told["Description-Content-Type"] != "text/markdown":
        yield f"the description is {told['Description-Content-Type']}, expected text/markdown"


def wrong(folder: Path) -> Iterator[str]:
    """Say what is wrong with the distributions in `folder`."""
    for path in folder.glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            names = [name.partition("/")[2] for name in archive.getnames()]
        yield from wrong_names("source distribution", names, SOURCE)
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            yield from wrong_names("wheel", wheel.namelist(), WHEEL)
            (metadata,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
            yield from wrong_metadata(wheel.read(metadata))
    for kind in ("*.tar.gz", "*.whl"):
        if len([*folder.glob(kind)]) != 1:
            yield f"expected one {kind} in {folder}"


def main(folder: Path) -> int:
    """Print what is wrong."""
    found = [*wrong(folder)]
    for sentence in found:
        print(sentence)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

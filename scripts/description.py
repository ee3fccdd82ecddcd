"""Writes DESCRIPTION.md, what package indexes show: README.md without links and pictures that only a checkout has.

A link to a file becomes its text, a link to the web stays; a sentence says where the files are.

Usage: python scripts/description.py [--check]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
WEB: Final = r"https?://|#|mailto:"
PICTURE: Final = re.compile(rf"^!\[[^\]]*\]\((?!{WEB})[^)]*\)\n\n?", re.MULTILINE)
LINK: Final = re.compile(rf"\[([^\]]+)\]\((?!{WEB})([^)#]+)[^)]*\)")
FENCE: Final = re.compile(r"^```.*?^```\n?", re.MULTILINE | re.DOTALL)
NOTE: Final = (
    "\n*The pages that are named here lie in the source distribution: in `docs/`, to be read as they are or built by "
    "`scripts/docs`.*\n"
)


def description(readme: str) -> str:
    """Return the text for a package index; code is left as it is."""
    parts, last = [], 0
    for fence in FENCE.finditer(readme):
        parts += [_unlinked(readme[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, _unlinked(readme[last:])]) + NOTE


def _unlinked(text: str) -> str:
    return LINK.sub(r"\1", PICTURE.sub("", text))


def main(arguments: Sequence[str]) -> int:
    """Write the file; with --check only say whether it is what it should be."""
    path = ROOT / "DESCRIPTION.md"
    wanted = description((ROOT / "README.md").read_text(encoding="utf-8"))
    if "--check" not in arguments:
        path.write_text(wanted, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != wanted:
        print("DESCRIPTION.md is not what README.md says; run python scripts/description.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

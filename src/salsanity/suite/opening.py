"""What a Python user hands over, as the suite wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from salsanity.data.examples import ImageSource
from salsanity.data.tensors import as_source
from salsanity.narrator import Narrator, Silent


def source_of(images: Any) -> ImageSource:
    """Take a tensor, (images, labels), a data set, or the path of a folder."""
    if isinstance(images, str | Path):
        from salsanity.data.images import open_folder

        return open_folder(Path(images))
    return as_source(images)


def narrator_for(progress: bool) -> Narrator:
    """Return a narrator that draws a bar with rich, in a terminal or a notebook, or a silent one."""
    if not progress:
        return Silent()
    from salsanity.suite.terminal import TerminalNarrator, terminal

    return TerminalNarrator(terminal())

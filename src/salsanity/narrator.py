"""How a run tells what it does; the command line and notebooks show it in their own way."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, final

LOG: Final = logging.getLogger("salsanity")
"""What a run tells, for programs: sentences at level INFO, what nobody may miss at WARNING; nothing where nobody listens."""
LOG.addHandler(logging.NullHandler())


class Narrator(Protocol):
    """Listens to a run."""

    def say(self, text: str) -> None:
        """Take one sentence for the person who waits."""

    def warn(self, text: str) -> None:
        """Take one sentence that nobody may miss, whether or not somebody waits."""

    def begin(self, what: str, total: float) -> None:
        """Start a long part of `total` units of work."""

    def advance(self, amount: float) -> None:
        """Take note that `amount` more is done."""

    def note(self, text: str) -> None:
        """Take what may be shown beside the bar, such as a loss."""

    def end(self) -> None:
        """End the long part."""


@final
@dataclass(frozen=True)
class Silent:
    """Says nothing but to the log; warns as Python does."""

    def say(self, text: str) -> None:
        """Log one sentence."""
        LOG.info(text)

    def warn(self, text: str) -> None:
        """Warn, and log it."""
        LOG.warning(text)
        warnings.warn(text, stacklevel=3)

    def begin(self, what: str, total: float) -> None:
        """Say nothing."""

    def advance(self, amount: float) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""


@final
@dataclass(frozen=True)
class Notes:
    """What a run tells beside its verdicts: `warnings`, which nobody may miss, and `remarks`."""

    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __add__(self, other: Notes) -> Notes:
        return Notes((*self.warnings, *other.warnings), (*self.remarks, *other.remarks))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.warnings, *self.remarks)))

    def tell(self, narrator: Narrator) -> Notes:
        """Tell every sentence, warnings first; return the notes."""
        for text in self.warnings:
            narrator.warn(text)
        for text in self.remarks:
            narrator.say(text)
        return self


def duration(seconds: float) -> str:
    """Return seconds as people say them: `40 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else "under 1 s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

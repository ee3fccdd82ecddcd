"""What a stress program tried, how often, and what was lost; and the table of them all."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HEADINGS = ("What was tried", "Times", "Lost", "Seconds", "Remarks")


@dataclass
class Entry:
    """One kind of attempt: how often it was made, and each loss in words."""

    what: str
    tried: int = 0
    losses: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def attempt(self, is_well: bool, loss: str) -> None:
        """Count one attempt, and what was lost where it did not go well."""
        self.tried += 1
        if not is_well:
            self.lose(loss)

    def lose(self, loss: str) -> None:
        """Note a loss."""
        self.losses.append(loss)
        sys.stderr.write(f"LOST ({self.what}): {loss}\n")

    def row(self) -> str:
        """Return the entry as a row of Markdown."""
        cells = (
            self.what,
            self.tried,
            len(self.losses),
            f"{self.seconds:.0f}",
            "; ".join(self.remarks),
        )
        return f"| {' | '.join(map(str, cells))} |"


@dataclass
class Ledger:
    """The entries of one or several programs."""

    entries: list[Entry] = field(default_factory=list)

    @contextmanager
    def entry(self, what: str) -> Iterator[Entry]:
        """Open an entry; its time is that of the block. An exception of the block is a loss."""
        found = Entry(what)
        self.entries.append(found)
        began = time.perf_counter()
        try:
            yield found
        finally:
            found.seconds = time.perf_counter() - began
            sys.stderr.write(f"{found.row()}\n")

    @property
    def lost(self) -> int:
        """How much was lost in all."""
        return sum(len(entry.losses) for entry in self.entries)

    def table(self) -> str:
        """Return the table as Markdown."""
        lines = [f"| {' | '.join(HEADINGS)} |", "|---|---|---|---|---|"]
        return "\n".join([*lines, *(entry.row() for entry in self.entries)])

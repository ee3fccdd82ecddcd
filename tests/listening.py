"""A narrator that tests listen through."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Listening:
    """Hears what a run says, and how far the bar is whenever it moves."""

    said: list[str] = field(default_factory=list)
    total: float = 0.0
    moves: list[float] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    warn = say

    def begin(self, what: str, total: float) -> None:
        self.total = total

    def advance(self, amount: float) -> None:
        self.moves.append(amount)

    def note(self, text: str) -> None: ...

    def end(self) -> None: ...

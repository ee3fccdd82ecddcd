"""What a person sees on a terminal or in a notebook while a run goes on: sentences and one bar."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from salsanity.narrator import LOG


def terminal() -> Console:
    """Return a console on stderr; `NO_COLOR` and non-terminals are respected by rich itself."""
    return Console(stderr=True, highlight=False, soft_wrap=False)


def shown(text: object) -> str:
    """Return text in which names from outside cannot drive the terminal: what is unprintable is escaped."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii")
        for c in str(text)
    )


@final
@dataclass
class TerminalNarrator:
    """Tells a run on a console; without a terminal, the bar becomes a line at every tenth."""

    console: Console
    _progress: Progress | None = field(default=None, init=False)
    _task: TaskID | None = field(default=None, init=False)
    _total: float = field(default=0.0, init=False)
    _done: float = field(default=0.0, init=False)
    _tenths: int = field(default=0, init=False)
    _what: str = field(default="", init=False)

    def say(self, text: str) -> None:
        """Print one sentence, and log it."""
        LOG.info(text)
        self.console.print(shown(text), markup=False)

    def warn(self, text: str) -> None:
        """Print one sentence, and log it."""
        LOG.warning(text)
        self.console.print(shown(text), markup=False)

    def begin(self, what: str, total: float) -> None:
        """Start a bar of `total` units of work."""
        self._what, self._total, self._done, self._tenths = what, total, 0.0, 0
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task(what, total=total)

    def advance(self, amount: float) -> None:
        """Move the bar on."""
        self._done += amount
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, amount)
        elif self._total and int(10 * self._done / self._total) > self._tenths:
            self._tenths = min(10, int(10 * self._done / self._total))
            self.say(f"{self._what}: {10 * self._tenths} %")

    def note(self, text: str) -> None:
        """Show a few words beside the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=f"{self._what} ({text})")

    def end(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


@final
@dataclass
class NotebookNarrator:
    """Tells a run in a notebook: sentences, and one bar by tqdm, with widgets where the notebook has them."""

    console: Console
    file: Any = None
    """Where a bar without widgets goes; None: stderr."""
    _bar: Any = field(default=None, init=False)

    def say(self, text: str) -> None:
        """Print one sentence, and log it."""
        LOG.info(text)
        self.console.print(shown(text), markup=False)

    def warn(self, text: str) -> None:
        """Print one sentence, and log it."""
        LOG.warning(text)
        self.console.print(shown(text), markup=False)

    def begin(self, what: str, total: float) -> None:
        """Start a bar of `total` units of work."""
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that there are no widgets: then the bar is a line of text
            from tqdm.auto import tqdm

        layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
        self._bar = tqdm(
            total=total, desc=what, bar_format=layout, file=self.file, dynamic_ncols=True
        )

    def advance(self, amount: float) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.update(amount)

    def note(self, text: str) -> None:
        """Show a few words beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def end(self) -> None:
        """Leave the bar where it ended."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

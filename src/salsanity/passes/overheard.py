"""What an explainer does beside its maps: whether it runs the network that it is given, and what it prints."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, Final, TextIO, cast, final

from torch import nn

from salsanity.models.hooks import hooks_of

MOST_SAID: Final = 2_000
"""Of what an explainer prints, so many characters are kept."""


@final
@dataclass(frozen=True)
class Aside:
    """What was noted beside an explainer's maps.

    `called`: whether any part of the given network ran, or its weights were read by `state_dict`. `said`: what it printed and
    warned of, shortened. `apart`: whether it raised on several images and was then given each of them alone. `calls`: how
    often it gave maps, and in how many of these it `left` hooks on the network.
    """

    called: bool
    said: str = ""
    apart: bool = False
    calls: int = 0
    left: int = 0

    def stale(self, name: str) -> str | None:
        """Why maps may be those of an earlier call: hooks that were put on once, and are taken off after each call."""
        if not 0 < self.left < self.calls:
            return None
        return (
            f"{name} put hooks on the network in {self.left} of {self.calls} calls; they are taken off after each, so that in "
            "the others it saw what an earlier call had kept. Put them on in every call, and take them off"
        )

    def refusal(self, name: str) -> str | None:
        """Why nothing can be said about an explainer, with the remedy; None where it ran the network."""
        if self.called:
            return None
        return (
            f"{name} never ran the network that it was given, so its maps cannot depend on it, and no verdict would be about "
            f"{name}. Build what explains inside the function, around the `model` that is handed in, not around another one "
            "beforehand, and keep no maps from one call to the next. A method that is meant to ignore the network needs no run: "
            "the control `edge` shows what becomes of it"
        )


def together(asides: Iterable[Aside | None]) -> Aside | None:
    """Return what was noted in several calls: whether the network ran in each, and every line once; None of none."""
    known = [aside for aside in asides if aside is not None]
    if not known:
        return None
    lines = dict.fromkeys(line for aside in known for line in aside.said.splitlines())
    return Aside(
        all(aside.called for aside in known),
        "\n".join(lines)[:MOST_SAID],
        any(aside.apart for aside in known),
        sum(aside.calls for aside in known),
        sum(aside.left for aside in known),
    )


@dataclass
class Ear:
    """Set on every part of a network, hears whether one of them runs; a copy of the network has the same one."""

    heard: bool = False

    def __call__(self, *_: Any, **__: Any) -> None:
        """Hear a call."""
        self.heard = True

    def __deepcopy__(self, memo: dict[int, Any]) -> Ear:
        return self


@dataclass
class _Caught:
    """Stands in for a stream: keeps what its own thread writes, and lets others (a progress bar's) through."""

    behind: Any
    text: list[str]
    thread: int = field(default_factory=threading.get_ident)

    def write(self, text: str) -> int:
        """Keep a text, or pass it on."""
        if threading.get_ident() != self.thread:
            return int(self.behind.write(text))
        self.text.append(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Keep lines, or pass them on."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """Say no, so that bars and colours are not drawn."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


@dataclass
class Listener:
    """Collects what is overheard over several calls of an explainer."""

    ear: Ear = field(default_factory=Ear)
    said: list[str] = field(default_factory=list)
    left: list[bool] = field(default_factory=list)

    @contextmanager
    def listening(self, module: nn.Module) -> Iterator[None]:
        """Hear the network's calls during the block, and keep what is printed and warned of there to ourselves.

        The hooks are taken off by whoever restores the network.
        """
        before = len(hooks_of(module))
        for part in module.modules():
            part.register_forward_pre_hook(self.ear, prepend=True)
            before += 1
        module.register_state_dict_pre_hook(self.ear)  # type: ignore[no-untyped-call]
        text: list[str] = []
        with ExitStack() as stack:
            caught = stack.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            stack.enter_context(redirect_stdout(cast(TextIO, _Caught(sys.stdout, text))))
            stack.enter_context(redirect_stderr(cast(TextIO, _Caught(sys.stderr, text))))
            try:
                yield
                self.left.append(len(hooks_of(module)) > before)
            finally:
                told = [f"{w.category.__name__}: {w.message}" for w in caught]
                self.said += ["".join(text), *told]

    def aside(self) -> Aside:
        """Return what was overheard, every line once."""
        lines = [line.rstrip() for said in self.said for line in said.splitlines() if line.strip()]
        lines = list(dict.fromkeys(lines))
        said = "\n".join(lines)[:MOST_SAID]
        return Aside(self.ear.heard, said, calls=len(self.left), left=sum(self.left))

"""Repeatability (Arun et al., Radiology: Artificial Intelligence, 2021): does a method agree with itself?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

from salsanity.checks.frame import CHANGED_STREAM, Chunk, Ground, State
from salsanity.options import checked, option
from salsanity.records import Line, Outcome, Words

STAGE: Final = "other noise"


@final
@dataclass(frozen=True)
class Repetition:
    """The same again under other randomness, and nothing else changed: do the maps stay?"""

    d_repeat: float = option(
        0.5,
        "Least that must be retained when a method runs again with other noise.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )

    name: ClassVar[str] = "repeat"
    needs: ClassVar[str] = "a trained network and images"
    costs: ClassVar[str] = "one explanation under other noise per image and draw"
    ceiling: ClassVar[str] = "one"
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.PASS, "noise": Outcome.FAIL}
    words: ClassVar[Words] = Words(
        title="Repeatability",
        question="Does the method agree with itself when it runs again?",
        caught="its maps do not agree with themselves when it runs again",
        uncaught="was not caught",
        use="comparing images or networks: maps that differ from run to run differ between images for no reason",
        source="Arun et al. (2021)",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no check."""
        checked(self)

    @property
    def lines(self) -> tuple[Line, ...]:
        """At least `d_repeat` must be retained."""
        return (
            Line(
                "repeat",
                STAGE,
                self.d_repeat,
                "when it runs again with other noise",
                must="stay",
                by_samples=True,
            ),
        )

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        """Give every draw a noise stream of its own; methods that draw none are run again all the same."""
        return [State(STAGE, stream=CHANGED_STREAM + draw)]

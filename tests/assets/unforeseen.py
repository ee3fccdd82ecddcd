"""A check that salsanity does not know: the mirrored image must have the mirrored map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from salsanity.checks.frame import Chunk, Ground, InputMap, State
from salsanity.options import checked, option
from salsanity.records import Line, Outcome, Words

STAGE = "mirrored"


def flipped(images: Tensor) -> Tensor:
    """Mirror images, or maps, left to right."""
    return images.flip(-1)


@dataclass(frozen=True)
class Mirror:
    """The image mirrored, and mirrored back before the network: the maps must be mirrored too."""

    least: float = option(
        0.8, "Least that must be retained.", least=0, most=1, is_open=True, is_identity=False
    )

    name: ClassVar[str] = "mirror"
    draws: ClassVar[int] = 1
    """There is nothing to draw."""
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.PASS, "noise": Outcome.FAIL}
    words: ClassVar[Words] = Words(
        title="Mirrored images",
        question="Is the map of a mirrored image the mirrored map?",
        caught="its maps take sides",
        uncaught="was not caught",
        use="pointing at a place in an image",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no check."""
        checked(self)

    @property
    def lines(self) -> tuple[Line, ...]:
        """At least so much must be retained."""
        words = "when the image is mirrored, and the network sees it as before"
        return (Line("mirror", STAGE, self.least, words, must="stay"),)

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        """Mirror the image for the method, and mirror it back for the network, which so sees the same."""
        return [State(STAGE, inputs=InputMap(there=flipped, before=flipped, back=flipped))]

"""Input shift (Kindermans et al., arXiv 1711.00867): a constant is added to the input and taken off again by the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from salsanity.checks.frame import REFERENCE_STREAM, Chunk, Ground, InputMap, State
from salsanity.errors import SpecError
from salsanity.options import checked, option
from salsanity.records import Line, Outcome, Words

STAGE: Final = "shifted input"


@final
@dataclass(frozen=True)
class InputShift:
    """f2(x + m) = f1(x) with f2(z) = f1(z - m), exactly and for any network: do the maps stay?"""

    shift: str = option(
        "-1",
        "The constant m in the network's input units: one number, or one per channel with commas.",
    )
    d_shift: float = option(
        0.9,
        "Least that must be retained when a constant is added to the input.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )

    name: ClassVar[str] = "shift"
    needs: ClassVar[str] = "a trained network and images"
    costs: ClassVar[str] = "one explanation of the shifted input per image"
    ceiling: ClassVar[str] = "one"
    draws: ClassVar[int] = 1
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.PASS, "noise": Outcome.FAIL}
    words: ClassVar[Words] = Words(
        title="Input shift",
        question="Does the map depend on where zero is?",
        caught="its maps change with a constant that the network does not notice",
        uncaught="was not caught",
        use="deployment across preprocessing: the same network on differently normalised images should be explained alike",
        source="Kindermans et al. (arXiv 1711.00867)",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no shift."""
        checked(self)
        if not any(self.amounts):
            raise SpecError(f"expected shift other than 0, got {self.shift!r}; leave it out for -1")

    @property
    def amounts(self) -> tuple[float, ...]:
        """The constant as numbers, one for all channels or one for each."""
        try:
            return tuple(float(part) for part in self.shift.split(","))
        except ValueError:
            raise SpecError(
                f"expected shift as a number, or one per channel with commas, got {self.shift!r}"
            ) from None

    @property
    def lines(self) -> tuple[Line, ...]:
        """At least `d_shift` must be retained."""
        words = "when a constant is added to the input and absorbed by the network"
        return (Line("shift", STAGE, self.d_shift, words, must="stay"),)

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        """Shift the input, and the network's origin with it; noise and identity stay the image's."""
        m = _constant(self.amounts, chunk.x)
        return [
            State(STAGE, inputs=InputMap(lambda x: x + m, lambda z: z - m), stream=REFERENCE_STREAM)
        ]


def _constant(amounts: Sequence[float], x: Tensor) -> Tensor:
    """Return m so that it can be added to images (B, C, ...); `SpecError` for another number of channels."""
    if len(amounts) > 1 and (x.dim() < 3 or len(amounts) != x.shape[1]):
        channels = x.shape[1] if x.dim() > 2 else 1
        raise SpecError(
            f"expected shift as one number or {channels} (channels), got {len(amounts)} numbers"
        )
    m = torch.tensor(amounts, dtype=x.dtype, device=x.device)
    return m.reshape(-1, *[1] * (x.dim() - 2)) if len(amounts) > 1 else m

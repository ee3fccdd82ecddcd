"""The smoothed cascade, sMPRT (Hedstroem et al., arXiv 2405.02383): bottom up, maps are means over noisy copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor

from salsanity.checks.cascade import Cascade, RandomisedWeights
from salsanity.checks.frame import (
    CHANGED_STREAM,
    REFERENCE_STREAM,
    Chunk,
    Ground,
    InputMap,
    Pair,
    Settled,
    State,
)
from salsanity.methods import Method
from salsanity.options import checked, identity_of, option
from salsanity.records import REFERENCE_STAGE, Line, Outcome, Words
from salsanity.seeds import seed_for

SPREAD: Final = 0.1
"""sd of the noise as a share of the image's range (the paper's)."""

SMOOTHED: Final = "trained, smoothed"


@final
@dataclass(frozen=True)
class SmoothCascade:
    """The cascade from below, with maps averaged over noisy copies, whatever the method: do they notice?"""

    copies: int = option(
        50, "Noisy copies that a map of sMPRT is the mean of.", least=1, most=10_000
    )
    d_smooth: float = option(
        0.2,
        "Most that may be retained by smoothed maps with everything randomised.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )
    smooth_init: str = option("auto", "Initialiser of the smoothed cascade; as --init.")

    name: ClassVar[str] = "smooth_cascade"
    needs: ClassVar[str] = "a trained network and images"
    costs: ClassVar[str] = (
        "as many explanations as noisy copies, per image and draw and of the trained network too"
    )
    words: ClassVar[Words] = Words(
        title="Smoothed model parameter randomisation test (sMPRT)",
        question="Do smoothed maps change when what the network learned is destroyed?",
        caught="its smoothed maps hardly depend on what the network learned",
        uncaught="was not caught",
        use="debugging a network with methods whose single maps are noisy",
        source="Hedström et al. (arXiv 2405.02383)",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no check."""
        checked(self)

    def on(self, ground: Ground) -> Settled:
        """Lay the cascade out from below and smooth all that it shows."""
        plain = Cascade(order="bottom_up", init=self.smooth_init).on(ground)
        assert isinstance(plain.check, RandomisedWeights)  # noqa: S101 - what a cascade settles to
        return replace(
            plain,
            check=Smoothed(self, plain.check),
            states=(SMOOTHED, *(stage.name for stage in plain.check.course)),
            settings=identity_of(self),
            facts={**plain.facts, "Noisy copies": str(self.copies)},
            extra={},
        )


@final
@dataclass(frozen=True, eq=False)
class Smoothed:
    """A cascade whose maps are means over noisy copies of the image."""

    asked: SmoothCascade
    cascade: RandomisedWeights

    name: ClassVar[str] = SmoothCascade.name
    words: ClassVar[Words] = SmoothCascade.words
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.FAIL, "noise": Outcome.PASS}
    measures: ClassVar[tuple[Any, ...]] = ()

    @property
    def copies(self) -> int:
        """How many times as dear a state is."""
        return self.asked.copies

    @property
    def draws(self) -> int:
        """As many as the cascade has."""
        return self.cascade.draws

    @property
    def stages(self) -> tuple[Mapping[str, Any], ...]:
        """Those of the cascade."""
        return self.cascade.stages

    @property
    def lines(self) -> tuple[Line, ...]:
        """After everything."""
        (full,) = self.cascade.lines
        return (replace(full, threshold=self.asked.d_smooth),)

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        """Return those of the cascade."""
        return self.cascade.asked_stages(draw, is_shown=False)

    def references(self, ground: Ground, chunk: Chunk) -> Sequence[State]:
        """Return the trained network, smoothed under the reference stream."""
        return [
            self._smoothed(State(SMOOTHED, stream=REFERENCE_STREAM, shown=SMOOTHED), ground, chunk)
        ]

    def changed(
        self, ground: Ground, chunk: Chunk, draw: int, stages: Sequence[str]
    ) -> Sequence[State]:
        """Return the cascade's states, smoothed; the ceiling is measured for every method, since all are noisy now."""
        states = [*self.cascade.changed(ground, chunk, draw, stages)]
        if draw == 0:
            states[-1] = State(_again(), stream=CHANGED_STREAM)
        return [self._smoothed(state, ground, chunk) for state in states]

    def pairs(self, draw: int) -> Sequence[Pair]:
        """Compare what the cascade compares, smoothed."""
        found = [
            replace(p, reference=SMOOTHED)
            for p in self.cascade.pairs(draw)
            if p.stage != REFERENCE_STAGE
        ]
        return found if draw else [*found, Pair(REFERENCE_STAGE, 0, 0, SMOOTHED, _again())]

    def method(self, method: Method) -> Method:
        """Return the method itself: what is averaged is whatever it gives, the user's explainers too."""
        return method

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the cascade's facts and the number of copies."""
        return {**self.cascade.fingerprint(), "copies": self.asked.copies, "spread": SPREAD}

    def _smoothed(self, state: State, ground: Ground, chunk: Chunk) -> State:
        maps = tuple(
            InputMap(_noisy(ground.seed, state.stream, chunk.ids, copy))
            for copy in range(self.asked.copies)
        )
        return replace(state, inputs=maps, asks="all")


def _again() -> str:
    return f"smooth 0/{REFERENCE_STAGE}"


def _noisy(seed: int, stream: int, ids: tuple[str, ...], copy: int) -> Callable[[Tensor], Tensor]:
    return partial(_add_noise, seed=seed, stream=stream, ids=ids, copy=copy)


def _add_noise(x: Tensor, *, seed: int, stream: int, ids: tuple[str, ...], copy: int) -> Tensor:
    """Add Gaussian noise to images (B, ...): each image's belongs to (stream, image, copy), never to the batch."""
    noisy = []
    for image, one in zip(ids, x, strict=True):
        generator = torch.Generator().manual_seed(seed_for(seed, "smooth", stream, image, copy))
        noise = torch.randn(one.shape, generator=generator, dtype=torch.float32)
        span = one.max() - one.min()
        noisy.append(one + SPREAD * span * noise.to(one))
    return torch.stack(noisy)

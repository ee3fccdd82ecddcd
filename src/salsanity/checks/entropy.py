"""The entropy of maps, eMPRT (Hedstroem et al., arXiv 2405.02383): how it changes when everything is randomised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, final

from salsanity.checks.cascade import AFTER_ALL, Cascade, RandomisedWeights
from salsanity.checks.frame import Chunk, Ground, Pair, Settled, State
from salsanity.methods import Method
from salsanity.options import checked, identity_of, option
from salsanity.randomizers.stages import full_of
from salsanity.records import Line, Outcome, Words
from salsanity.similarity.entropy import HistogramEntropy

BINS: Final = 100


@final
@dataclass(frozen=True)
class EntropyChange:
    """(H(full) - H(trained)) / H(trained), H the entropy of a map's histogram; no verdict hangs on it."""

    entropy_init: str = option("auto", "Initialiser of the entropy measurement; as --init.")

    name: ClassVar[str] = "entropy"
    needs: ClassVar[str] = "a trained network and images"
    costs: ClassVar[str] = "one state of the network per image and draw"
    words: ClassVar[Words] = Words(
        title="Entropy of maps (eMPRT)",
        question="How much does a map's entropy rise when everything is randomised?",
        caught="",
        uncaught="",
        use="describing maps, not for judging them: by its authors' table some methods that other tests reject come first",
        source="Hedström et al. (arXiv 2405.02383)",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no check."""
        checked(self)

    def on(self, ground: Ground) -> Settled:
        """Randomise everything, and measure a statistic in place of similarities."""
        plain = Cascade(init=self.entropy_init).on(ground)
        assert isinstance(plain.check, RandomisedWeights)  # noqa: S101 - what a cascade settles to
        return replace(
            plain,
            check=Measured(plain.check),
            states=(),
            is_course=False,
            test="statistic",
            settings=identity_of(self),
            never_pass="",
            extra={},
        )


@final
@dataclass(frozen=True, eq=False)
class Measured:
    """A statistic of maps of the trained and the fully randomised network."""

    cascade: RandomisedWeights

    name: ClassVar[str] = EntropyChange.name
    words: ClassVar[Words] = EntropyChange.words
    controls: ClassVar[Mapping[str, Outcome]] = {}
    measures: ClassVar[tuple[Any, ...]] = (HistogramEntropy(BINS),)

    @property
    def draws(self) -> int:
        """As many as the cascade has."""
        return self.cascade.draws

    @property
    def stages(self) -> tuple[Mapping[str, Any], ...]:
        """The last stage alone."""
        return ({"name": self._full, "index": 1},)

    @property
    def lines(self) -> tuple[Line, ...]:
        """Where the change is measured; the line is no change at all."""
        return (Line("entropy", self._full, 0.0, AFTER_ALL),)

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        """Return the last stage."""
        return (self._full,)

    def references(self, ground: Ground, chunk: Chunk) -> Sequence[State]:
        """Return the trained network."""
        return self.cascade.references(ground, chunk)

    def changed(
        self, ground: Ground, chunk: Chunk, draw: int, stages: Sequence[str]
    ) -> Sequence[State]:
        """Return the fully randomised network."""
        states = self.cascade.changed(ground, chunk, draw, stages)
        return [replace(state, shown="") for state in states if state.asks == "all"]

    def pairs(self, draw: int) -> Sequence[Pair]:
        """Set the randomised network's maps beside the trained one's."""
        return [
            replace(pair, index=1, has_chance=False)
            for pair in self.cascade.pairs(draw)
            if pair.stage == self._full
        ]

    def method(self, method: Method) -> Method:
        """Return the method itself."""
        return method

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the cascade's facts."""
        return self.cascade.fingerprint()

    @property
    def _full(self) -> str:
        return full_of(self.cascade.course).name

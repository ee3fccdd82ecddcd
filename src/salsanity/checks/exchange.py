"""The randomisation test proper: as far as its maps go, is the trained network one more draw of the initialiser?

Adebayo et al. (2018) call their tests statistical randomisation tests; here it is one, with an exact p: the trained network and D
fully randomised ones are exchangeable if the maps know no difference. `salsanity.verdicts.exchange` has the statistic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, final

from salsanity.checks.cascade import AFTER_ALL, Cascade, RandomisedWeights
from salsanity.checks.frame import (
    REFERENCE_STREAM,
    TRAINED,
    Chunk,
    Ground,
    Pair,
    Settled,
    State,
    trained,
)
from salsanity.methods import Method
from salsanity.options import checked, identity_of, option
from salsanity.randomizers.stages import full_of
from salsanity.records import Line, Outcome, Words
from salsanity.similarity import Spearman
from salsanity.verdicts import pair_index

STAGE: Final = "exchange"


@final
@dataclass(frozen=True)
class Exchange:
    """The trained network among D randomised ones: do its maps stand out? Exact p; 19 draws for .05."""

    d_exchange: float = option(
        0.2,
        "Most that may be retained with everything randomised, beside p.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )
    exchange_init: str = option("auto", "Initialiser of the exchanged networks; as --init.")

    name: ClassVar[str] = "exchange"
    needs: ClassVar[str] = "a trained network and images"
    costs: ClassVar[str] = (
        "one state of the network per image and draw; 19 draws and more for p below .05"
    )
    words: ClassVar[Words] = Words(
        title="Randomisation test proper",
        question="Do the trained network's maps stand out among those of randomised networks?",
        caught="its maps hardly depend on what the network learned",
        uncaught="was not caught",
        use="telling a map that depends on what was learned from one that changes as noise does",
        source="Adebayo et al. (NeurIPS 2018), section 3",
        draw=("randomised network", "randomised networks"),
    )

    def __post_init__(self) -> None:
        """Refuse values that make no test."""
        checked(self)

    def on(self, ground: Ground) -> Settled:
        """Randomise everything, as often as there are draws, and compare all networks with all others."""
        plain = Cascade(init=self.exchange_init).on(ground)
        assert isinstance(plain.check, RandomisedWeights)  # noqa: S101 - what a cascade settles to
        return replace(
            plain,
            check=Exchanged(self.d_exchange, plain.check),
            states=(TRAINED,),
            columns=ground.draws,
            is_course=False,
            test="exchange",
            settings=identity_of(self),
            extra={},
        )


@final
@dataclass(frozen=True, eq=False)
class Exchanged:
    """Network 0 as trained and 1 to D randomised, all under one noise stream, so that nothing but the weights tells them
    apart."""

    threshold: float
    cascade: RandomisedWeights

    name: ClassVar[str] = Exchange.name
    words: ClassVar[Words] = Exchange.words
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.FAIL}
    measures: ClassVar[tuple[Any, ...]] = (Spearman(),)
    views: ClassVar[tuple[str, ...]] = ("absolute",)
    draws: ClassVar[int] = 1
    stages: ClassVar[tuple[Mapping[str, Any], ...]] = ({"name": STAGE, "index": 1},)

    @property
    def lines(self) -> tuple[Line, ...]:
        """At most `threshold` may be retained, whatever p says."""
        return (Line("exchange", STAGE, self.threshold, AFTER_ALL, nothing=True),)

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        """Return the one stage."""
        return (STAGE,)

    def references(self, ground: Ground, chunk: Chunk) -> Sequence[State]:
        """Return all networks: each is compared with every other."""
        full = full_of(self.cascade.course).name
        random = [
            replace(
                self.cascade.changed(ground, chunk, draw, (full,))[0],
                name=_network(draw + 1),
                stream=REFERENCE_STREAM,
                shown="",
            )
            for draw in range(self.cascade.draws)
        ]
        return [trained(), *random]

    def changed(
        self, ground: Ground, chunk: Chunk, draw: int, stages: Sequence[str]
    ) -> Sequence[State]:
        """Return nothing more."""
        return []

    def pairs(self, draw: int) -> Sequence[Pair]:
        """Compare every two networks; what chance gives is asked of those with the trained one."""
        return [
            Pair(STAGE, 1, pair_index(k, m), _network(k), _network(m), has_chance=k == 0)
            for m in range(1, self.cascade.draws + 1)
            for k in range(m)
        ]

    def method(self, method: Method) -> Method:
        """Return the method itself."""
        return method

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the cascade's facts and the number of networks, which share a unit."""
        return {**self.cascade.fingerprint(), "networks": self.cascade.draws}


def _network(number: int) -> str:
    return f"exchanged {number}" if number else TRAINED

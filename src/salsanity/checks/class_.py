"""Another class explained (Sixt, Granz and Landgraf, ICML 2020; Rebuffi et al., CVPR 2020): does the map notice which
class is asked for?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor

from salsanity.checks.frame import Chunk, Ground, Settled, State, completed
from salsanity.errors import ModelError, SimilarityError
from salsanity.options import checked, identity_of, option
from salsanity.records import VIEWS, Line, Outcome, Words
from salsanity.seeds import seed_for
from salsanity.similarity.signs import tells_signs

STAGE: Final = "another class"
MIRRORED: Final = 0.5
"""Two logits are one number up to sign where their sum varies by no more than this share of their difference."""
LOOKED_AT: Final = 16
"""Images whose logits say so, each as it is and at half its contrast."""


@final
@dataclass(frozen=True)
class ClassChange:
    """Another class explained, one per image and draw: does the map change?"""

    class_choice: str = option(
        "random",
        "The other class: a random one, the runner-up (the hardest), or the least likely.",
        choices=("random", "second", "least"),
    )
    d_class: float = option(
        0.75,
        "Most that may be retained when another class is explained.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )

    name: ClassVar[str] = "class"
    is_together: ClassVar[bool] = True
    needs: ClassVar[str] = "a trained network and images"
    costs: ClassVar[str] = "one explanation of another class per image and draw"
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.FAIL, "noise": Outcome.PASS}
    words: ClassVar[Words] = Words(
        title="Class sensitivity",
        question="Is it the same map whatever class is asked for?",
        caught="its maps hardly depend on the class that is explained",
        uncaught="was not caught",
        use="telling why one class and not another: a map that is the same for all classes explains none",
        source="Sixt, Granz and Landgraf (ICML 2020); Rebuffi et al. (CVPR 2020)",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no check."""
        checked(self)

    @property
    def draws(self) -> int | None:
        """One where the other class is not drawn, or as many as the run has (None)."""
        return None if self.class_choice == "random" else 1

    @property
    def lines(self) -> tuple[Line, ...]:
        """At most `d_class` may be retained."""
        return (
            Line("class", STAGE, self.d_class, "when another class is explained", nothing=True),
        )

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        """Explain another class of every image; weights and inputs stay, so that forward passes are shared."""
        return [State(STAGE, targets=self._others(ground, chunk, draw))]

    def on(self, ground: Ground) -> Settled:
        """Return the check for this network; of two classes, the other one is always the same.

        Raises `ModelError` where there is one logit alone.
        """
        if ground.network.classes < 2:
            raise ModelError(
                "expected a network with at least two classes, got one logit: there is no other class to explain; leave the "
                "check class out"
            )
        if ground.network.classes > 2:
            return completed(self, ground)
        share = sum_beside_difference(ground)
        of_two = OfTwo(self.d_class) if share > MIRRORED else _of_one_number(self, ground)
        notes = (_mirrored_words(share),) if share <= MIRRORED else ()
        facts = {"Views": ", ".join(of_two.views)} if notes else {}
        settled = completed(of_two, ground)
        return replace(settled, settings=identity_of(self), notes=notes, facts=facts)

    def _others(self, ground: Ground, chunk: Chunk, draw: int) -> Tensor:
        if self.class_choice == "random":
            return _drawn(ground, chunk, draw)
        scores = ground.logits(chunk.x).clone()
        scores.scatter_(1, chunk.targets[:, None], torch.nan)
        if self.class_choice == "second":
            return scores.nan_to_num(-torch.inf).argmax(1)
        return scores.nan_to_num(torch.inf).argmin(1)


def _drawn(ground: Ground, chunk: Chunk, draw: int) -> Tensor:
    """Draw one of the other classes per image, uniformly: the seed belongs to (draw, image), never to the batch."""
    others = ground.network.classes - 1
    steps = [1 + seed_for(ground.seed, "class", draw, image) % others for image in chunk.ids]
    return (chunk.targets + torch.tensor(steps, device=chunk.x.device)) % ground.network.classes


@final
@dataclass(frozen=True)
class OfTwo:
    """The other of two classes: nothing is drawn.

    `views`, `measures`: what is looked at; where both logits are one number up to sign, signed maps, and similarities that
    tell a map from its negative.
    """

    d_class: float = option(0.75, "As with more classes.", is_identity=False)
    views: tuple[str, ...] = VIEWS
    measures: tuple[Any, ...] = ()

    name: ClassVar[str] = ClassChange.name
    draws: ClassVar[int] = 1
    controls: ClassVar[Mapping[str, Outcome]] = ClassChange.controls

    @property
    def words(self) -> Words:
        """As with more classes; what is not looked at is said in every verdict."""
        if self.views == VIEWS:
            return ClassChange.words
        scope = "the two logits are one number up to sign, so that signed maps alone are judged"
        return replace(ClassChange.words, scope=scope)

    @property
    def lines(self) -> tuple[Line, ...]:
        """As with more classes."""
        return ClassChange(d_class=self.d_class).lines

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        """Explain the other class."""
        return [State(STAGE, targets=1 - chunk.targets)]


def sum_beside_difference(ground: Ground) -> float:
    """Return how much the sum of two logits varies, as a share of how much their difference does.

    0 where they are one number up to sign, about 1 where they have nothing to do with each other.
    """
    x = ground.pool()[:LOOKED_AT]
    a, b = ground.logits(torch.cat([x, x / 2])).double().unbind(1)
    return float((a + b).std() / (a - b).std().clamp_min(1e-12))


def _of_one_number(asked: ClassChange, ground: Ground) -> OfTwo:
    """Look at signs alone: absolute maps of both classes are the same, whatever a network has learned."""
    shape = ground.pool().shape[1:]
    telling = tuple(s for s in ground.similarities if tells_signs(s, shape))
    if ground.similarities and not telling:
        names = ", ".join(s.name for s in ground.similarities)
        raise SimilarityError(
            f"expected a similarity that tells a map from its negative, such as spearman, got {names}: the network's "
            "two logits are one number up to sign, and maps of both classes differ in sign alone; name one, or leave the "
            "check class out"
        )
    measures = () if len(telling) == len(ground.similarities) else telling
    return OfTwo(asked.d_class, ("signed",), measures)


def _mirrored_words(share: float) -> str:
    return (
        f"The sum of the two logits varies by {share:.0%} of their difference: they are one number up to sign, and gradients "
        "of both differ in sign alone. The check class therefore judges signed maps, by similarities that tell signs."
    )

"""Another class explained (Sixt, Granz and Landgraf, ICML 2020; Rebuffi et al., CVPR 2020): does the map notice which
class is asked for?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from salsanity.checks.frame import Chunk, Ground, State
from salsanity.options import checked, option
from salsanity.records import Line, Outcome, Words
from salsanity.seeds import seed_for

STAGE: Final = "another class"


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

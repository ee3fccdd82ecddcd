"""Which initialiser a cascade uses, and what it does to each parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from torch import Tensor, nn

from salsanity import registry
from salsanity.models.coverage import BatchNorm, coverage_of, randomised_share, still_trained
from salsanity.models.network import Network
from salsanity.plugins import DRAWS, plugin_names
from salsanity.randomizers.collapse import Chosen, Probe, chosen
from salsanity.randomizers.draw import INITIALISERS, Draw, TruncatedNormal
from salsanity.randomizers.fresh import Keeping
from salsanity.randomizers.stages import Stage, first_stages
from salsanity.seeds import seed_for

PARAMETRISED: Final = "truncated_normal"
INITS: Final = ("auto", "fresh", *INITIALISERS)
"""Initialisers that are built in; `init` may also name a plug-in or `file.py:function`."""


@final
@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked of an initialiser: its name, its settings, and what may stay trained."""

    init: str
    sd: float
    bias: float
    batchnorm: BatchNorm
    keep: tuple[str, ...]
    seed: int
    draws: int


@final
@dataclass(frozen=True, eq=False)
class Initialiser:
    """The draw of a run, and the record of every parameter and buffer."""

    draw: Draw
    reason: str
    coverage: tuple[Mapping[str, Any], ...]
    randomised_share: float
    still_trained: str | None = None
    """What stays trained, in a sentence, where that is too much for a PASS; what may stay as asked aside."""

    @property
    def name(self) -> str:
        """The name that stands beside every verdict."""
        return self.draw.name


def is_initialiser(name: str) -> bool:
    """Whether `init` may be `name`: built in, a file's function, or a plug-in's."""
    return name in INITS or ":" in name or name in plugin_names(DRAWS)


def draw_seed(seed: int, draw: int) -> int:
    """Return the seed of draw number `draw`."""
    return seed_for(seed, "draw", draw)


def resolve(
    network: Network,
    wanted: Wanted,
    images: Sequence[Tensor],
    stages: Sequence[Stage],
    *,
    decisive: Sequence[Stage],
    make_model: Callable[[], nn.Module] | None,
    recorded: str | None,
) -> Initialiser:
    """Choose the initialiser and account for every parameter.

    `images`: batches in which collapse is looked for, in the first two draws of the `decisive` stages. `recorded`: what the
    run in the folder used, so that `auto` never changes its mind. Raises `ModelError` where a parameter would silently stay
    trained.
    """
    seeds = [draw_seed(wanted.seed, draw) for draw in range(min(2, wanted.draws))]
    asked = recorded or wanted.init
    if asked == PARAMETRISED or asked not in INITS:
        found = _named(asked, wanted)
    else:
        many = sum(len(part) for part in images) > 1
        probe = Probe(images, decisive, seeds, wanted.batchnorm) if many else None
        found = chosen(asked, network, probe=probe, make_model=make_model, keep=wanted.keep)
    drawn = [found.draw(network, seed) for seed in (*seeds, draw_seed(wanted.seed, 1))[:2]]
    rows = coverage_of(
        network, drawn, first_stages(stages), batchnorm=wanted.batchnorm, keep=wanted.keep
    )
    return Initialiser(
        found.draw,
        found.reason,
        tuple(row.to_json() for row in rows),
        randomised_share(rows),
        still_trained(rows),
    )


def _named(init: str, wanted: Wanted) -> Chosen:
    own = init == PARAMETRISED
    draw: Draw = TruncatedNormal(wanted.sd, wanted.bias) if own else registry.draw(init)
    return Chosen(Keeping(draw, wanted.keep) if wanted.keep else draw, "as asked")

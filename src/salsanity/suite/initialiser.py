"""Which initialiser a run uses, and what it does to each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from salsanity import registry
from salsanity.checks.intervention import draw_seed
from salsanity.checks.spec import INITS, CheckSpec
from salsanity.models.coverage import coverage_of, randomised_share
from salsanity.models.network import Network
from salsanity.randomizers.collapse import Chosen, Probe, chosen
from salsanity.randomizers.draw import Draw, TruncatedNormal
from salsanity.randomizers.fresh import Keeping
from salsanity.randomizers.stages import Stage, first_stages
from salsanity.suite.subject import Subject


@dataclass(frozen=True)
class Initialiser:
    """The draw of a run, and the record of every parameter and buffer."""

    draw: Draw
    reason: str
    coverage: list[dict[str, Any]]
    randomised_share: float

    @property
    def name(self) -> str:
        """The name that stands beside every verdict."""
        return self.draw.name


def resolve(
    network: Network,
    subject: Subject,
    spec: CheckSpec,
    x: Tensor,
    stages: Sequence[Stage],
    *,
    decisive: Sequence[Stage],
    recorded: str | None,
) -> Initialiser:
    """Choose the initialiser and account for every parameter.

    `x`: images on which collapse is looked for, in the first two draws of the `decisive` stages. `recorded`: what the run in
    the folder used, so that `auto` never changes its mind. Raises `ModelError` where a parameter would silently stay trained.
    """
    seeds = [draw_seed(spec.seed, draw) for draw in range(min(2, spec.draws))]
    found = _chosen(network, subject, spec, x, decisive, seeds, recorded)
    drawn = [found.draw(network, seed) for seed in (*seeds, draw_seed(spec.seed, 1))[:2]]
    first = first_stages(stages)
    rows = coverage_of(network, drawn, first, batchnorm=spec.batchnorm, keep=spec.keep)  # type: ignore[arg-type]
    return Initialiser(
        found.draw, found.reason, [row.to_json() for row in rows], randomised_share(rows)
    )


def _chosen(
    network: Network,
    subject: Subject,
    spec: CheckSpec,
    x: Tensor,
    decisive: Sequence[Stage],
    seeds: Sequence[int],
    recorded: str | None,
) -> Chosen:
    init = recorded or spec.init
    if init == "truncated_normal" or init not in INITS:
        own = init == "truncated_normal"
        draw: Draw = TruncatedNormal(spec.init_sd, spec.init_bias) if own else registry.draw(init)
        return Chosen(Keeping(draw, spec.keep) if spec.keep else draw, "as asked")
    probe = Probe(torch.split(x, 8), decisive, seeds, spec.batchnorm) if len(x) > 1 else None  # type: ignore[arg-type]
    return chosen(init, network, probe=probe, make_model=subject.make_model, keep=spec.keep)

"""Which initialiser a run uses: the one that is asked for, or the first that does not collapse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from salsanity.checks.health import pooled, signal_of
from salsanity.checks.intervention import Cascade
from salsanity.checks.prepare import logits_of
from salsanity.checks.spec import CheckSpec
from salsanity.errors import ModelError
from salsanity.models.network import Network
from salsanity.models.swap import swapped
from salsanity.randomizers.batchnorm import with_batchnorm
from salsanity.randomizers.coverage import coverage_of
from salsanity.randomizers.draw import Draw, Fresh, TruncatedNormal, draw_named
from salsanity.randomizers.stages import Stage
from salsanity.suite.subject import Subject


@dataclass(frozen=True)
class Initialiser:
    """The draw of a run, its name beside every verdict, and what it does to each parameter."""

    name: str
    draw: Draw
    notes: list[str] = field(default_factory=list)
    coverage: list[dict[str, Any]] = field(default_factory=list)


def resolve(
    network: Network,
    subject: Subject,
    spec: CheckSpec,
    x: Tensor,
    stages: Sequence[Stage],
    recorded: str | None,
) -> Initialiser:
    """Choose the initialiser: `auto` is `fresh` where it works, else `module`, and `he` where that collapses.

    `x`: up to 16 images on which collapse is seen. `recorded`: what the run in the folder used.
    """
    if spec.init != "auto" or recorded is not None:
        draw = _named(recorded or spec.init, network, subject, spec)
        return _described(network, draw, spec, x, stages, [])
    notes: list[str] = []
    draw = _first_choice(network, subject, spec, notes)
    policy = with_batchnorm(draw, spec.batchnorm, x)
    if collapses(network, policy, x, stages, seed=spec.seed):
        notes.append(
            f"The initialiser {draw.name} makes the signal collapse (logits hardly differ between images), so he is used."
        )
        draw = draw_named("he")
    return _described(network, draw, spec, x, stages, notes)

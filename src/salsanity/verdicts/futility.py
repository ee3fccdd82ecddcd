"""When the rest of a run would hardly settle a method, so that it need not be computed.

Conditional power: given the estimates so far, how likely is a verdict at any of the looks that are
still to come (Lan, Simon and Halperin 1982, "Stochastically curtailed testing in long-term clinical
trials")? Leaving early for this reason makes no PASS and no FAIL, so that the rates of false ones
can only fall; what it costs is verdicts that would have come late (`benchmarks/until_decided.py`
counts them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Protocol

from scipy.special import betaincinv, stdtr

from salsanity.records import Outcome
from salsanity.verdicts.cells import Answer, Decision
from salsanity.verdicts.retained import LEAST_SHARE
from salsanity.verdicts.settle import Components

FUTILE: Final = 0.2
"""A method goes on while a verdict is at least this likely."""
CERTAIN: Final = 0.05
"""Level of the bound on a share of defined scores."""


class Later(Protocol):
    """A look that is still to come."""

    @property
    def images(self) -> int:
        """Images of the look."""

    @property
    def draws(self) -> int:
        """Draws of the look."""

    @property
    def alpha(self) -> float:
        """Level of the look."""


def hopeless(decisions: Sequence[Decision], later: Sequence[Later]) -> bool:
    """Say whether an open method would probably stay open until the end."""
    if not later or not decisions:
        return False
    answers = [answer for decision in decisions for answer in decision.cell.answers]
    last = later[-1]
    if all(decision.outcome is Outcome.UNINFORMATIVE for decision in decisions):
        return all(any(_beyond(a, last) for a in d.cell.answers) for d in decisions)
    asked = [answer for answer in answers if answer.testable]
    waiting = [a for a in answers if a.gate is None and a.retained.share < LEAST_SHARE]
    if not asked or not all(_beyond(answer, last) for answer in waiting):
        return False
    gated = any(answer.gate is not None for answer in answers)
    return all(_power(asked, look, gated=gated) < FUTILE for look in later)


def lost(answer: Answer, later: Sequence[Later]) -> bool:
    """Say whether so many scores are undefined that the planned images could hardly make up for it."""
    return bool(later) and _beyond(answer, later[-1])


def _power(answers: Sequence[Answer], look: Later, *, gated: bool) -> float:
    """Bound the chance that a look passes the method (every answer must) or fails it (one suffices)."""
    passes = 0.0 if gated else min(_chance(a, look, above=False, alpha=look.alpha) for a in answers)
    level = look.alpha / len(answers)
    fails = sum(_chance(answer, look, above=True, alpha=level) for answer in answers)
    return passes + min(1.0, fails)


def _chance(answer: Answer, look: Later, *, above: bool, alpha: float) -> float:
    """Predict how likely the bound of R lies beyond the threshold at `look`.

    The mean of a larger table is the present one plus noise of the variance by which that of the
    mean falls; Student's t with the present degrees of freedom, since that variance is estimated.
    """
    if not above and answer.question.caveat:
        return 0.0
    n, d = answer.retained.z.shape
    parts = Components.of(answer.retained.z)
    more_images, more_draws = max(n, look.images), max(d, look.draws)
    gap = answer.interval.mean - answer.question.threshold
    room = (gap if above else -gap) - parts.half_width(more_images, more_draws, alpha)
    spread = parts.variance(n, d) - parts.variance(more_images, more_draws)
    if spread <= 0:
        return float(room > 0)
    return float(stdtr(answer.interval.df, room / math.sqrt(spread)))


def _beyond(answer: Answer, last: Later) -> bool:
    """Say whether the share of defined scores will hardly reach what a cell needs.

    The images to come are given the upper 5 % bound of the share so far (Clopper and Pearson).
    """
    (planned_images, planned_draws), (n, d) = answer.retained.planned, answer.retained.z.shape
    if answer.retained.share >= LEAST_SHARE or not planned_images * planned_draws:
        return False
    more_images = max(0, last.images - planned_images)
    more_draws = max(0, last.draws - planned_draws)
    bound = (
        1.0 if n == planned_images else float(betaincinv(n + 1, planned_images - n, 1 - CERTAIN))
    )
    images = (n + more_images * bound) / (planned_images + more_images)
    draws = (d + more_draws) / (planned_draws + more_draws)
    return bool(images * draws < LEAST_SHARE)

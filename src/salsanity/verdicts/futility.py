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

import numpy as np
from scipy.special import betaincinv, stdtr

from salsanity.verdicts.answers import (
    LEAST_ALIVE,
    LEAST_STAYED,
    LEAST_USED,
    Answer,
    Decision,
)
from salsanity.verdicts.cells import Family
from salsanity.verdicts.intervals import interval_of
from salsanity.verdicts.settle import Components

FUTILE: Final = 0.2
"""A method goes on while a verdict is at least this likely."""
CERTAIN: Final = 0.05
"""Level of the bound on a share of maps that are alive or cells that are defined."""


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
    """Say whether an open method would probably stay open until the end.

    Cells of which the maps are lost can FAIL, but stand in nobody's way; others that lack maps are waited for.
    """
    if not later or not decisions:
        return False
    cells = [decision.cell for decision in decisions]
    live = [c.answers for c in cells if not any(lost(answer, later) for answer in c.answers)]
    if any(lacks_maps(answer) for answers in live for answer in answers):
        return False
    asked = [answer for cell in cells for answer in cell.answers if answer.testable]
    if not asked:
        return not live
    is_gated = any(answer.gate is not None for cell in cells for answer in cell.answers)
    may_pass = bool(live) and not is_gated and not Family.of(cells, CERTAIN).same
    passing = [a for answers in live for a in answers if a.testable] if may_pass else []
    return all(_power(asked, passing, look) < FUTILE for look in later)


def lacks_maps(answer: Answer) -> bool:
    """Say whether too few maps exist for a PASS, though the planned images may make up for it."""
    r = answer.retained
    return answer.gate is None and (r.alive < LEAST_ALIVE or r.share < _least_used(answer))


def lost(answer: Answer, later: Sequence[Later]) -> bool:
    """Say whether so many maps are blank that the planned images could hardly make up for it."""
    (n, d), last = answer.retained.planned, later[-1] if later else None
    if last is None or not n * d or not lacks_maps(answer):
        return False
    alive, used = _bounds(answer)
    images, draws = max(n, last.images), max(d, last.draws)
    alive = (answer.retained.alive * n + alive * (images - n)) / images
    used = (answer.retained.n_used + used * (images * draws - n * d)) / (images * draws)
    return alive < LEAST_ALIVE or used < _least_used(answer)


def _least_used(answer: Answer) -> float:
    return LEAST_USED if answer.line.must == "change" else LEAST_STAYED


def _bounds(answer: Answer) -> tuple[float, float]:
    """Return upper 5 % bounds of the share of images with a map of the trained network, and of the share of used cells.

    Clopper and Pearson's for images; for cells the two-way interval, and at least Clopper and Pearson's for images with any.
    """
    r = answer.retained
    n, high = r.planned[0], interval_of(r.used.astype(np.float64)).bounds(CERTAIN)[1]
    alive = _clopper_pearson(round(r.alive * n), n)
    filled = r.n_used / max(1, r.n_images * r.planned[1]) if r.n_images else 1.0
    with_any = _clopper_pearson(r.n_images, n) * filled
    return alive, min(1.0, with_any if math.isnan(high) else max(high, with_any))


def _clopper_pearson(k: int, n: int) -> float:
    return 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1 - CERTAIN))


def _power(asked: Sequence[Answer], passing: Sequence[Answer], look: Later) -> float:
    """Bound the chance that a look passes the method (all of `passing` must) or fails it (one of `asked` suffices)."""
    passes = min((_chance(a, look, fails=False, alpha=look.alpha) for a in passing), default=0.0)
    level = look.alpha / len(asked)
    return passes + min(1.0, sum(_chance(a, look, fails=True, alpha=level) for a in asked))


def _chance(answer: Answer, look: Later, *, fails: bool, alpha: float) -> float:
    """Predict how likely the bound of R lies beyond the threshold at `look`.

    The mean of a larger table is the present one plus noise of the variance by which that of the
    mean falls; Student's t with the present degrees of freedom, since that variance is estimated.
    """
    parts = Components.of(answer.retained)
    if parts is None or (not fails and answer.caveat):
        return 0.0
    n, d = answer.retained.planned
    more_images, more_draws = max(n, look.images), max(d, look.draws)
    gap = answer.interval.mean - answer.line.threshold
    is_above = fails is (answer.line.must == "change")
    room = (gap if is_above else -gap) - parts.half_width(more_images, more_draws, alpha)
    spread = parts.variance(n, d) - parts.variance(more_images, more_draws)
    if spread <= 0:
        return float(room > 0)
    return float(stdtr(answer.interval.df, room / math.sqrt(spread)))

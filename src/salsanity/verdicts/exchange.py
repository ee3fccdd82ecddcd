"""The randomisation test proper: is the trained network, by its maps, one more draw of the initialiser?

Networks 0 (trained) and 1 to D (random) are exchangeable if it is. own_k is the mean over images of the similarity between
network k's map and every other network's map of the same image; dev_k = abs(own_k - median of the others); p = share of k, 0
included, with dev_k >= dev_0: exact, without sampling. Adebayo et al. (2018) call their tests statistical randomisation tests.

*Rows that a check of this test writes*, all at the stage of its first line, one for each pair of networks k < l and each image:

- `draw` is `pair_index(k, l)` = l (l - 1) / 2 + k, so that more networks only append; all pairs of D + 1 networks must be there.
- `value` is the similarity (absolute-view Spearman) of the two networks' maps of the image; NaN with its reason where one is
  blank.
- `chance`, for pairs with network 0: the mean similarity of the trained network's map of the image and network l's maps of its
  partners, as for any other check; NaN for pairs of two random networks. Network 0's map is the reference (noise stream 0).
- Rows of stage `self`, draw 0, with the ceiling, as for any other check.

R at the line comes from the pairs with network 0, and decides FAIL as everywhere; `CheckRecord.draws` is D. Controls: `edge` must
FAIL. Nothing can be demanded of `noise`, which looks like a real method once in 1 / alpha runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from salsanity.records import Line, Outcome
from salsanity.verdicts.answers import Cell, Decision, Exchanged
from salsanity.verdicts.cells import decide
from salsanity.verdicts.intervals import ALPHA
from salsanity.verdicts.retained import Retained, retained_similarity
from salsanity.verdicts.table import FloatArray, IntArray, Place, Scores, StageTable

TIE: Final = 1e-9
"""Deviations this close are equal: maps that never change differ by rounding."""


def pair_index(smaller: int, larger: int) -> int:
    """Return the place of a pair of networks in the column `draw`."""
    return larger * (larger - 1) // 2 + smaller


def pairs_of(indices: IntArray) -> tuple[IntArray, IntArray]:
    """Return the networks k < l of pairs; the inverse of `pair_index`."""
    larger = ((1 + np.sqrt(1 + 8 * indices.astype(np.float64))) / 2).astype(np.int64)
    return indices - larger * (larger - 1) // 2, larger


def least_draws(alpha: float = ALPHA) -> int:
    """Return the random networks that a p of `alpha` needs: the smallest p is 1 / (D + 1)."""
    return math.ceil(1 / alpha - TIE) - 1


def exchanged(table: StageTable) -> Exchanged:
    """Exchange the networks of a table of pairs."""
    smaller, larger = pairs_of(table.draws)
    networks = int(larger.max(initial=0)) + 1
    own = _own(table.value, smaller, larger, networks)
    dev = np.array([abs(own[k] - _median(np.delete(own, k))) for k in range(networks)])
    is_whole = networks > 1 and len(table.draws) == networks * (networks - 1) // 2
    if not is_whole or math.isnan(dev[0]):
        return Exchanged(own, dev, math.nan)
    return Exchanged(own, dev, float(np.mean(~(dev < dev[0] - TIE))))


def _own(value: FloatArray, smaller: IntArray, larger: IntArray, networks: int) -> FloatArray:
    """Return each network's mean similarity with all others, over the defined cells."""
    defined = np.isfinite(value)
    sums, counts = np.where(defined, value, 0.0).sum(axis=0), defined.sum(axis=0)
    total, count = (
        np.bincount(smaller, column, networks) + np.bincount(larger, column, networks)
        for column in (sums, counts)
    )
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


def of_trained(index: Scores, place: Place, line: Line) -> Retained:
    """Measure R by the pairs with the trained network."""
    table = index.table(place, line.stage, needs=("value",))
    trained = pairs_of(table.draws)[0] == 0
    own = replace(
        table,
        value=table.value[:, trained],
        chance=table.chance[:, trained],
        draws=table.draws[trained],
    )
    return retained_similarity(own)


def decide_exchanged(cells: Sequence[Cell], *, alpha: float = ALPHA) -> list[Decision]:
    """Decide by R, then by p: a FAIL stays; low R and large p is no PASS, since noise changes as much."""
    return [_with_p(decision, alpha) for decision in decide(cells, alpha=alpha)]


def _with_p(decision: Decision, alpha: float) -> Decision:
    found = decision.cell.exchanged
    if found is None or decision.answer.gate is not None:
        return decision
    if found.draws < least_draws(alpha) or math.isnan(found.p):
        is_pass = decision.outcome is Outcome.PASS
        outcome = Outcome.INCONCLUSIVE if is_pass else decision.outcome
        return replace(
            decision, outcome=outcome, reason=f"{decision.reason}; {_no_p(found, alpha)}"
        )
    p = f"p = {found.p:.2f} with {found.draws} draws"
    if decision.outcome is not Outcome.PASS:
        return replace(decision, reason=f"{decision.reason}; {p}", p=found.p)
    if found.p <= alpha + TIE:
        reason = f"it depends on what was learned: {decision.reason}, and the trained network stands out ({p})"
        return replace(decision, reason=reason, p=found.p)
    reason = (
        f"it changes as noise does: {decision.reason}, but the trained network is like one more random network "
        f"({p})"
    )
    return replace(decision, outcome=Outcome.INCONCLUSIVE, reason=reason, p=found.p)


def _no_p(found: Exchanged, alpha: float) -> str:
    if found.draws < least_draws(alpha):
        return (
            f"no p with {found.draws} draw{'s' * (found.draws != 1)}: the smallest would be 1/{found.draws + 1}, "
            f"and {alpha:g} needs {least_draws(alpha)} draws"
        )
    return "no p, since maps of the trained network or whole pairs of networks are missing"

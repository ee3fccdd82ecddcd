"""Verdicts in growing rounds (`--until-decided`): a method leaves once its verdict is settled.

Looking again and again at growing data and stopping at the first verdict errs more often than one
look does. The correction: the looks are fixed beforehand, and look l judges at the level
alpha_l = alpha (t_l^rho - t_{l-1}^rho), t being the share of the planned scores and rho 2/3, so that the levels add up to
alpha. Whatever the dependence between looks, the rate of any false verdict in a run is then at most
their sum (alpha spending, Lan and DeMets 1983; its power family, Kim and DeMets 1987; used through Bonferroni's
inequality, which needs no joint distribution of the looks). Intervals are at the level of the look
that decided and hold for all looks together. A method also leaves where the looks to come would hardly
settle it (`futility`), as INCONCLUSIVE or UNINFORMATIVE: that makes no verdict, true or false.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import pandas as pd

from salsanity.records import CONTROLS, GROUP, REFERENCE_STAGE, CheckRecord, Outcome, Verdict
from salsanity.verdicts.answers import Decision
from salsanity.verdicts.futility import hopeless, lacks_maps, lost
from salsanity.verdicts.gates import Gate
from salsanity.verdicts.headline import headline
from salsanity.verdicts.intervals import ALPHA
from salsanity.verdicts.judge import Writer, decisions_of, stages_of

FIRST_DRAWS: Final = 5
"""Draws of the first round: fewer have too few degrees of freedom to settle anything."""

SPENDING: Final = 2 / 3
"""The power rho of the spending function: below 1, early looks, which save most, get more than their share of the level."""


@final
@dataclass(frozen=True)
class Look:
    """One round: all images and draws so far, and the level at which it is judged."""

    images: int
    draws: int
    alpha: float

    @property
    def size(self) -> int:
        """Scores of a cell at a stage."""
        return self.images * self.draws


def plan_looks(
    images: int, draws: int, *, looks: int = 4, alpha: float = ALPHA
) -> tuple[Look, ...]:
    """Plan at most `looks` rounds that end with all `images` and `draws`.

    Each round has about twice the scores of the one before. Rounds but the last have whole groups
    of 8 images; draws start at 5 and grow with the square root of the round's share. Levels follow `SPENDING`.
    """
    sizes: list[tuple[int, int]] = []
    for left in range(looks - 1, 0, -1):
        share = 0.5**left
        d = min(draws, max(FIRST_DRAWS, math.ceil(draws * math.sqrt(share))))
        n = GROUP * max(1, math.ceil(images * draws * share / d / GROUP))
        if n * d < images * draws and n <= images and (n, d) not in sizes:
            sizes.append((n, d))
    sizes.append((images, draws))
    spent = [0.0, *(alpha * (n * d / (images * draws)) ** SPENDING for n, d in sizes)]
    return tuple(
        Look(n, d, after - before)
        for (n, d), (before, after) in zip(sizes, itertools.pairwise(spent), strict=True)
    )


@final
@dataclass(frozen=True)
class Schedule:
    """A run in growing rounds: its scores, what it demands, and the looks, also those to come.

    `images` are the ids in the order of the run.
    """

    scores: pd.DataFrame
    record: CheckRecord
    images: Sequence[str]
    looks: Sequence[Look]
    controls: Sequence[str] = CONTROLS
    gates: Sequence[Gate] = ()
    multiplied: Collection[str] = frozenset()

    def decisions(self, methods: Sequence[str], number: int) -> dict[str, list[Decision]]:
        """Decide methods and controls as a run that stopped after look `number` would."""
        look = self.looks[number]
        return decisions_of(
            self.seen(look),
            self.record,
            methods=methods,
            controls=self.controls,
            gates=self.gates,
            multiplied=self.multiplied,
            alpha=look.alpha,
        )

    def seen(self, look: Look) -> pd.DataFrame:
        """Return the rows that a run which stopped after `look` would have."""
        scores = self.scores
        if look.images >= len(self.images) and look.draws > int(scores["draw"].max()):
            return scores
        keep = scores["image"].isin(list(self.images[: look.images]))
        keep &= (scores["draw"] < look.draws) | (scores["stage"] == REFERENCE_STAGE)
        return scores[keep]

    def reached(self, look: Look) -> set[str]:
        """Return the methods whose scores reach as far as `look`, at all decisive stages."""
        scores, stages = self.seen(look), stages_of(self.record)
        states = scores.loc[scores["stage"].isin(stages), ["method", "stage", "image", "draw"]]
        size = states.drop_duplicates().groupby(["method", "stage"], observed=True).size()
        enough = size[size >= look.size].reset_index()["method"].value_counts()
        return {str(method) for method, count in enough.items() if count == len(stages)}

    def settled(self, methods: Sequence[str], looked: int | None) -> dict[str, int]:
        """Return the look at which each method's verdict is settled, of the first `looked` (None: all)."""
        found: dict[str, int] = {}
        for number, look in enumerate(self.looks[:looked]):
            reached = self.reached(look)
            waiting = [m for m in methods if m not in found and m in reached]
            decided = self.decisions(waiting, number) if waiting else {}
            found |= {m: number for m in waiting if self._is_settled(decided[m], number)}
        return found

    def _is_settled(self, decisions: Sequence[Decision], number: int) -> bool:
        """Say whether more images and draws could no longer change the headline, or would hardly.

        FAIL settles by a test, never by the estimate alone ("nothing changed"); PASS settles while no
        cell lacks maps that a larger round may give it; so does a gate that covers every cell, and an
        open question that the looks to come would hardly answer.
        """
        later = self.looks[number + 1 :]
        answers = [answer for decision in decisions for answer in decision.cell.answers]
        if not answers or all(answer.gate is not None for answer in answers):
            return bool(answers)
        top = headline(decisions, self.record)
        outcome = None if top is None else top.outcome
        if outcome is Outcome.PASS:
            return all(lost(a, later) for a in answers if lacks_maps(a))
        if outcome is Outcome.FAIL:
            tested = [answer for answer in answers if answer.testable]
            return any(a.p_fail < self.looks[number].alpha / len(tested) for a in tested)
        return hopeless(decisions, later)


def settled_at(
    scores: pd.DataFrame,
    record: CheckRecord,
    *,
    methods: Sequence[str],
    controls: Sequence[str] = CONTROLS,
    images: Sequence[str],
    looks: Sequence[Look],
    gates: Iterable[Gate] = (),
    looked: int | None = None,
) -> dict[str, int]:
    """Return the look (counted from 0) at which each method's verdict is settled; absent: none yet.

    `looks` are all that are planned, also those to come; `looked`: judge the first so many (None: all). `images` are the ids
    in the order of the run. The answer depends on the scores alone, so an
    interrupted run continues as it would have: a look counts for a method once all its rows are
    there, and rows beyond the look at which a method left are ignored.
    """
    run = Schedule(scores, record, images, looks, controls, tuple(gates))
    return run.settled(methods, looked)


def judge_until_decided(
    scores: pd.DataFrame,
    record: CheckRecord,
    *,
    methods: Sequence[str],
    controls: Sequence[str] = CONTROLS,
    images: Sequence[str],
    looks: Sequence[Look],
    gates: Iterable[Gate] = (),
    multiplied: Collection[str] = frozenset(),
) -> list[Verdict]:
    """Judge each method at the look at which it was settled, or else at its last complete one.

    Controls are judged once, on all their scores, at the sum of the levels. For checks whose draws are independent
    (`CheckRecord.test` "retained").
    """
    run = Schedule(scores, record, images, looks, controls, tuple(gates), multiplied)
    settled = run.settled(methods, None)
    last = dict.fromkeys(methods, 0)
    for number, look in enumerate(looks):
        last |= dict.fromkeys(run.reached(look) & set(methods), number)
    last |= settled
    verdicts: dict[str, list[Verdict]] = {}
    for number in range(len(looks)):
        here = [m for m in methods if last[m] == number]
        decided = run.decisions(here, number) if here else {}
        left = {m for m in here if m in settled and number < len(looks) - 1}
        verdicts |= {m: _written(run, number, m, decided[m], m in left) for m in here}
    alpha = sum(look.alpha for look in looks)
    own = decisions_of(scores, record, methods=(), controls=controls, alpha=alpha)
    verdicts |= {c: Writer(record, alpha).verdicts(c, found) for c, found in own.items()}
    return [v for name in dict.fromkeys([*methods, *controls]) for v in verdicts[name]]


def _written(
    run: Schedule, number: int, method: str, decisions: Sequence[Decision], left: bool
) -> list[Verdict]:
    first, *cells = Writer(run.record, run.looks[number].alpha).verdicts(method, decisions)
    return [_told(first, number, run.looks, left=left), *cells]


def share_of_scores(
    settled: Mapping[str, int], methods: Sequence[str], looks: Sequence[Look]
) -> float:
    """Return the scores that `methods` needed as a share of those without `--until-decided`."""
    final_look = len(looks) - 1
    used = sum(looks[settled.get(m, final_look)].size for m in methods)
    return used / (looks[-1].size * len(methods))


def _told(verdict: Verdict, number: int, looks: Sequence[Look], *, left: bool) -> Verdict:
    """Add to the reason which look it was, and why a method that is open left there."""
    look = looks[number]
    when = f"look {number + 1} of {len(looks)}: {look.images} images, {look.draws} draws"
    if left and verdict.outcome in (Outcome.INCONCLUSIVE, Outcome.UNINFORMATIVE):
        when += "; the others would hardly settle it"
    return replace(verdict, reason=f"{verdict.reason} ({when})")

"""Verdicts in growing rounds (`--until-decided`): a method leaves once its verdict is settled.

Looking again and again at growing data and stopping at the first verdict errs more often than one
look does. The correction: the looks are fixed beforehand, and look l judges at the level
alpha_l = alpha times the share of the planned scores that it adds, so that the levels add up to
alpha. Whatever the dependence between looks, the rate of any false verdict in a run is then at most
their sum (a linear alpha-spending schedule, Lan and DeMets 1983, used through Bonferroni's
inequality, which needs no joint distribution of the looks). Intervals are at the level of the look
that decided and hold for all looks together. A method also leaves where the looks to come would hardly
settle it (`futility`), as INCONCLUSIVE or UNINFORMATIVE: that makes no verdict, true or false.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import pandas as pd

from salsanity.records import CONTROLS, REFERENCE_STAGE, Outcome, Verdict
from salsanity.verdicts.cells import Decision
from salsanity.verdicts.futility import hopeless, lost
from salsanity.verdicts.gates import Gate
from salsanity.verdicts.headline import headline
from salsanity.verdicts.intervals import ALPHA
from salsanity.verdicts.judge import Rules, Writer, decisions_of
from salsanity.verdicts.retained import LEAST_SHARE

GROUP: Final = 8
"""Images whose maps are each other's chance: rounds end with a group, so that chance stays."""
FIRST_DRAWS: Final = 5
"""Draws of the first round: fewer have too few degrees of freedom to settle anything."""


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
    of 8 images; draws start at 5 and grow with the square root of the round's share.
    """
    sizes: list[tuple[int, int]] = []
    for left in range(looks - 1, 0, -1):
        share = 0.5**left
        d = min(draws, max(FIRST_DRAWS, math.ceil(draws * math.sqrt(share))))
        n = GROUP * max(1, math.ceil(images * draws * share / d / GROUP))
        if n * d < images * draws and n <= images and (n, d) not in sizes:
            sizes.append((n, d))
    sizes.append((images, draws))
    total, before, planned = images * draws, 0, []
    for n, d in sizes:
        planned.append(Look(n, d, alpha * (n * d - before) / total))
        before = n * d
    return tuple(planned)


def settled_at(
    scores: pd.DataFrame,
    *,
    methods: Sequence[str],
    controls: Sequence[str] = CONTROLS,
    images: Sequence[str],
    looks: Sequence[Look],
    rules: Rules,
    gates: Iterable[Gate] = (),
    looked: int | None = None,
) -> dict[str, int]:
    """Return the look (counted from 0) at which each method's verdict is settled; absent: none yet.

    `looks` are all that are planned, also those to come; `looked`: judge the first so many (None: all). `images` are the ids
    in the order of the run. The answer depends on the scores alone, so an
    interrupted run continues as it would have: a look counts for a method once all its rows are
    there, and rows beyond the look at which a method left are ignored.
    """
    found: dict[str, int] = {}
    gates = tuple(gates)
    for number, look in enumerate(looks[:looked]):
        part = _seen(scores, images, look)
        reached = _reached(part, look, rules)
        waiting = [m for m in methods if m not in found and m in reached]
        decided = decisions_of(
            part, methods=waiting, controls=controls, rules=rules, alpha=look.alpha, gates=gates
        )
        later = looks[number + 1 :]
        found |= {m: number for m in waiting if _settled(decided[m], look.alpha, later)}
    return found


def judge_until_decided(
    scores: pd.DataFrame,
    *,
    methods: Sequence[str],
    controls: Sequence[str] = CONTROLS,
    images: Sequence[str],
    looks: Sequence[Look],
    rules: Rules,
    init: str | None = None,
    gates: Iterable[Gate] = (),
) -> list[Verdict]:
    """Judge each method at the look at which it was settled, or else at its last complete one.

    Controls are judged once, on all their scores, at the sum of the levels.
    """
    gates = tuple(gates)
    settled = settled_at(
        scores,
        methods=methods,
        controls=controls,
        images=images,
        looks=looks,
        rules=rules,
        gates=gates,
    )
    last = dict.fromkeys(methods, 0)
    for number, look in enumerate(looks):
        reached = _reached(_seen(scores, images, look), look, rules)
        last |= {m: number for m in methods if m in reached}
    last |= settled
    verdicts: dict[str, list[Verdict]] = {}
    for number, look in enumerate(looks):
        here = [m for m in methods if last[m] == number]
        decided = decisions_of(
            _seen(scores, images, look),
            methods=here,
            controls=controls,
            rules=rules,
            alpha=look.alpha,
            gates=gates,
        )
        for method in here:
            written = Writer(init, look.alpha).verdicts(method, decided[method])
            left = method in settled and number < len(looks) - 1
            verdicts[method] = [_told(written[0], number, looks, left=left), *written[1:]]
    alpha = sum(look.alpha for look in looks)
    own = decisions_of(scores, methods=(), controls=controls, rules=rules, alpha=alpha)
    verdicts |= {c: Writer(init, alpha).verdicts(c, found) for c, found in own.items()}
    return [v for name in dict.fromkeys([*methods, *controls]) for v in verdicts[name]]


def share_of_scores(
    settled: Mapping[str, int], methods: Sequence[str], looks: Sequence[Look]
) -> float:
    """Return the scores that `methods` needed as a share of those without `--until-decided`."""
    final_look = len(looks) - 1
    used = sum(looks[settled.get(m, final_look)].size for m in methods)
    return used / (looks[-1].size * len(methods))


def _seen(scores: pd.DataFrame, images: Sequence[str], look: Look) -> pd.DataFrame:
    """Return the rows that a run which stopped after `look` would have."""
    if look.images >= len(images) and look.draws > int(scores["draw"].max()):
        return scores
    keep = scores["image"].isin(list(images[: look.images]))
    keep &= (scores["draw"] < look.draws) | (scores["stage"] == REFERENCE_STAGE)
    return scores[keep]


def _reached(scores: pd.DataFrame, look: Look, rules: Rules) -> set[str]:
    """Return the methods whose scores reach as far as `look`, at both decisive stages."""
    stages = [question.stage for question in rules.questions]
    states = scores.loc[scores["stage"].isin(stages), ["method", "stage", "image", "draw"]]
    size = states.drop_duplicates().groupby(["method", "stage"], observed=True).size()
    enough = size[size >= look.size].reset_index()["method"].value_counts()
    return {str(method) for method, count in enough.items() if count == len(stages)}


def _settled(decisions: Sequence[Decision], alpha: float, later: Sequence[Look]) -> bool:
    """Say whether more images and draws could no longer change the headline, or would hardly.

    FAIL settles by a test, never by the estimate alone ("nothing changed"); PASS settles while no
    cell lacks scores that a larger round may give it; so does a gate that covers every cell, and an
    open question that the `later` looks would hardly answer.
    """
    answers = [answer for decision in decisions for answer in decision.cell.answers]
    if not answers or all(answer.gate is not None for answer in answers):
        return bool(answers)
    top = headline(decisions)
    outcome = None if top is None else top.outcome
    if outcome is Outcome.PASS:
        return all(a.retained.share >= LEAST_SHARE or lost(a, later) for a in answers)
    if outcome is Outcome.FAIL:
        tested = [answer for answer in answers if answer.testable]
        return any(a.p_fail < alpha / len(tested) for a in tested)
    return hopeless(decisions, later)


def _told(verdict: Verdict, number: int, looks: Sequence[Look], *, left: bool) -> Verdict:
    """Add to the reason which look it was, and why a method that is open left there."""
    look = looks[number]
    when = f"look {number + 1} of {len(looks)}: {look.images} images, {look.draws} draws"
    if left and verdict.outcome in (Outcome.INCONCLUSIVE, Outcome.UNINFORMATIVE):
        when += "; the others would hardly settle it"
    return replace(verdict, reason=f"{verdict.reason} ({when})")

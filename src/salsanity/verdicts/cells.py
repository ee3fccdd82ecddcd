"""A cell (method, view, similarity): two questions, and what the answers say together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

from salsanity.records import Outcome
from salsanity.verdicts import words
from salsanity.verdicts.intervals import ALPHA, Interval, holm, interval_of
from salsanity.verdicts.retained import LEAST_SHARE, Retained
from salsanity.verdicts.settle import more_needed

LEAST_IMAGES: Final = 4
LEAST_DRAWS: Final = 2
LEAST_CEILING: Final = 0.5
NOTHING: Final = 0.01
"""A similarity this close to the ceiling means that nothing changed."""


@final
@dataclass(frozen=True)
class Question:
    """What is asked at one stage: does more than `threshold` of the similarity stay?"""

    stage: str
    after: str
    """The intervention in words, as in "after all layers are randomised"."""
    threshold: float
    nothing: bool = False
    """Whether "nothing changed" is asked here too."""
    of: str = "its similarity"
    """What a share of is retained."""
    draw: tuple[str, str] = ("draw", "draws")
    """What the columns of the table are called, one and many."""
    caveat: str = ""
    """Why it cannot pass, where the measurement is a lower bound of the retained similarity."""


@final
@dataclass(frozen=True)
class Answer:
    """One question, what was measured, and the gate that forbids an answer (None: no gate)."""

    question: Question
    retained: Retained
    gate: str | None = None

    @cached_property
    def interval(self) -> Interval:
        """The interval of R."""
        return interval_of(self.retained.z)

    @property
    def testable(self) -> bool:
        """Whether it may decide: no gate, informative, with images and draws enough."""
        enough = self.retained.n_images >= LEAST_IMAGES and self.retained.n_draws >= LEAST_DRAWS
        return self.gate is None and enough and self.retained.informative

    @property
    def p_fail(self) -> float:
        """The p value of "at most `threshold` is retained"."""
        return self.interval.p_above(self.question.threshold)

    @property
    def p_pass(self) -> float:
        """The p value of "at least `threshold` is retained"; 1 where it can never pass."""
        return 1.0 if self.question.caveat else self.interval.p_below(self.question.threshold)

    @property
    def nothing_changed(self) -> bool:
        """The map after the intervention is as like the reference as the ceiling is."""
        r = self.retained
        usable = self.gate is None and r.n_draws >= LEAST_DRAWS and r.n_images >= LEAST_IMAGES
        unmoved = r.A >= LEAST_CEILING and r.S >= r.A - NOTHING
        return self.question.nothing and usable and r.share >= LEAST_SHARE and unmoved

    @property
    def excess(self) -> float:
        """How far R lies above the threshold, as a share of the way to 1; for picking the worst."""
        if self.nothing_changed:
            return 1.0
        gap = self.retained.R - self.question.threshold
        return -math.inf if math.isnan(gap) else gap / max(1e-9, 1 - self.question.threshold)


@final
@dataclass(frozen=True)
class Cell:
    """The answers of one (method, view, similarity); the first is the one after everything."""

    method: str
    view: str
    similarity: str
    answers: tuple[Answer, ...]


@final
@dataclass(frozen=True)
class Decision:
    """The outcome of a cell with its reason, and the answer that decided."""

    cell: Cell
    outcome: Outcome
    reason: str
    answer: Answer


def decide(cells: list[Cell], *, alpha: float = ALPHA) -> list[Decision]:
    """Decide all cells of one method: PASS each at `alpha`, FAIL by Holm over all their tests."""
    answers = [
        (i, answer) for i, cell in enumerate(cells) for answer in cell.answers if answer.testable
    ]
    rejected = holm([answer.p_fail for _, answer in answers], alpha=alpha)
    failed: list[list[Answer]] = [[] for _ in cells]
    for (i, answer), fails in zip(answers, rejected, strict=True):
        if fails:
            failed[i].append(answer)
    return [_decided(c, f, len(answers), alpha) for c, f in zip(cells, failed, strict=True)]


def _decided(cell: Cell, failed: list[Answer], family: int, alpha: float) -> Decision:
    first, name = cell.answers[0], words.cell_name(cell.view, cell.similarity)

    def decision(outcome: Outcome, reason: str, answer: Answer = first) -> Decision:
        return Decision(cell, outcome, reason, answer)

    gates = [answer for answer in cell.answers if answer.gate is not None]
    if len(gates) == len(cell.answers):
        return decision(Outcome.INCONCLUSIVE, str(first.gate))
    if (planned := _planned_images(cell)) < LEAST_IMAGES:
        return decision(Outcome.INCONCLUSIVE, words.too_few_images(planned, LEAST_IMAGES))
    for answer in cell.answers:
        if answer.nothing_changed:
            return decision(Outcome.FAIL, words.nothing_changed(name, answer), answer)
    if failed:
        worst = max(failed, key=lambda answer: answer.excess)
        return decision(Outcome.FAIL, words.retains(name, worst), worst)
    for answer in cell.answers:
        if answer.gate is None and not answer.retained.informative:
            return decision(Outcome.UNINFORMATIVE, words.uninformative(name, answer), answer)
    if gates:
        return decision(Outcome.INCONCLUSIVE, str(gates[0].gate), gates[0])
    return _weighed(cell, name, family, alpha)


def _planned_images(cell: Cell) -> int:
    """Return the fewest images of a stage that has scores at all."""
    return min((a.retained.planned[0] for a in cell.answers if a.retained.planned[0]), default=0)


def _weighed(cell: Cell, name: str, family: int, alpha: float) -> Decision:
    """Decide a cell whose answers could all be given and of which none failed."""
    worst = max(cell.answers, key=lambda answer: answer.excess)
    if (draws := min(a.retained.n_draws for a in cell.answers)) < LEAST_DRAWS:
        reason = words.too_few_draws(draws, LEAST_DRAWS, worst.question.draw)
        return Decision(cell, Outcome.INCONCLUSIVE, reason, worst)
    if all(answer.p_pass < alpha for answer in cell.answers):
        return Decision(cell, Outcome.PASS, words.retains(name, worst), worst)
    still_open = [answer for answer in cell.answers if not answer.p_pass < alpha]
    answer = max(still_open, key=lambda answer: answer.excess)
    advice = more_needed(
        answer.retained.z,
        answer.question.threshold,
        alpha_pass=None if answer.question.caveat else alpha,
        alpha_fail=alpha / family,
    )
    reason = words.undecided(name, answer, advice, alpha)
    return Decision(cell, Outcome.INCONCLUSIVE, reason, answer)

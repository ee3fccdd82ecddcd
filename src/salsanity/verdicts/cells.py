"""A cell (method, view, similarity): what is asked of it at each line, and what the answers say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from salsanity.records import Outcome
from salsanity.verdicts import answers, words
from salsanity.verdicts.answers import Answer, Cell, Decision
from salsanity.verdicts.intervals import ALPHA, holm
from salsanity.verdicts.settle import more_needed


@final
@dataclass(frozen=True)
class Family:
    """What the cells of one method say together: whether nothing changed, whether maps ignore the image, how many tests."""

    nothing: bool
    same: bool
    tests: int
    alpha: float

    @classmethod
    def of(cls, cells: Sequence[Cell], alpha: float) -> Family:
        """Ask all cells: "nothing changed" and "the same for every image" hold where no cell that can tell says otherwise."""
        answers = [answer for cell in cells for answer in cell.answers]
        unmoved = [answer.unmoved for answer in answers if answer.speaks]
        same = [a.is_same for a in answers if a.is_same is not None]
        tests = sum(answer.testable for answer in answers)
        return cls(bool(unmoved) and all(unmoved), bool(same) and all(same), tests, alpha)


def decide(cells: Sequence[Cell], *, alpha: float = ALPHA) -> list[Decision]:
    """Decide all cells of one method: PASS each at `alpha`, FAIL by Holm over all their tests."""
    family = Family.of(cells, alpha)
    answers = [(i, a) for i, cell in enumerate(cells) for a in cell.answers if a.testable]
    rejected = holm([answer.p_fail for _, answer in answers], alpha=alpha)
    failed: list[list[Answer]] = [[] for _ in cells]
    for (i, answer), fails in zip(answers, rejected, strict=True):
        if fails:
            failed[i].append(answer)
    return [_decided(cell, fails, family) for cell, fails in zip(cells, failed, strict=True)]


def _decided(cell: Cell, failed: list[Answer], family: Family) -> Decision:
    """Decide a cell: what stands in the way, then FAIL, then what forbids a PASS, then the weighing."""
    gates = [answer for answer in cell.answers if answer.gate is not None]
    if len(gates) == len(cell.answers):
        return Decision(cell, Outcome.INCONCLUSIVE, str(gates[0].gate), gates[0])
    if (images := _planned_images(cell)) < answers.LEAST_IMAGES:
        few = words.too_few_images(images, answers.LEAST_IMAGES)
        return Decision(cell, Outcome.INCONCLUSIVE, few, cell.answers[0])
    unmoved = [answer for answer in cell.answers if answer.unmoved] if family.nothing else []
    for answer in unmoved:
        return Decision(cell, Outcome.FAIL, words.nothing_changed(cell.name, answer), answer)
    if failed:
        worst = max(failed, key=lambda answer: answer.excess)
        return Decision(cell, Outcome.FAIL, worst.says(cell.name, worst), worst)
    for answer in cell.answers:
        if answer.gate is None and (why := _cannot_tell(cell, answer, family)):
            return Decision(cell, Outcome.UNINFORMATIVE, why, answer)
    if gates:
        return Decision(cell, Outcome.INCONCLUSIVE, str(gates[0].gate), gates[0])
    return _weighed(cell, family)


def _cannot_tell(cell: Cell, answer: Answer, family: Family) -> str:
    """Say why an answer that did not fail cannot pass, whatever its numbers; empty: it may."""
    if family.same:
        return words.same_for_every_image(cell.name, answer)
    r = answer.retained
    is_one_draw = r.planned[1] < answer.least_draws and not math.isnan(r.R)
    if answer.passable or is_one_draw:  # which the weighing says
        return ""
    return words.uninformative(cell.name, answer)


def _planned_images(cell: Cell) -> int:
    """Return the fewest images of a stage that has scores at all."""
    return min((a.retained.planned[0] for a in cell.answers if a.retained.planned[0]), default=0)


def _weighed(cell: Cell, family: Family) -> Decision:
    """Decide a cell whose answers could all be given and of which none failed."""
    worst = max(cell.answers, key=lambda answer: answer.excess)
    if (draws := min(a.retained.n_draws for a in cell.answers)) < worst.least_draws:
        reason = words.too_few_draws(draws, worst.least_draws, worst.draw)
        return Decision(cell, Outcome.INCONCLUSIVE, reason, worst)
    if all(answer.p_pass < family.alpha for answer in cell.answers):
        return Decision(cell, Outcome.PASS, worst.says(cell.name, worst), worst)
    still_open = [answer for answer in cell.answers if not answer.p_pass < family.alpha]
    answer = max(still_open, key=lambda answer: answer.excess)
    return Decision(cell, Outcome.INCONCLUSIVE, _undecided(cell, answer, family), answer)


def _undecided(cell: Cell, answer: Answer, family: Family) -> str:
    more = more_needed(
        answer.retained,
        answer.line,
        alpha_pass=None if answer.caveat else family.alpha,
        alpha_fail=family.alpha / family.tests,
    )
    return words.undecided(cell.name, answer, more, family.alpha)

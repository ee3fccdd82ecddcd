"""A cell (method, view, similarity): what is asked of it at each line, and what the answers say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from salsanity.records import Line, Outcome
from salsanity.verdicts import words
from salsanity.verdicts.intervals import ALPHA, ROUNDING, Interval, holm
from salsanity.verdicts.retained import LEAST_RANGE, Retained
from salsanity.verdicts.settle import more_needed

if TYPE_CHECKING:
    from salsanity.verdicts.exchange import Exchanged

LEAST_IMAGES: Final = 4
LEAST_DRAWS: Final = 2
LEAST_CEILING: Final = 0.5
NOTHING: Final = 0.01
"""A similarity this close to the ceiling means that nothing changed."""
LEAST_ALIVE: Final = 0.8
"""Share of images of which the trained network must have a map, for a PASS."""
LEAST_USED: Final = 0.25
"""Share of cells that must be defined, for a PASS of maps that must change."""
LEAST_STAYED: Final = 0.8
"""The same for maps that must stay: a map that went blank did not."""
SAME: Final = 0.95
"""Share of the ceiling from which on the trained network's maps of different images are the same."""


@final
@dataclass(frozen=True)
class Answer:
    """One line, what was measured there, and what stands in the way.

    `gate`: why nothing can be said. `caveat`: why it cannot pass, though it may fail. `draw`: what columns of the table are
    called, one and many. `says`: puts the measurement into words, given the cell's name.
    """

    line: Line
    retained: Retained
    gate: str | None = None
    caveat: str = ""
    draw: tuple[str, str] = ("draw", "draws")
    says: Callable[[str, Answer], str] = words.retains
    is_fixed: bool = False
    """Whether one column is all that there is, and no sample."""

    @property
    def interval(self) -> Interval:
        """The interval of R."""
        return self.retained.alone if self.is_fixed else self.retained.interval

    @property
    def least_draws(self) -> int:
        """Columns that a verdict needs."""
        return 1 if self.is_fixed else LEAST_DRAWS

    @property
    def testable(self) -> bool:
        """Whether it may fail: no gate, room between chance and ceiling, images and draws enough."""
        return self._usable and not math.isnan(self.retained.R)

    @property
    def passable(self) -> bool:
        """Whether it may pass, as far as maps exist: it may fail, and few maps are blank."""
        r = self.retained
        least = LEAST_USED if self.line.must == "change" else LEAST_STAYED
        return self.testable and r.alive >= LEAST_ALIVE and r.share >= least

    @property
    def p_fail(self) -> float:
        """The p value of "R is on the right side of the line": at most the threshold where maps must change."""
        return self._p(self.line.must == "change")

    @property
    def p_pass(self) -> float:
        """The p value of "R is on the wrong side of the line"; 1 where it can never pass."""
        return 1.0 if self.caveat else self._p(self.line.must == "stay")

    @property
    def speaks(self) -> bool:
        """Whether it says if nothing changed: that is asked here, and there are maps enough."""
        return self.line.nothing and self._usable

    @property
    def unmoved(self) -> bool:
        """The map after the intervention is as like the reference as the ceiling is."""
        r = self.retained
        return self.speaks and r.A >= LEAST_CEILING and r.S >= r.A - NOTHING - ROUNDING

    @property
    def is_same(self) -> bool | None:
        """Whether the trained network's maps are the same for every image; None: no telling."""
        likeness, ceiling = self.retained.between
        return likeness >= SAME * ceiling if ceiling >= LEAST_RANGE else None

    @property
    def excess(self) -> float:
        """How far R lies beyond the line on the wrong side, as a share of the way to the worst; for picking the worst."""
        line, r = self.line, self.retained
        if self.unmoved:
            return 1.0
        gap, room = (
            (r.R - line.threshold, 1 - line.threshold)
            if line.must == "change"
            else (line.threshold - r.R, line.threshold)
        )
        return -math.inf if math.isnan(gap) else gap / max(1e-9, room)

    @property
    def _usable(self) -> bool:
        r = self.retained
        return self.gate is None and r.n_images >= LEAST_IMAGES and r.n_draws >= self.least_draws

    def _p(self, is_above: bool) -> float:
        at = self.line.threshold
        return self.interval.p_above(at) if is_above else self.interval.p_below(at)


@final
@dataclass(frozen=True)
class Cell:
    """The answers of one (method, view, similarity); the first is the one after everything."""

    method: str
    view: str
    similarity: str
    answers: tuple[Answer, ...]
    exchanged: Exchanged | None = None

    @property
    def name(self) -> str:
        """The cell in words."""
        return words.cell_name(self.view, self.similarity)


@final
@dataclass(frozen=True)
class Decision:
    """The outcome of a cell with its reason, the answer that decided, and the p of the randomisation test proper."""

    cell: Cell
    outcome: Outcome
    reason: str
    answer: Answer
    p: float = math.nan


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
    if (images := _planned_images(cell)) < LEAST_IMAGES:
        few = words.too_few_images(images, LEAST_IMAGES)
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

"""Values of judging: what was measured at a line of a cell (method, view, similarity), and what that says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from salsanity.records import Line, Outcome
from salsanity.verdicts.intervals import ROUNDING, Interval
from salsanity.verdicts.retained import LEAST_RANGE, Retained
from salsanity.verdicts.table import FloatArray

NAMES: Final = {"spearman": "Spearman", "ssim": "SSIM", "hog": "HOG", "pearson": "Pearson"}
LEAST_IMAGES: Final = 4
LEAST_DRAWS: Final = 2
LEAST_CEILING: Final = 0.5
NOTHING: Final = 0.01
"""A similarity this close to the ceiling means that nothing changed."""
NEARLY_ALL: Final = 0.8
"""And so does only what keeps this share of the way from chance to the ceiling, however short: an offset makes all maps alike."""
LEAST_ALIVE: Final = 0.8
"""Share of images of which the trained network must have a map, for a PASS."""
LEAST_USED: Final = 0.25
"""Share of cells that must be defined, for a PASS of maps that must change."""
LEAST_STAYED: Final = 0.8
"""The same for maps that must stay: a map that went blank did not."""
SAME: Final = 0.95
"""Share of the ceiling from which on the trained network's maps of different images are the same."""


def cell_name(view: str, similarity: str) -> str:
    """Return a cell's name, as "absolute Spearman"."""
    return f"{view} {NAMES.get(similarity, similarity)}"


@final
@dataclass(frozen=True)
class Exchanged:
    """What exchanging networks gave: own_k, dev_k, and the exact p; NaN where pairs are missing or network 0 has no map."""

    own: FloatArray
    dev: FloatArray
    p: float

    @property
    def draws(self) -> int:
        """Random networks."""
        return max(0, len(self.own) - 1)


@final
@dataclass(frozen=True)
class Answer:
    """One line, what was measured there, and what stands in the way.

    `gate`: why nothing can be said. `caveat`: why it cannot pass, though it may fail. `draw`: what columns of the table are
    called, one and many. `says`: puts the measurement into words, given the cell's name.
    """

    line: Line
    retained: Retained
    says: Callable[[str, Answer], str]
    gate: str | None = None
    caveat: str = ""
    draw: tuple[str, str] = ("draw", "draws")
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
        """The map after the intervention is as like the reference as the ceiling is, and liker than other images' maps are."""
        r = self.retained
        is_high = self.speaks and r.A >= LEAST_CEILING and r.S >= r.A - NOTHING - ROUNDING
        is_at_chance = NEARLY_ALL * abs(r.A - r.C) - ROUNDING > r.S - r.C  # not where C is NaN
        return is_high and not is_at_chance

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
        return cell_name(self.view, self.similarity)


@final
@dataclass(frozen=True)
class Decision:
    """The outcome of a cell with its reason, the answer that decided, and the p of the randomisation test proper."""

    cell: Cell
    outcome: Outcome
    reason: str
    answer: Answer
    p: float = math.nan

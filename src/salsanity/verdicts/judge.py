"""Verdicts of the model parameter randomisation test (SCIENCE, section 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import pandas as pd

from salsanity.records import CONTROLS, Outcome, Verdict
from salsanity.verdicts import words
from salsanity.verdicts.cells import Answer, Cell, Decision, Question, decide
from salsanity.verdicts.gates import Gate
from salsanity.verdicts.headline import NO_SCORES, dominated_cells, headline
from salsanity.verdicts.intervals import ALPHA
from salsanity.verdicts.retained import retained_similarity
from salsanity.verdicts.table import Scores, read_scores

CHECK: Final = "model_randomization"
D_FULL: Final = 0.2
D_HALF: Final = 0.75


@final
@dataclass(frozen=True)
class Rules:
    """What is asked of a run: its two decisive stages, and the thresholds for them."""

    full: str
    half: str | None
    d_full: float = D_FULL
    d_half: float = D_HALF

    @property
    def questions(self) -> tuple[Question, ...]:
        """After everything and, where there is one, after the top half."""
        full = Question(self.full, words.after_full(), self.d_full, nothing=True)
        if self.half is None:
            return (full,)
        return full, Question(self.half, words.after_half(self.half), self.d_half)


@final
@dataclass(frozen=True)
class Writer:
    """Writes decisions down as verdicts, with intervals at the level that decided."""

    init: str | None
    alpha: float

    def verdicts(self, method: str, decisions: Sequence[Decision]) -> list[Verdict]:
        """Return the headline of a method, then its cells."""
        top = headline(decisions)
        if top is None:
            silent = Outcome.UNINFORMATIVE
            return [Verdict(CHECK, method, None, None, silent, NO_SCORES, init=self.init)]
        first = replace(self.verdict(top), view=None, similarity=None)
        return [first, *map(self.verdict, decisions)]

    def verdict(self, decision: Decision) -> Verdict:
        """Write one cell down."""
        cell, full = decision.cell, decision.cell.answers[0]
        half = cell.answers[1] if len(cell.answers) > 1 else None
        nothing = (math.nan, math.nan)
        return Verdict(
            check=CHECK,
            method=cell.method,
            view=cell.view,
            similarity=cell.similarity,
            outcome=decision.outcome,
            reason=decision.reason,
            retained_full=full.retained.R,
            retained_full_ci=full.interval.bounds(self.alpha),
            retained_half=math.nan if half is None else half.retained.R,
            retained_half_ci=nothing if half is None else half.interval.bounds(self.alpha),
            ceiling=full.retained.A,
            n_images=min(t.retained.n_images for t in cell.answers),
            n_draws=min(t.retained.n_draws for t in cell.answers),
            n_undefined=sum(t.retained.n_undefined for t in cell.answers),
            init=self.init,
        )


def judge(
    scores: pd.DataFrame,
    *,
    methods: Sequence[str],
    controls: Sequence[str] = CONTROLS,
    half: str | None,
    full: str,
    d_full: float = D_FULL,
    d_half: float = D_HALF,
    alpha: float = ALPHA,
    init: str | None = None,
    gates: Iterable[Gate] = (),
) -> list[Verdict]:
    """Judge each method and control: its headline, then its cells.

    `scores` has the columns of a run folder; `half` and `full` name the two stages that decide
    (`half` None: networks of fewer than three blocks, independent and bottom-up runs). PASS is at
    one-sided `alpha` per cell; FAIL holds the rate of any false FAIL of a method at `alpha` by
    Holm's method over all tests of its cells. `gates` cover methods, never controls.

    Raises:
        StoreError: columns are absent, or two different scores stand for one map.
    """
    rules = Rules(full, half, d_full, d_half)
    decided = decisions_of(
        scores, methods=methods, controls=controls, rules=rules, alpha=alpha, gates=gates
    )
    writer = Writer(init, alpha)
    return [v for name, decisions in decided.items() for v in writer.verdicts(name, decisions)]


def decisions_of(
    scores: pd.DataFrame,
    *,
    methods: Sequence[str],
    controls: Sequence[str],
    rules: Rules,
    alpha: float = ALPHA,
    gates: Iterable[Gate] = (),
) -> dict[str, list[Decision]]:
    """Decide all cells of each method and control, as `judge` does."""
    names, gates = list(dict.fromkeys([*methods, *controls])), tuple(gates)
    stages = [question.stage for question in rules.questions]
    index = read_scores(scores, check=CHECK, methods=names, stages=stages)
    decided = {
        name: decide(_cells(index, name, rules, () if name in controls else gates), alpha=alpha)
        for name in names
    }
    noise_x_input = decided.get("noise_x_input", [])
    return {
        name: found if name in controls else dominated_cells(found, noise_x_input)
        for name, found in decided.items()
    }


def _cells(index: Scores, method: str, rules: Rules, gates: tuple[Gate, ...]) -> list[Cell]:
    return [
        Cell(
            method,
            view,
            similarity,
            tuple(_answer(index, method, view, similarity, q, gates) for q in rules.questions),
        )
        for view, similarity in index.cells(method)
    ]


def _answer(
    index: Scores,
    method: str,
    view: str,
    similarity: str,
    question: Question,
    gates: tuple[Gate, ...],
) -> Answer:
    table = index.at(method, question.stage, view, similarity)
    reasons = [gate.reason for gate in gates if gate.covers(method, question.stage)]
    return Answer(question, retained_similarity(table), reasons[0] if reasons else None)

"""Verdicts of the model parameter randomisation test (SCIENCE, section 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
class _Asked:
    """The questions of a run: after everything and, where there is one, after the top half."""

    full: Question
    half: Question | None

    @property
    def questions(self) -> tuple[Question, ...]:
        return (self.full,) if self.half is None else (self.full, self.half)

    def verdict(self, decision: Decision, init: str | None, *, is_headline: bool) -> Verdict:
        """Write a decision down."""
        cell, full = decision.cell, decision.cell.answers[0]
        half = cell.answers[1] if len(cell.answers) > 1 else None
        nothing = (math.nan, math.nan)
        return Verdict(
            check=CHECK,
            method=cell.method,
            view=None if is_headline else cell.view,
            similarity=None if is_headline else cell.similarity,
            outcome=decision.outcome,
            reason=decision.reason,
            retained_full=full.retained.R,
            retained_full_ci=full.interval.bounds(),
            retained_half=math.nan if half is None else half.retained.R,
            retained_half_ci=nothing if half is None else half.interval.bounds(),
            ceiling=full.retained.A,
            n_images=min(t.retained.n_images for t in cell.answers),
            n_draws=min(t.retained.n_draws for t in cell.answers),
            n_undefined=sum(t.retained.n_undefined for t in cell.answers),
            init=init,
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
    asked = _Asked(
        Question(full, words.after_full(), d_full, nothing=True),
        None if half is None else Question(half, words.after_half(half), d_half),
    )
    names = list(dict.fromkeys([*methods, *controls]))
    gates = tuple(gates)
    stages = [q.stage for q in asked.questions]
    index = read_scores(scores, check=CHECK, methods=names, stages=stages)
    decided = {
        name: decide(_cells(index, name, asked, () if name in controls else gates), alpha=alpha)
        for name in names
    }
    verdicts = []
    for name in names:
        if name not in controls:
            decided[name] = dominated_cells(decided[name], decided.get("noise_x_input", []))
        verdicts += _written(name, decided[name], asked, init)
    return verdicts


def _written(
    name: str, decisions: list[Decision], asked: _Asked, init: str | None
) -> list[Verdict]:
    top = headline(decisions)
    if top is None:
        return [Verdict(CHECK, name, None, None, Outcome.UNINFORMATIVE, NO_SCORES, init=init)]
    first = asked.verdict(top, init, is_headline=True)
    return [first, *(asked.verdict(d, init, is_headline=False) for d in decisions)]


def _cells(index: Scores, method: str, asked: _Asked, gates: tuple[Gate, ...]) -> list[Cell]:
    return [
        Cell(
            method,
            view,
            similarity,
            tuple(_answer(index, method, view, similarity, q, gates) for q in asked.questions),
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

"""Verdicts of the data randomisation test (SCIENCE, section 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from salsanity.records import CONTROLS, LabelVerdict, Outcome
from salsanity.verdicts.cells import Answer, Cell, Decision, Question, decide
from salsanity.verdicts.gates import Gate
from salsanity.verdicts.headline import NO_SCORES, dominated_cells, headline
from salsanity.verdicts.intervals import ALPHA
from salsanity.verdicts.retained import (
    Retained,
    complete,
    mean,
    ratio,
    retained_similarity,
)
from salsanity.verdicts.table import FloatArray, Scores, StageTable, read_scores

CHECK: Final = "data_randomization"
TRUE_PAIRS: Final = "TT"
"""Stage of the rows that compare the maps of two networks trained on true labels."""
MIXED_PAIRS: Final = "TP"
"""Stage of the rows that compare a network trained on true labels with one on permuted labels."""
D_LABELS: Final = 0.5

AFTER: Final = "when the training labels are permuted"
AGREEMENT: Final = "two honest networks' agreement"
PAIRS: Final = ("pair of networks", "pairs of networks")
LOWER_BOUND: Final = (
    "with one network on true labels this is only a lower bound, which can FAIL but never PASS "
    "(add a second network trained on true labels)"
)
NO_HONEST_PAIR: Final = "no two networks on true labels were compared"
THESE_ONLY: Final = "this speaks of these networks only"


def judge_labels(
    scores: pd.DataFrame,
    *,
    methods: Sequence[str],
    controls: Sequence[str] = CONTROLS,
    true_networks: int,
    threshold: float = D_LABELS,
    alpha: float = ALPHA,
    init: str | None = None,
    gates: Iterable[Gate] = (),
) -> list[LabelVerdict]:
    """Judge each method and control: its headline, then its cells.

    `scores` has the columns of a run folder: stage `TT` compares two true networks, `TP` a true
    and a permuted one, `self` holds the ceiling, and `draw` counts pairs of networks.
    R = (S_TP - C_TP) / (S_TT - C_TT); below the line, controls have 1 - C_TP, and a single true
    network A - C_TP, which makes R a lower bound that cannot PASS. FAIL and PASS as in `judge`.

    Raises:
        StoreError: columns are absent, or two different scores stand for one map.
    """
    names, gates = list(dict.fromkeys([*methods, *controls])), tuple(gates)
    index = read_scores(scores, check=CHECK, methods=names, stages=(TRUE_PAIRS, MIXED_PAIRS))
    question = Question(MIXED_PAIRS, AFTER, threshold, nothing=True, draw=PAIRS)
    honest = (
        replace(question, of=AGREEMENT)
        if true_networks > 1
        else replace(question, caveat=LOWER_BOUND)
    )
    decided = {
        name: decide(_cells(index, name, question, ()), alpha=alpha)
        if name in controls
        else decide(_cells(index, name, honest, gates), alpha=alpha)
        for name in names
    }
    verdicts = []
    for name in names:
        if name not in controls:
            decided[name] = dominated_cells(
                decided[name], decided.get("noise_x_input", []), on_own_line=true_networks < 2
            )
        verdicts += _written(name, decided[name], init)
    return verdicts


def _cells(index: Scores, method: str, question: Question, gates: tuple[Gate, ...]) -> list[Cell]:
    reasons = [gate.reason for gate in gates if gate.covers(method, question.stage)]
    gate = reasons[0] if reasons else None
    cells = []
    for view, similarity in index.cells(method):
        kept = _retained(index, method, view, similarity, against_true=question.of == AGREEMENT)
        cells.append(Cell(method, view, similarity, (Answer(question, kept, gate),)))
    return cells


def _retained(
    index: Scores, method: str, view: str, similarity: str, *, against_true: bool
) -> Retained:
    """Measure one cell: against two true networks' agreement, or against the ceiling."""
    beside = (TRUE_PAIRS,) if against_true else ()
    mixed = index.at(method, MIXED_PAIRS, view, similarity, beside=beside)
    if not against_true:  # a control's ceiling is 1
        return retained_similarity(mixed)
    honest = index.at(method, TRUE_PAIRS, view, similarity, beside=(MIXED_PAIRS,))
    return retained_agreement(mixed, honest)


def retained_agreement(mixed: StageTable, honest: StageTable) -> Retained:
    """Measure R = (S_TP - C_TP) / (S_TT - C_TT) on the images that both tables keep.

    The line below is linearised per image: T_i, the mean of S_TT - C_TT over the pairs of true
    networks, stands where the model parameter randomisation test has A_i - C_id.
    """
    images, pairs = complete(_scored(mixed))
    honest_images, honest_pairs = complete(_scored(honest))
    images = images & honest_images
    S, C = _kept(mixed, images, pairs)
    S_TT, C_TT = _kept(honest, images, honest_pairs)
    T = (S_TT - C_TT).mean(axis=1) if S_TT.size else np.full(S.shape[0], np.nan)
    planned = mixed.value.size + honest.value.size
    undefined = Counter(mixed.undefined) + Counter(honest.undefined)
    if not honest.value.size:
        undefined[NO_HONEST_PAIR] = mixed.value.size
    return Retained(
        S=mean(S),
        C=mean(C),
        A=mean(mixed.ceiling[images]),
        **ratio(S - C, np.broadcast_to(T[:, None], S.shape)),
        top=mean(S_TT),
        floor=mean(C_TT),
        similarity=S,
        planned=mixed.shape,
        share=(S.size + S_TT.size) / max(1, planned),
        undefined=dict(undefined),
    )


def _scored(table: StageTable) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray(np.isfinite(table.value) & np.isfinite(table.chance), dtype=bool)


def _kept(
    table: StageTable,
    images: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    draws: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> tuple[FloatArray, FloatArray]:
    place = np.ix_(images, draws)
    return table.value[place], table.chance[place]


def _written(name: str, decisions: list[Decision], init: str | None) -> list[LabelVerdict]:
    top = headline(decisions)
    if top is None:
        return [LabelVerdict(CHECK, name, None, None, Outcome.UNINFORMATIVE, NO_SCORES, init=init)]
    spoken = replace(top, reason=f"{top.reason}; {THESE_ONLY}")
    first = replace(_verdict(spoken, init), view=None, similarity=None)
    return [first, *(_verdict(d, init) for d in decisions)]


def _verdict(decision: Decision, init: str | None) -> LabelVerdict:
    cell, kept = decision.cell, decision.answer.retained
    return LabelVerdict(
        check=CHECK,
        method=cell.method,
        view=cell.view,
        similarity=cell.similarity,
        outcome=decision.outcome,
        reason=decision.reason,
        retained=kept.R,
        retained_ci=decision.answer.interval.bounds(),
        ceiling=kept.top,
        n_images=kept.n_images,
        n_draws=kept.n_draws,
        n_undefined=kept.n_undefined,
        init=init,
    )

"""Similarity by stage: the numbers behind the figures."""

from __future__ import annotations

import math
from typing import Final

import pandas as pd

from salsanity.verdicts.intervals import ALPHA, interval_of
from salsanity.verdicts.judge import CHECK
from salsanity.verdicts.retained import Retained, retained_similarity
from salsanity.verdicts.table import read_scores

COLUMNS: Final = (
    "method",
    "view",
    "similarity",
    "stage",
    "stage_index",
    "S",
    "C",
    "A",
    "R",
    "low",
    "high",
    "S_low",
    "S_high",
    "n_images",
    "n_draws",
    "n_undefined",
)


def curves(scores: pd.DataFrame, *, check: str = CHECK, alpha: float = ALPHA) -> pd.DataFrame:
    """Return one row per method, view, similarity and stage, in the order of the stages.

    Columns: `COLUMNS`. `low` and `high` bound R and `S_low` and `S_high` bound S, two-sided at
    1 - 2 `alpha`, NaN for one draw or one image. R is NaN where A - C < 0.1, and in the data
    randomisation test, where it is no matter of one stage: see `judge_labels`.
    """
    index = read_scores(scores, check=check)
    rows = []
    for method in index.names["method"]:
        for view, similarity in index.cells(method):
            for stage, stage_index in index.stages.items():
                table = index.at(method, stage, view, similarity)
                if table.value.size:
                    kept = retained_similarity(table)
                    head = (method, view, similarity, stage, stage_index)
                    rows.append(_row(head, kept, alpha, is_ratio=check == CHECK))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(
    head: tuple[str, str, str, str, int], kept: Retained, alpha: float, *, is_ratio: bool
) -> tuple[str | float, ...]:
    bounds = interval_of(kept.z).bounds(alpha)
    retained = (kept.R, *bounds) if is_ratio else (math.nan,) * 3
    raw = interval_of(kept.similarity).bounds(alpha)
    counts = (kept.n_images, kept.n_draws, kept.n_undefined)
    return (*head, kept.S, kept.C, kept.A, *retained, *raw, *counts)

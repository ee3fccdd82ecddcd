"""Rows of scores and records of checks for tests, as a run folder has them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from salsanity.records import CheckRecord, Line, Outcome, Words

WORDS = Words("a title", "a question?", "caught", "uncaught")
CONTROLS = {"edge": Outcome.FAIL, "noise": Outcome.PASS}
AFTER_FULL = "after all layers are randomised"
AFTER_HALF = "after the top half of the network, down to half, is randomised"
LOWER_BOUND = "with one network on true labels it can FAIL but never PASS"


def record_of(*lines: Line, name: str = "cascade", **fields) -> CheckRecord:
    """A check's record with these lines."""
    stages = tuple({"name": s, "index": i} for i, s in enumerate(("half", "full"), 1))
    known = {
        "words": WORDS,
        "controls": CONTROLS,
        "stages": stages,
        "states": ("trained", "half", "full"),
        "draws": 8,
        "measures": ("spearman",),
        "is_course": True,
    }
    return CheckRecord(name=name, lines=lines, **{**known, **fields})


def cascade_record(*, half: str | None = "half", d_full=0.2, d_half=0.75, **fields) -> CheckRecord:
    """The record of the model parameter randomisation test."""
    lines = [Line("full", "full", d_full, AFTER_FULL, nothing=True)]
    if half:
        lines.append(Line("half", half, d_half, AFTER_HALF))
    return record_of(*lines, **fields)


def labels_record(true_networks: int = 2, *, threshold: float = 0.5, **fields) -> CheckRecord:
    """The record of the data randomisation test."""
    after = ("permuted", "TP", threshold, "when the training labels are permuted")
    honest = {"against": "TT", "of": "two honest networks' agreement"}
    line = Line(*after, nothing=True, **(honest if true_networks > 1 else {"caveat": LOWER_BOUND}))
    draw = ("pair of networks", "pairs of networks")
    scope = "this speaks of these networks only"
    words = Words("a title", "a question?", "caught", "uncaught", draw=draw, scope=scope)
    return record_of(line, name="labels", words=words, is_course=False, **fields)


COLUMNS = [
    "check",
    "draw",
    "stage",
    "stage_index",
    "image",
    "method",
    "view",
    "similarity",
    "value",
    "chance",
    "reason",
]


def stage_rows(
    value,
    chance,
    *,
    stage: str,
    method: str = "gradient",
    view: str = "signed",
    similarity: str = "spearman",
    check: str = "cascade",
    stage_index: int = 1,
    reason: str | None = None,
) -> pd.DataFrame:
    """Rows of one cell at one stage from (N, D) tables; undefined rows get `reason`."""
    value = np.asarray(value, dtype=float)
    chance = np.broadcast_to(np.asarray(chance, dtype=float), value.shape)
    (n, d), defined = value.shape, np.isfinite(value) & np.isfinite(chance)
    said = np.full(value.shape, None, dtype=object)
    said[~defined] = reason
    columns = {
        "check": check,
        "draw": np.tile(np.arange(d), n),
        "stage": stage,
        "stage_index": stage_index,
        "image": np.repeat(np.array([f"{i:064x}" for i in range(n)], dtype=object), d),
        "method": method,
        "view": view,
        "similarity": similarity,
        "value": value.ravel(),
        "chance": chance.ravel(),
        "reason": said.ravel(),
    }
    return pd.DataFrame(columns, columns=COLUMNS)


def ceiling_rows(
    n: int,
    *,
    A=1.0,
    chance=np.nan,
    method: str = "gradient",
    view: str = "signed",
    similarity: str = "spearman",
    check: str = "cascade",
) -> pd.DataFrame:
    """Rows of stage `self`."""
    A, chance = (np.broadcast_to(np.asarray(x, dtype=float), (n,))[:, None] for x in (A, chance))
    cell = {"method": method, "view": view, "similarity": similarity, "check": check}
    return stage_rows(A, chance, stage="self", stage_index=0, **cell)


def joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All rows in one frame, each reason None or a string."""
    return pd.concat(list(parts), ignore_index=True)


def cell_frame(
    full,
    half=None,
    *,
    chance=0.0,
    A=1.0,
    between=np.nan,
    method: str = "gradient",
    view: str = "signed",
    similarity: str = "spearman",
    reason: str | None = None,
) -> pd.DataFrame:
    """One cell of the model parameter randomisation test: stages `full` and, if given, `half`."""
    cell = {"method": method, "view": view, "similarity": similarity}
    parts = [
        ceiling_rows(np.asarray(full).shape[0], A=A, chance=between, **cell),
        stage_rows(full, chance, stage="full", stage_index=4, reason=reason, **cell),
    ]
    if half is not None:
        parts.append(stage_rows(half, chance, stage="half", stage_index=2, reason=reason, **cell))
    return joined(parts)


def around(R: float, *, n: int = 10, d: int = 5, spread: float = 0.02, seed: int = 0):
    """(n, d) similarities whose mean is exactly R (chance 0, ceiling 1), with crossed effects."""
    rng = np.random.default_rng(seed)
    table = rng.normal(0, spread, (n, 1)) + rng.normal(0, spread, (1, d))
    table = table + rng.normal(0, spread, (n, d))
    return R + table - table.mean()


def label_frame(
    mixed,
    honest=None,
    *,
    chance=0.0,
    honest_chance=0.0,
    A=1.0,
    method: str = "gradient",
    view: str = "signed",
    similarity: str = "spearman",
    reason: str | None = None,
) -> pd.DataFrame:
    """One cell of the data randomisation test: stages `TP` and, with two true networks, `TT`."""
    cell = {"view": view, "similarity": similarity, "method": method}
    cell["check"] = "labels"
    parts = [
        ceiling_rows(np.asarray(mixed).shape[0], A=A, **cell),
        stage_rows(mixed, chance, stage="TP", stage_index=2, reason=reason, **cell),
    ]
    if honest is not None:
        parts.append(
            stage_rows(honest, honest_chance, stage="TT", stage_index=1, reason=reason, **cell)
        )
    return joined(parts)

"""How often verdicts are wrong, on planted scores whose retained similarity is known.

    python benchmarks/error_rates.py [--repeats 1000] [--seed 0]

A method has six cells (two views, three similarities) and two questions each. Its scores are
S = C + r (A - C), with r = R + image effect + draw effect + residual, so that R is known; the
effects of a method's cells are correlated, as those of real similarities are. Columns:

- `false PASS`, one cell: R at full exactly on the threshold, R at half far below it;
- `false FAIL`, one cell: the same scores;
- `false FAIL`, method: all twelve retained similarities exactly on their thresholds;
- `FAIL of .9`: an insensitive method is rejected; `PASS of .9` it passes (both of the headline);
- `PASS of .02`: a sensitive method passes; `FAIL of .02` it is rejected.

Nominal is .05 for the false outcomes. Columns of six cells have a fifth of the repeats.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from salsanity.records import Outcome
from salsanity.verdicts.judge import D_FULL, D_HALF, judge

CELLS = tuple((v, s) for v in ("signed", "absolute") for s in ("spearman", "ssim", "hog"))
SAFE = 0.02
INSENSITIVE = 0.9


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the planted effects on r."""

    name: str
    image: float
    draw: float
    residual: float


SPREADS = (
    Spread("equal", 0.1, 0.1, 0.1),
    Spread("draws", 0.03, 0.15, 0.1),
    Spread("images", 0.15, 0.03, 0.1),
    Spread("residual", 0.0, 0.0, 0.15),
)


def planted(
    rng: np.random.Generator,
    *,
    repeats: int,
    cells: int,
    R: Sequence[float],
    images: int,
    draws: int,
    spread: Spread,
    ceiling: float = 0.9,
) -> pd.DataFrame:
    """Scores of `repeats` methods with `cells` cells and len(R) stages: full, half."""
    shape = (repeats, cells, len(R), images, draws)

    def effect(sd: float, *, image: bool, draw: bool) -> np.ndarray:
        one = (images if image else 1, draws if draw else 1)
        shared = rng.normal(size=(repeats, 1, 1, *one))
        own = rng.normal(size=(repeats, cells, len(R), *one))
        return sd * (np.sqrt(0.6) * shared + np.sqrt(0.4) * own)

    r = np.asarray(R)[None, None, :, None, None] + effect(spread.image, image=True, draw=False)
    r = r + effect(spread.draw, image=False, draw=True)
    r = r + effect(spread.residual, image=True, draw=True)
    A = ceiling + 0.03 * rng.normal(size=(repeats, cells, 1, images, 1))
    C = 0.1 + 0.05 * rng.normal(size=(repeats, cells, 1, images, 1)) + 0.05 * rng.normal(size=shape)
    return _frame(C + r * (A - C), C, A[:, :, 0, :, 0])


def _frame(S: np.ndarray, C: np.ndarray, A: np.ndarray) -> pd.DataFrame:
    """Rows of a run folder: method m<i> for each repeat."""
    at = np.indices(S.shape).reshape(5, -1)
    scored = _rows(at[0], at[1], at[2] + 1, at[3], at[4], S.ravel(), C.ravel())
    at = np.indices(A.shape).reshape(3, -1)
    zero = np.zeros(A.size, dtype=int)
    own = _rows(at[0], at[1], zero, at[2], zero, A.ravel(), np.full(A.size, np.nan))
    return pd.concat([scored, own], ignore_index=True)


def _rows(
    method: np.ndarray,
    cell: np.ndarray,
    stage: np.ndarray,
    image: np.ndarray,
    draw: np.ndarray,
    value: np.ndarray,
    chance: np.ndarray,
) -> pd.DataFrame:
    def named(codes: np.ndarray, names: Sequence[str]) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, categories=list(names))

    return pd.DataFrame(
        {
            "check": "model_randomization",
            "draw": draw,
            "stage": np.array(["self", "full", "half"], dtype=object)[stage],
            "stage_index": stage,
            "image": named(image, [f"{i:05d}" for i in range(int(image.max()) + 1)]).astype(object),
            "method": np.array([f"m{i:05d}" for i in range(int(method.max()) + 1)])[method],
            "view": np.array([v for v, _ in CELLS], dtype=object)[cell],
            "similarity": np.array([s for _, s in CELLS], dtype=object)[cell],
            "value": value,
            "chance": chance,
            "reason": None,
        }
    )


def outcomes(scores: pd.DataFrame, *, half: bool = True) -> dict[Outcome, float]:
    """The rate of each headline."""
    methods = sorted(scores["method"].unique())
    verdicts = judge(
        scores, methods=methods, controls=(), full="full", half="half" if half else None
    )
    said = [v.outcome for v in verdicts if v.view is None]
    return {outcome: said.count(outcome) / len(said) for outcome in Outcome}


def rates(
    rng: np.random.Generator, *, repeats: int, images: int, draws: int, spread: Spread
) -> dict[str, float]:
    """One line of the table."""

    def run(cells: int, R: Sequence[float], n: int) -> dict[Outcome, float]:
        scores = planted(
            rng, repeats=n, cells=cells, R=R, images=images, draws=draws, spread=spread
        )
        return outcomes(scores)

    few = max(1, repeats // 5)
    cell, method = run(1, (D_FULL, SAFE), repeats), run(6, (D_FULL, D_HALF), few)
    insensitive = run(6, (INSENSITIVE, INSENSITIVE), few)
    sensitive = run(6, (SAFE, SAFE), few)
    return {
        "false PASS": cell[Outcome.PASS],
        "false FAIL": cell[Outcome.FAIL],
        "method false FAIL": method[Outcome.FAIL],
        "FAIL of .9": insensitive[Outcome.FAIL],
        "PASS of .9": insensitive[Outcome.PASS],
        "PASS of .02": sensitive[Outcome.PASS],
        "FAIL of .02": sensitive[Outcome.FAIL],
    }


def table(*, repeats: int, seed: int) -> pd.DataFrame:
    """Rates for few and many images and draws, and for each kind of spread."""
    rng, lines = np.random.default_rng(seed), []
    for spread in SPREADS:
        for images, draws in ((4, 2), (10, 3), (10, 5), (50, 5)):
            line = rates(rng, repeats=repeats, images=images, draws=draws, spread=spread)
            lines.append({"spread": spread.name, "images": images, "draws": draws, **line})
            print(".", end="", file=sys.stderr, flush=True)
    return pd.DataFrame(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    found = table(repeats=options.repeats, seed=options.seed)
    print(found.to_string(index=False, float_format="{:.3f}".format))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

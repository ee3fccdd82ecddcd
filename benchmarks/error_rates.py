"""How often verdicts are wrong, on planted scores whose retained similarity is known.

    python benchmarks/error_rates.py [--repeats 2000] [--seed 0]

A method has six cells (two views, three similarities) and two lines each. Its scores are
S = C + r (A - C), with r = R + image effect + draw effect + residual, so that R is known; the
effects of a method's cells are correlated, as those of real similarities are. Some maps are blank, in all
cells at once: at random; `by draw`, where draws differ in how many of their maps are blank; or `by value`,
where maps that keep much are blank more often (R is then that of the maps that exist, since of others nothing
can be said). Skewed draw effects are exponential: `up` has rare draws that keep much, `down` rare ones that
keep little. Columns:

- `false PASS`, `false FAIL`: one cell, R at full exactly on the threshold, R at half far below it;
- `method FAIL`: false FAILs of a method, all twelve retained similarities exactly on their thresholds;
- `FAIL .35`, `FAIL .9`: methods that retain so much at full, and .6 at half; `PASS .1`: so little at full and .3 at half.

Nominal is .05 for the false outcomes. The last three have a fifth of the repeats. Thousands of methods are judged at once, by a
vectorised reading of the rule, which a test holds against the product's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr

from salsanity.records import CheckRecord, Line, Outcome, Words
from salsanity.verdicts import words
from salsanity.verdicts.answers import Answer, Cell
from salsanity.verdicts.cells import decide
from salsanity.verdicts.headline import headline
from salsanity.verdicts.intervals import ALPHA
from salsanity.verdicts.retained import retained_similarity
from salsanity.verdicts.table import StageTable

CELLS = tuple((v, s) for v in ("signed", "absolute") for s in ("spearman", "ssim", "hog"))
SAFE = 0.02
D_FULL, D_HALF = 0.2, 0.75
LINES = (
    Line("full", "full", D_FULL, "after all layers are randomised", nothing=True),
    Line("half", "half", D_HALF, "after the top half is randomised"),
)
RECORD = CheckRecord(
    name="cascade",
    words=Words("planted", "", "", ""),
    lines=LINES,
    controls={},
    stages=({"name": "half", "index": 1}, {"name": "full", "index": 2}),
    states=("trained", "half", "full"),
    draws=8,
    measures=("spearman", "ssim", "hog"),
)


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the planted effects on r; `skew`: of draw effects, 0 Gaussian, 1 exponential, -1 mirrored."""

    name: str
    image: float
    draw: float
    residual: float
    skew: int = 0


SPREADS = (
    Spread("equal", 0.1, 0.1, 0.1),
    Spread("draws", 0.03, 0.15, 0.1),
    Spread("images", 0.15, 0.03, 0.1),
    Spread("residual", 0.0, 0.0, 0.15),
    Spread("draws, skewed up", 0.03, 0.15, 0.1, 1),
    Spread("draws, skewed down", 0.03, 0.15, 0.1, -1),
)
SIZES = ((16, 2), (24, 3), (8, 5), (32, 8))


@dataclass(frozen=True)
class Dead:
    """How many changed maps are blank, and which: "at random", "by draw", "by value"."""

    share: float = 0.0
    kind: str = "at random"

    def __str__(self) -> str:
        return f"{self.share:.0%} {self.kind}" if self.share else "none"


DEAD = (Dead(), *(Dead(s, k) for s in (0.2, 0.5) for k in ("at random", "by draw", "by value")))


@dataclass(frozen=True)
class Planted:
    """Similarities, chance (repeats, cells, stages, N, D) and ceilings (repeats, cells, N) of methods; stages: full, half."""

    S: np.ndarray
    C: np.ndarray
    A: np.ndarray


def effects(rng: np.random.Generator, spread: Spread, shape: tuple[int, ...]) -> np.ndarray:
    """Effects on r, (repeats, cells, stages, N, D); .6 of each variance is common to a method's cells and stages."""
    repeats, cells, stages, images, draws = shape

    def effect(sd: float, n: int, d: int, skew: int = 0) -> np.ndarray:
        def unit(*size: int) -> np.ndarray:
            return skew * (rng.exponential(size=size) - 1) if skew else rng.normal(size=size)

        shared, own = unit(repeats, 1, 1, n, d), unit(repeats, cells, stages, n, d)
        return sd * (np.sqrt(0.6) * shared + np.sqrt(0.4) * own)

    found = effect(spread.image, images, 1) + effect(spread.draw, 1, draws, spread.skew)
    return found + effect(spread.residual, images, draws)


def blank(rng: np.random.Generator, dead: Dead, e: np.ndarray) -> np.ndarray:
    """Which maps are blank, (repeats, 1, stages, N, D); e: the effects, whose mean over cells decides "by value"."""
    repeats, _, stages, images, draws = e.shape
    shape = (repeats, 1, stages, images, draws)
    if not dead.share:
        return np.zeros(shape, dtype=bool)
    if dead.kind == "at random":
        return rng.random(shape) < dead.share
    if dead.kind == "by draw":
        rate = rng.beta(dead.share, 1 - dead.share, (repeats, 1, stages, 1, draws))
        return rng.random(shape) < rate
    value = e.mean(axis=1, keepdims=True)
    latent = value / value.std() + rng.normal(size=shape)
    return latent > np.quantile(latent, 1 - dead.share)


def shift(spread: Spread, dead: Dead, cells: int) -> float:
    """The mean effect of maps that exist, where those with large effects are blank more often."""
    if dead.kind != "by value" or not dead.share:
        return 0.0
    rng = np.random.default_rng(0)
    e = effects(rng, spread, (4000, cells, 1, 12, 12))
    alive = np.broadcast_to(~blank(rng, dead, e), e.shape)
    return float(e[alive].mean())


def planted(
    rng: np.random.Generator,
    *,
    repeats: int,
    cells: int,
    R: Sequence[float],
    size: tuple[int, int],
    spread: Spread,
    dead: Dead = DEAD[0],
) -> Planted:
    """Scores of `repeats` methods with `cells` cells, whose maps that exist retain R at full and half."""
    images, draws = size
    shape = (repeats, cells, len(R), images, draws)
    e = effects(rng, spread, shape)
    r = np.asarray(R)[None, None, :, None, None] - shift(spread, dead, cells) + e
    A = 0.9 + 0.03 * rng.normal(size=(repeats, cells, 1, images, 1))
    C = 0.1 + 0.05 * rng.normal(size=(repeats, cells, 1, images, 1)) + 0.05 * rng.normal(size=shape)
    S = np.where(blank(rng, dead, e), np.nan, C + r * (A - C))
    return Planted(S, C, A[:, :, 0, :, 0])


@dataclass(frozen=True)
class Measured:
    """What the rule makes of every table of similarities at once, each (repeats, cells, stages)."""

    R: np.ndarray
    v: np.ndarray
    df: np.ndarray
    enough: np.ndarray
    """Images and draws enough to FAIL."""
    maps: np.ndarray
    """Maps enough to PASS."""

    def p(self, *, above: bool) -> np.ndarray:
        """One-sided p values of R at most (at least) its line."""
        distance = (self.R - np.array([D_FULL, D_HALF])[: self.R.shape[2]]) * (1 if above else -1)
        return stdtr(self.df, -distance / np.sqrt(self.v))


def measured(scores: Planted) -> Measured:
    """The interval of docs/explanation.md for all tables at once; `tests/verdicts/test_error_rates.py` compares the product's."""
    used = np.isfinite(scores.S)
    change = np.where(used, scores.S - scores.C, 0.0)
    line = np.where(used, scores.A[:, :, None, :, None] - scores.C, 0.0)
    both, w = (-2, -1), used.astype(float)
    n = np.maximum(w.sum(axis=both), 1)
    R, scale = change.sum(axis=both) / line.sum(axis=both), line.sum(axis=both) / n
    u = (change - R[..., None, None] * line) / scale[..., None, None]
    n_i, n_d = w.sum(axis=-1), w.sum(axis=-2)
    N, D = (n_i > 0).sum(axis=-1), (n_d > 0).sum(axis=-1)
    N_e, D_e = n**2 / (n_i**2).sum(axis=-1), n**2 / (n_d**2).sum(axis=-1)
    V_i = N_e / (N_e - 1) * (u.sum(axis=-1) ** 2).sum(axis=-1) / n**2
    V_d = D_e / (D_e - 1) * (u.sum(axis=-2) ** 2).sum(axis=-1) / n**2
    left = n - N - D + 1
    V_e = np.where(left > 0, residual(u, w) / np.maximum(left, 1) / n, 0.0)
    v = np.maximum(V_i + V_d - V_e, np.maximum(V_i, V_d))
    parts = V_i**2 / (N_e - 1) + V_d**2 / (D_e - 1) + V_e**2 / np.maximum(left, 1)
    alone = np.where(V_i >= V_d, N_e - 1, D_e - 1)
    df = np.where(V_e > np.minimum(V_i, V_d), alone, (V_i + V_d - V_e) ** 2 / parts)
    df = np.where(D < 5, np.minimum(N, D) - 1, np.maximum(df, np.minimum(N_e, D_e) - 1))
    return Measured(R, v, df, (N >= 4) & (D >= 2), n / used[0, 0, 0].size >= 0.25)


def residual(u: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Residual sums of squares of the additive least-squares fits."""
    n_i = np.maximum(w.sum(axis=-1, keepdims=True), 1)
    inside = w * (u - u.sum(axis=-1, keepdims=True) / n_i)
    normal = np.eye(w.shape[-1]) * w.sum(axis=-2)[..., None, :]
    normal = normal - np.swapaxes(w, -1, -2) @ (w / n_i)
    effects = np.linalg.pinv(normal, hermitian=True) @ inside.sum(axis=-2)[..., None]
    of_draws = w * np.swapaxes(effects, -1, -2)
    return ((inside - of_draws + w * of_draws.sum(axis=-1, keepdims=True) / n_i) ** 2).sum(
        axis=(-2, -1)
    )


def headlines(scores: Planted, *, alpha: float = ALPHA) -> list[Outcome]:
    """The headline of each method: FAIL by Holm (whose first step decides), PASS where each informative cell passes."""
    with np.errstate(invalid="ignore", divide="ignore"):  # tables without a map
        found = measured(scores)
        fails, passes = found.p(above=True), found.p(above=False)
    tests = found.enough.sum(axis=(1, 2))
    failed = np.where(found.enough, fails, 1.0).min(axis=(1, 2)) < alpha / np.maximum(tests, 1)
    informative = (found.enough & found.maps).all(axis=2)
    open_ = (informative & ~(passes < alpha).all(axis=2)).any(axis=1)
    said = np.full(len(failed), Outcome.PASS, dtype=object)
    said[open_] = Outcome.INCONCLUSIVE
    said[~informative.any(axis=1)] = Outcome.UNINFORMATIVE
    said[failed] = Outcome.FAIL
    return list(said)


def outcomes(scores: Planted) -> dict[Outcome, float]:
    """The rate of each headline."""
    said = headlines(scores)
    return {outcome: said.count(outcome) / len(said) for outcome in Outcome}


def judged(scores: Planted) -> list[Outcome]:
    """The headline of each method by the product's own rule, one after another."""
    return [_headline(scores, method) for method in range(len(scores.S))]


def _headline(scores: Planted, method: int) -> Outcome:
    S, C, A = scores.S[method], scores.C[method], scores.A[method]
    cells = []
    for i in range(len(S)):
        answers = tuple(_answer(line, S[i, k], C[i, k], A[i]) for k, line in enumerate(LINES))
        cells.append(Cell("m", *CELLS[i], answers))
    top = headline(decide(cells), RECORD)
    assert top is not None
    return top.outcome


def _answer(line: Line, S: np.ndarray, C: np.ndarray, A: np.ndarray) -> Answer:
    nothing, draws = np.full(len(A), np.nan), np.arange(S.shape[1])
    return Answer(line, retained_similarity(StageTable(S, C, A, {}, nothing, draws)), words.retains)


def frame_of(scores: Planted) -> pd.DataFrame:
    """Rows of a run folder: method m<i> for each repeat."""
    S, C, A = scores.S, scores.C, scores.A
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

    numbered = [f"{i:05d}" for i in range(1 + max(int(image.max()), int(method.max())))]
    return pd.DataFrame(
        {
            "check": RECORD.name,
            "draw": draw,
            "stage": np.array(["self", "full", "half"], dtype=object)[stage],
            "stage_index": stage,
            "image": named(image, numbered).astype(object),
            "method": np.array([f"m{i}" for i in numbered])[method],
            "view": np.array([v for v, _ in CELLS], dtype=object)[cell],
            "similarity": np.array([s for _, s in CELLS], dtype=object)[cell],
            "value": value,
            "chance": chance,
            "reason": None,
        }
    )


def rates(
    rng: np.random.Generator, *, repeats: int, size: tuple[int, int], spread: Spread, dead: Dead
) -> dict[str, float]:
    """One line of the table."""

    def run(cells: int, R: Sequence[float], n: int) -> dict[Outcome, float]:
        scores = planted(rng, repeats=n, cells=cells, R=R, size=size, spread=spread, dead=dead)
        return outcomes(scores)

    few = max(1, repeats // 5)
    cell, method = run(1, (D_FULL, SAFE), repeats), run(6, (D_FULL, D_HALF), repeats)
    return {
        "false PASS": cell[Outcome.PASS],
        "false FAIL": cell[Outcome.FAIL],
        "method FAIL": method[Outcome.FAIL],
        "FAIL .35": run(6, (0.35, 0.6), few)[Outcome.FAIL],
        "FAIL .9": run(6, (0.9, 0.6), few)[Outcome.FAIL],
        "PASS .1": run(6, (0.1, 0.3), few)[Outcome.PASS],
    }


def table(*, repeats: int, seed: int) -> pd.DataFrame:
    """Rates for few and many images and draws, each kind of spread, and blank maps of each kind."""
    rng, lines = np.random.default_rng(seed), []
    for size in SIZES:
        for spread in SPREADS:
            for dead in DEAD:
                line = rates(rng, repeats=repeats, size=size, spread=spread, dead=dead)
                head = {"size": "{} x {}".format(*size), "spread": spread.name, "blank": str(dead)}
                lines.append({**head, **line})
                print(".", end="", file=sys.stderr, flush=True)
    return pd.DataFrame(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    found = table(repeats=options.repeats, seed=options.seed)
    print(found.to_string(index=False, float_format="{:.3f}".format))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()

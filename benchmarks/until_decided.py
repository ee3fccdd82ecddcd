"""How often `--until-decided` errs, and how much work it saves.

    python benchmarks/until_decided.py [--repeats 1000] [--seed 0] [--run RUN_FOLDER]

Rates of a false verdict at any look, R exactly on a threshold, one cell (false PASS, false FAIL)
and six cells with all twelve retained similarities on their thresholds (method false FAIL); beside each the
same without the correction for repeated looks, and with maps that are blank. Then, for methods of several
retained similarities, how often each leaves before the end, the share of the scores that is needed, and both, with the
verdicts, where nobody leaves for lack of prospects (`verdicts/futility.py`).

With `--run`, the effects of images, draws and the residual are resampled from the cells of a
recorded run (each cell's own three sets of effects, with replacement) instead of drawn from
Gaussians, so that skewed and heavy tails are those of real scores. Fewer than 8 recorded draws are
too few to resample (five of three are the same one in 1.2 % of all cases, and then seem to have no
spread at all): draw effects are then Gaussian with the recorded spread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
import error_rates as planting
from salsanity.records import Outcome
from salsanity.verdicts import futility
from salsanity.verdicts.retained import linearised
from salsanity.verdicts.sequential import (
    Look,
    judge_until_decided,
    plan_looks,
    settled_at,
    share_of_scores,
)
from salsanity.verdicts.table import StageTable, read_scores

D_FULL, D_HALF = planting.D_FULL, planting.D_HALF
FEWEST = 8
"""Effects that can be resampled."""
Effects = tuple[np.ndarray, np.ndarray, np.ndarray]


def effects_of(scores: pd.DataFrame, stages: Sequence[str], *, check: str) -> list[Effects]:
    """Image, draw and residual effects of every informative cell, with their unbiased spread."""
    index = read_scores(scores, check=check, stages=stages)
    found = []
    for method in index.methods:
        for view, similarity in index.cells(method):
            for stage in stages:
                z = whole(index.table((method, view, similarity), stage))
                if min(z.shape) > 1 and np.ptp(z) > 0:
                    found.append(split(z))
    return found


def whole(table: StageTable) -> np.ndarray:
    """The linearised R of the images without a hole; nothing where a similarity cannot tell."""
    change = table.value - table.chance
    line = table.ceiling[:, None] - table.chance
    rows = np.isfinite(change + line).all(axis=1)
    if not rows.any() or line[rows].mean() < 0.1:
        return np.zeros((0, 0))
    return linearised(change[rows], line[rows])


def split(z: np.ndarray) -> Effects:
    """The effects of one (N, D) table."""
    n, d = z.shape
    image, draw = z.mean(axis=1) - z.mean(), z.mean(axis=0) - z.mean()
    residual = z - z.mean() - image[:, None] - draw[None, :]
    grown = np.sqrt(n * d / ((n - 1) * (d - 1)))
    return image * np.sqrt(n / (n - 1)), draw * np.sqrt(d / (d - 1)), residual.ravel() * grown


def resampled(
    rng: np.random.Generator,
    pool: Sequence[Effects],
    *,
    repeats: int,
    cells: int,
    R: Sequence[float],
    size: tuple[int, int],
) -> pd.DataFrame:
    """Scores like `error_rates.planted`, with effects of a recorded cell for each planted one."""
    images, draws = size
    r = np.empty((repeats, cells, len(R), images, draws))
    for at in np.ndindex(r.shape[:3]):
        image, draw, residual = pool[rng.integers(len(pool))]
        few = len(draw) < FEWEST
        of_draw = rng.normal(0, draw.std(), (1, draws)) if few else rng.choice(draw, (1, draws))
        r[at] = R[at[2]] + rng.choice(image, (images, 1)) + of_draw
        r[at] += rng.choice(residual, (images, draws))
    A = np.ones((repeats, cells, images))
    return planting.frame_of(planting.Planted(r, np.zeros_like(r), A))


def outcomes(
    scores: pd.DataFrame, looks: Sequence[Look]
) -> tuple[dict[Outcome, float], float, float]:
    """Rates of headlines, share settled before the last look, share of the scores needed."""
    methods = sorted(scores["method"].unique())
    images = sorted(scores["image"].unique())
    run = {"methods": methods, "controls": (), "images": images, "looks": looks}
    settled = settled_at(scores, planting.RECORD, **run)
    verdicts = judge_until_decided(scores, planting.RECORD, **run)
    said = [v.outcome for v in verdicts if v.view is None]
    rates = {outcome: said.count(outcome) / len(said) for outcome in Outcome}
    early = sum(look < len(looks) - 1 for look in settled.values()) / len(methods)
    return rates, early, share_of_scores(settled, methods, looks)


def uncorrected(looks: Sequence[Look]) -> list[Look]:
    """The same looks, each at the whole level."""
    level = sum(look.alpha for look in looks)
    return [replace(look, alpha=level) for look in looks]


@contextmanager
def patience() -> Iterator[None]:
    """Let every open method go on to the last look."""
    kept, futility.FUTILE = futility.FUTILE, 0.0  # type: ignore[misc]
    try:
        yield
    finally:
        futility.FUTILE = kept  # type: ignore[misc]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--run", type=Path, help="a run folder, for its effects at half and full")
    options = parser.parse_args()
    rng, start = np.random.default_rng(options.seed), time.perf_counter()
    looks = plan_looks(options.images, options.draws)
    print("looks:", ", ".join(f"{x.images} x {x.draws} at {x.alpha:.4f}" for x in looks))
    pools = recorded(options.run) if options.run else planted_pools()
    size = (options.images, options.draws)

    def plant(source: object, cells: int, R: Sequence[float], repeats: int) -> pd.DataFrame:
        if isinstance(source, tuple):
            spread, dead = source
            known = {"size": size, "spread": spread, "dead": dead}
            return planting.frame_of(
                planting.planted(rng, repeats=repeats, cells=cells, R=R, **known)
            )
        return resampled(rng, source, repeats=repeats, cells=cells, R=R, size=size)

    print_table(
        errors(name, plant, source, looks, options.repeats) for name, source in pools.items()
    )
    print_table(
        savings(name, plant, source, looks, options.repeats) for name, source in pools.items()
    )
    print(f"{time.perf_counter() - start:.0f} s")


def planted_pools() -> dict[str, object]:
    """Gaussian and skewed effects without blank maps, and the first with."""
    pools: dict[str, object] = {s.name: (s, planting.DEAD[0]) for s in planting.SPREADS}
    first = planting.SPREADS[0]
    dead = [planting.Dead(0.2, "by draw"), planting.Dead(0.5, "by value")]
    return pools | {f"{first.name}, blank {d}": (first, d) for d in dead}


Plant = Callable[[object, int, Sequence[float], int], pd.DataFrame]


def errors(
    name: str, plant: Plant, source: object, looks: Sequence[Look], repeats: int
) -> list[dict[str, object]]:
    """Rates of false verdicts with and without the correction for looking repeatedly."""
    one = plant(source, 1, (D_FULL, planting.SAFE), repeats)
    six = plant(source, 6, (D_FULL, D_HALF), max(1, repeats // 2))
    lines = []
    for label, schedule in (("corrected", looks), ("uncorrected", uncorrected(looks))):
        cell, method = outcomes(one, schedule)[0], outcomes(six, schedule)[0]
        line = {"effects": name, "looks": label, "false PASS": cell[Outcome.PASS]}
        line |= {"false FAIL": cell[Outcome.FAIL], "method false FAIL": method[Outcome.FAIL]}
        lines.append(line)
    return lines


def savings(
    name: str, plant: Plant, source: object, looks: Sequence[Look], repeats: int
) -> list[dict[str, object]]:
    """Verdicts and the share of scores that they need, with and without leaving for lack of prospects."""
    lines = []
    for R in ((0.02, 0.2), (0.05, 0.4), (0.1, 0.5), (0.3, 0.85), (0.5, 0.9), (0.98, 0.98)):
        scores = plant(source, 6, R, max(1, repeats // 10))
        rates, early, share = outcomes(scores, looks)
        with patience():
            patient, _, all_share = outcomes(scores, looks)
        line = {"effects": name, "R full": R[0], "R half": R[1], "PASS": rates[Outcome.PASS]}
        line |= {"FAIL": rates[Outcome.FAIL], "left early": early, "share of scores": share}
        line |= {"PASS, patient": patient[Outcome.PASS], "FAIL, patient": patient[Outcome.FAIL]}
        lines.append({**line, "share, patient": all_share})
    return lines


def print_table(lines: Iterable[list[dict[str, object]]]) -> None:
    """Print the lines of several sources."""
    table = pd.DataFrame([line for some in lines for line in some])
    print(table.to_string(index=False, float_format="{:.3f}".format), flush=True)


def recorded(folder: Path) -> dict[str, list[Effects]]:
    """The effects of a recorded run at its two decisive stages."""
    spec = json.loads((folder / "spec.json").read_text())
    scores = pd.concat([pd.read_parquet(p) for p in sorted((folder / "scores").glob("*.parquet"))])
    stages = [line["stage"] for line in spec["checks"][0]["lines"]]
    return {"recorded": effects_of(scores, stages, check=spec["check"])}


if __name__ == "__main__":
    main()

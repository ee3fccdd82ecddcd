"""Conditional power against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from salsanity.verdicts.cells import Answer, Question
from salsanity.verdicts.futility import _chance
from salsanity.verdicts.intervals import interval_of
from salsanity.verdicts.retained import Retained
from salsanity.verdicts.sequential import Look
from salsanity.verdicts.settle import Components

SPREAD = Components(images=0.01, draws=0.002, residual=0.004)
SMALL, LARGE = (8, 3), (40, 5)


def table(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    z = 0.3 + rng.normal(0, SPREAD.images**0.5, (n, 1)) + rng.normal(0, SPREAD.draws**0.5, (1, d))
    return z + rng.normal(0, SPREAD.residual**0.5, (n, d))


def answer_of(z: np.ndarray, threshold: float, caveat: str = "") -> Answer:
    r = float(z.mean())
    kept = Retained(
        S=r,
        C=0,
        A=1,
        R=r,
        top=1,
        floor=0,
        z=z,
        similarity=z,
        planned=z.shape,
        share=1,
        undefined={},
    )
    return Answer(Question("full", "after", threshold, caveat=caveat), kept)


def grown(rng: np.random.Generator) -> np.ndarray:
    """How far the mean moved from a small table to the larger one around it, many times."""
    n, d = SMALL
    tables = (table(rng, *LARGE) for _ in range(4000))
    return np.array([z.mean() - z[:n, :d].mean() for z in tables])


def test_the_mean_moves_by_what_its_variance_falls() -> None:
    moved = grown(np.random.default_rng(0))
    assert moved.mean() == pytest.approx(0, abs=0.005)
    assert moved.var() == pytest.approx(SPREAD.variance(*SMALL) - SPREAD.variance(*LARGE), rel=0.08)


def test_twin_the_variance_at_the_end_is_not_by_how_much_it_moves() -> None:
    moved = grown(np.random.default_rng(0))
    assert moved.var() != pytest.approx(SPREAD.variance(*LARGE), rel=0.3)


@pytest.mark.parametrize("above", [True, False])
def test_the_chance_of_a_verdict_is_that_of_the_mean_beyond_the_bound(above: bool) -> None:
    """The same written out with scipy."""
    z, look = table(np.random.default_rng(1), *SMALL), Look(*LARGE, 0.02)
    parts, now, threshold = Components.of(z), interval_of(z), 0.25
    half = parts.half_width(*LARGE, 0.02)
    scale = (parts.variance(*SMALL) - parts.variance(*LARGE)) ** 0.5
    final_mean = t(df=now.df, loc=now.mean, scale=scale)
    expected = final_mean.sf(threshold + half) if above else final_mean.cdf(threshold - half)
    found = _chance(answer_of(z, threshold), look, above=above, alpha=0.02)
    assert found == pytest.approx(expected, abs=1e-12)


def test_nothing_to_come_leaves_nothing_to_chance() -> None:
    z = table(np.random.default_rng(1), *SMALL)
    here = Look(*SMALL, 0.05)
    assert _chance(answer_of(z, 2.0), here, above=False, alpha=0.05) == 1
    assert _chance(answer_of(z, 2.0), here, above=True, alpha=0.05) == 0


def test_what_can_never_pass_has_no_chance_to() -> None:
    z = table(np.random.default_rng(1), *SMALL)
    answer = answer_of(z, 2.0, caveat="a lower bound")
    assert _chance(answer, Look(*LARGE, 0.05), above=False, alpha=0.05) == 0

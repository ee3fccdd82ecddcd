"""Conditional power against simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from salsanity.records import Line
from salsanity.verdicts import words
from salsanity.verdicts.answers import Answer
from salsanity.verdicts.futility import _chance, lacks_maps, lost
from salsanity.verdicts.intervals import interval_of
from salsanity.verdicts.retained import Retained, measured
from salsanity.verdicts.sequential import Look
from salsanity.verdicts.settle import Components

IMAGES, DRAWS, RESIDUAL = 0.01, 0.002, 0.004
SMALL, LARGE = (8, 5), (40, 8)


def variance(n: int, d: int) -> float:
    return IMAGES / n + DRAWS / d + RESIDUAL / (n * d)


def table(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    z = 0.3 + rng.normal(0, IMAGES**0.5, (n, 1)) + rng.normal(0, DRAWS**0.5, (1, d))
    return z + rng.normal(0, RESIDUAL**0.5, (n, d))


def answer_of(z: np.ndarray, threshold: float, caveat: str = "") -> Answer:
    used = np.isfinite(z)
    m = measured(z[used], used)
    r = m.mean
    ends = {"top": 1, "floor": 0, "interval": m.interval, "spread": m.spread}
    kept = Retained(S=r, C=0, A=1, R=r, used=used, **ends)
    return Answer(Line("full", "full", threshold, "after"), kept, words.retains, caveat=caveat)


def grown(rng: np.random.Generator) -> np.ndarray:
    """How far the mean moved from a small table to the larger one around it, many times."""
    n, d = SMALL
    tables = (table(rng, *LARGE) for _ in range(4000))
    return np.array([z.mean() - z[:n, :d].mean() for z in tables])


def test_the_mean_moves_by_what_its_variance_falls() -> None:
    moved = grown(np.random.default_rng(0))
    assert moved.mean() == pytest.approx(0, abs=0.005)
    assert moved.var() == pytest.approx(variance(*SMALL) - variance(*LARGE), rel=0.08)


def test_twin_the_variance_at_the_end_is_not_by_how_much_it_moves() -> None:
    moved = grown(np.random.default_rng(0))
    assert moved.var() != pytest.approx(variance(*LARGE), rel=0.3)


@pytest.mark.parametrize("above", [True, False])
def test_the_chance_of_a_verdict_is_that_of_the_mean_beyond_the_bound(above: bool) -> None:
    """The same written out with scipy."""
    z, look = table(np.random.default_rng(1), *SMALL), Look(*LARGE, 0.02)
    answer, now, threshold = answer_of(z, 0.25), interval_of(z), 0.25
    parts = Components.of(answer.retained)
    half = parts.half_width(*LARGE, 0.02)
    scale = (parts.variance(*SMALL) - parts.variance(*LARGE)) ** 0.5
    final_mean = t(df=now.df, loc=now.mean, scale=scale)
    expected = final_mean.sf(threshold + half) if above else final_mean.cdf(threshold - half)
    found = _chance(answer, look, fails=above, alpha=0.02)
    assert found == pytest.approx(expected, abs=1e-12)


def test_nothing_to_come_leaves_nothing_to_chance() -> None:
    z = table(np.random.default_rng(1), *SMALL)
    here = Look(*SMALL, 0.05)
    assert _chance(answer_of(z, 2.0), here, fails=False, alpha=0.05) == 1
    assert _chance(answer_of(z, 2.0), here, fails=True, alpha=0.05) == 0


def test_what_can_never_pass_has_no_chance_to() -> None:
    z = table(np.random.default_rng(1), *SMALL)
    answer = answer_of(z, 2.0, caveat="a lower bound")
    assert _chance(answer, Look(*LARGE, 0.05), fails=False, alpha=0.05) == 0


def holes(share: float, seed: int = 0) -> np.ndarray:
    z = table(np.random.default_rng(1), *SMALL)
    return np.where(np.random.default_rng(seed).random(SMALL) < share, np.nan, z)


LATER = (Look(*LARGE, 0.05),)


def test_what_has_maps_enough_lacks_none() -> None:
    answer = answer_of(holes(0.5), 0.2)
    assert not lacks_maps(answer)
    assert not lost(answer, LATER)


def test_a_share_just_short_may_grow_and_one_far_short_hardly() -> None:
    short = answer_of(holes(0.8, seed=2), 0.2)
    assert 0.17 < short.retained.share < 0.25
    assert lacks_maps(short)
    assert not lost(short, LATER)
    assert not lost(short, ()), "nothing to come"
    nothing = answer_of(np.full((32, 5), np.nan), 0.2)
    assert lost(nothing, LATER)


def test_blank_maps_of_the_trained_network_may_be_bad_luck_or_the_rule() -> None:
    answer = answer_of(holes(0.0), 0.2)
    for alive, is_lost in ((0.75, False), (0.25, True)):
        short = replace(answer, retained=replace(answer.retained, alive=alive))
        assert lacks_maps(short)
        assert lost(short, LATER) is is_lost

"""The advice on how many more images or draws would settle a question."""

from __future__ import annotations

import numpy as np

from salsanity.verdicts.intervals import interval_of
from salsanity.verdicts.settle import FACTOR, More, more_needed
from salsanity.verdicts.words import wanted


def crossed(R, n, d, *, image=0.0, draw=0.0, residual=0.0, seed=0):
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 1, (n, 1)) * image + rng.normal(0, 1, (1, d)) * draw
    table = table + rng.normal(0, 1, (n, d)) * residual
    return R + table - table.mean()


def test_draw_noise_asks_for_draws():
    more = more_needed(
        crossed(0.1, 20, 4, draw=0.15, residual=0.02), 0.2, alpha_pass=0.05, alpha_fail=0.01
    )
    assert more.images is None
    assert more.draws is not None


def test_image_noise_asks_for_images():
    more = more_needed(
        crossed(0.1, 8, 5, image=0.4, residual=0.02), 0.2, alpha_pass=0.05, alpha_fail=0.01
    )
    assert more.draws is None
    assert more.images is not None


def share_settled(factor):
    """How often the bound is past the threshold in a new experiment with the advised draws."""
    true = {"image": 0.02, "draw": 0.12, "residual": 0.05}
    settled = []
    for seed in range(200):
        z = crossed(0.14, 20, 5, **true, seed=seed)
        more = more_needed(z, 0.2, alpha_pass=0.05, alpha_fail=0.01)
        if interval_of(z).bounds()[1] > 0.2 and more.draws is not None:
            d = 5 + round(factor * more.draws)
            again = crossed(0.14, 20, d, **true, seed=1000 + seed)
            settled.append(interval_of(again).bounds()[1] < 0.2)
    assert len(settled) > 50
    return np.mean(settled)


def test_the_advice_probably_settles_the_question_and_half_of_it_does_so_less_often():
    assert share_settled(1) > 0.5
    assert share_settled(0.3) < 0.35


def test_fewer_are_needed_the_further_away_the_threshold():
    z = crossed(0.1, 10, 4, draw=0.1, residual=0.05)
    near = more_needed(z, 0.16, alpha_pass=0.05, alpha_fail=0.05)
    far = more_needed(z, 0.19, alpha_pass=0.05, alpha_fail=0.05)
    assert near.draws > far.draws


def test_on_the_threshold_nothing_helps():
    z = np.full((5, 4), 0.25)
    none = More(None, None, None)
    assert more_needed(z, 0.25, alpha_pass=0.05, alpha_fail=0.05) == none
    assert more_needed(z - 0.1, 0.25, alpha_pass=None, alpha_fail=0.05) == none
    assert wanted(none) == "too close to the threshold for more images or draws to settle it"


def test_advice_stays_within_reason():
    z = crossed(0.2001, 10, 4, draw=0.2, image=0.2)
    more = more_needed(z, 0.2, alpha_pass=0.05, alpha_fail=0.05)
    assert more == More(None, None, None)
    assert FACTOR == 20


def test_words():
    assert wanted(More(None, 1, None)) == "1 more draw would probably settle it"
    assert wanted(More(30, 4, (9, 9))) == (
        "4 more draws or 30 more images would probably settle it"
    )
    assert wanted(More(None, None, (9, 3))) == (
        "9 more images together with 3 more draws would probably settle it"
    )

"""Retained similarity of a batch against SciPy, image by image, and against what a run stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

import salsanity
from salsanity import partner_maps, retained_similarity
from salsanity.checks.frame import Chunk, Ground, State
from salsanity.errors import SimilarityError
from salsanity.records import Line, Words
from salsanity.testing.networks import small_network, some_images
from salsanity.units import batch

GENERATOR = torch.Generator().manual_seed(3)
MAPS = torch.randn(5, 2, 6, 7, generator=GENERATOR, dtype=torch.float64)
CHANGED = 0.6 * MAPS + torch.randn(5, 2, 6, 7, generator=GENERATOR, dtype=torch.float64)
AGAIN = MAPS + 0.3 * torch.randn(5, 2, 6, 7, generator=GENERATOR, dtype=torch.float64)


def literal(
    maps: Tensor,
    changed: Tensor,
    partners: Tensor,
    again: Tensor,
    *,
    signed: bool,
    measure: Callable[..., float] = lambda a, b: float(spearmanr(a, b).statistic),
) -> float:
    """Sum over images as docs/science.md writes it."""

    def seen(one: Tensor) -> np.ndarray:
        return (one if signed else one.abs()).sum(0).flatten().numpy()

    above = below = 0.0
    for i in range(len(maps)):
        own = seen(maps[i])
        chance = np.mean([measure(own, seen(other)) for other in partners[i]])
        above += measure(own, seen(changed[i])) - chance
        below += measure(own, seen(again[i])) - chance
    return float(above / below)


@pytest.mark.parametrize("signed", [False, True])
def test_it_is_the_ratio_that_scipy_gives(signed: bool) -> None:
    partners = partner_maps(CHANGED)
    found = retained_similarity(MAPS, CHANGED, partners, again=AGAIN, signed=signed)
    assert float(found) == pytest.approx(literal(MAPS, CHANGED, partners, AGAIN, signed=signed))
    found = retained_similarity(MAPS, CHANGED, partners, similarity="pearson", signed=signed)
    wanted = literal(
        MAPS, CHANGED, partners, MAPS, signed=signed, measure=lambda a, b: pearsonr(a, b).statistic
    )
    assert float(found) == pytest.approx(wanted)


def test_no_change_is_one_and_the_maps_of_others_are_about_zero() -> None:
    many = torch.randn(64, 1, 8, 8, generator=GENERATOR)
    assert float(retained_similarity(many, many, partner_maps(many))) == 1
    other = torch.randn(64, 1, 8, 8, generator=GENERATOR)
    assert abs(float(retained_similarity(many, other, partner_maps(other)))) < 0.05


@dataclass(frozen=True)
class NextClass:
    """The class after the one that was explained."""

    name: ClassVar = "next_class"
    words: ClassVar = Words(
        title="Next class", question="The same?", caught="it is", uncaught="it is not"
    )
    lines: ClassVar = (Line("next", "next class", 0.75, "when the next class is explained"),)
    controls: ClassVar = {}
    ceiling: ClassVar = "one"
    draws: ClassVar = 1

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> list[State]:
        return [State("next class", targets=(chunk.targets + 1) % 5)]


def test_it_is_what_a_run_finds_of_the_same_maps(tmp_path: Path) -> None:
    images, model = some_images(6), small_network()

    def gradients(targets: Tensor) -> Tensor:
        x = images.clone().requires_grad_()
        return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]

    options = {"methods": ["gradient"], "similarities": ["spearman"], "gallery": 0, "out": tmp_path}
    result = salsanity.run(NextClass(), model, images, **options)
    images = images[[int(one["name"].split("/")[1]) for one in result.spec["images"]]]
    targets = model(images).argmax(1)
    maps, changed = gradients(targets), gradients((targets + 1) % 5)
    for signed, view in ((True, "signed"), (False, "absolute")):
        cells = result.verdicts[result.verdicts["method"] == "gradient"]
        cell = cells[cells["view"] == view].iloc[0]
        found = retained_similarity(maps, changed, partner_maps(changed), signed=signed)
        assert float(found) == pytest.approx(cell["kept"][0]["retained"], abs=1e-9)


def test_a_blank_map_is_a_hole_and_no_partner() -> None:
    changed = CHANGED.clone()
    changed[2] = 0
    partners = partner_maps(changed)
    assert torch.equal(partners[1], torch.stack([changed[3], changed[4], changed[0]]))
    kept = [0, 1, 3, 4]
    wanted = literal(MAPS[kept], changed[kept], partners[kept], MAPS[kept], signed=False)
    assert float(retained_similarity(MAPS, changed, partners)) == pytest.approx(wanted)


def test_too_few_others_are_made_up_for_by_nothing() -> None:
    partners = partner_maps(CHANGED[:3])
    assert partners[:, 2].isnan().all()
    found = retained_similarity(MAPS[:3], CHANGED[:3], partners)
    wanted = literal(MAPS[:3], CHANGED[:3], partners[:, :2], MAPS[:3], signed=False)
    assert float(found) == pytest.approx(wanted)


def test_where_the_similarity_cannot_tell_there_is_no_number() -> None:
    same = MAPS[:1].repeat(4, 1, 1, 1)
    assert retained_similarity(same, same, partner_maps(same)).isnan()  # chance is the ceiling
    assert retained_similarity(MAPS * 0, CHANGED, partner_maps(CHANGED)).isnan()
    assert retained_similarity(MAPS[:1], CHANGED[:1], partner_maps(CHANGED[:1])).isnan()


@pytest.mark.parametrize(
    ("changed", "partners", "words"),
    [
        (CHANGED[:4], partner_maps(CHANGED), "expected changed"),
        (CHANGED.numpy(), partner_maps(CHANGED), "expected changed .* got ndarray"),
        (CHANGED.to(torch.complex64), partner_maps(CHANGED), "got torch.complex64"),
        (CHANGED, CHANGED, "expected partners"),
        (CHANGED, partner_maps(CHANGED)[:4], "expected partners"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changed: Tensor, partners: Tensor, words: str) -> None:
    with pytest.raises(SimilarityError, match=words):
        retained_similarity(MAPS, changed, partners)


def test_twin_chance_left_out_is_not_what_scipy_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    partners = partner_maps(CHANGED)
    monkeypatch.setattr(torch.Tensor, "nanmean", lambda self, dim: torch.zeros(self.shape[1]))
    wanted = literal(MAPS, CHANGED, partners, MAPS, signed=False)
    assert float(batch.retained_similarity(MAPS, CHANGED, partners)) != pytest.approx(
        wanted, abs=0.01
    )

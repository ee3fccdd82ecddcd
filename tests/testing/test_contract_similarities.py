"""Every similarity of salsanity keeps the contract; every test of the contract can fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from twins import every_test_has_a_twin, fails

from salsanity.similarity.protocol import Scores, View
from salsanity.testing import SimilarityContract


class TestSpearman(SimilarityContract):
    invariant_to_scale = invariant_to_shift = invariant_to_monotone = True

    def similarity(self) -> Any:
        return "spearman"


class TestPearson(SimilarityContract):
    invariant_to_scale = invariant_to_shift = True

    def similarity(self) -> Any:
        return "pearson"


class TestCosine(SimilarityContract):
    invariant_to_scale = True

    def similarity(self) -> Any:
        return "cosine"


class TestSSIM(SimilarityContract):
    invariant_to_scale = True

    def similarity(self) -> Any:
        return "ssim"


class TestPapersSSIM(SimilarityContract):
    invariant_to_scale = True

    def similarity(self) -> Any:
        return "ssim(window=5, weights='uniform', scaling='maximum')"


class TestHOG(SimilarityContract):
    invariant_to_scale = True

    def similarity(self) -> Any:
        return "hog"


class TestPapersHOG(SimilarityContract):
    invariant_to_scale = True

    def similarity(self) -> Any:
        return "hog(correlation='spearman')"


class TestSpearmanOfSignals(TestSpearman):
    spatial = (40,)


@dataclass
class Kept:
    """Centred rows, and why some have no similarity."""

    rows: Tensor
    undefined: tuple[str | None, ...]

    def take(self, index: Sequence[int]) -> Kept:
        return Kept(self.rows[list(index)], tuple(self.undefined[i] for i in index))


@dataclass(frozen=True)
class Plain:
    """A small Pearson correlation, honest until a fault is put in."""

    name: Any = "plain"
    fault: str = ""

    def prepare(self, view: View) -> Kept:
        rows = view.values.flatten(1).clone()
        if self.fault == "writes":
            view.values.mul_(2)
        if self.fault == "draws":
            torch.rand(1)
        bad = ~rows.isfinite().all(1) | (rows == rows[:, :1]).all(1)
        rows = rows.nan_to_num(0, 0, 0)
        if self.fault != "sees shifts":
            rows = rows - rows.mean(1, keepdim=True)
        told = tuple("undefined" if b else None for b in bad.tolist())
        return Kept(rows, (None,) * len(told) if self.fault == "tells nothing" else told)

    def compare(self, a: Kept, b: Kept) -> Scores:
        length = a.rows.norm(dim=1) * b.rows.norm(dim=1)
        values = (a.rows * b.rows).sum(1) / length.clamp_min(1e-300)
        values = self._faulty(values, a, b)
        reasons = tuple(x or y for x, y in zip(a.undefined, b.undefined, strict=True))
        undefined = torch.tensor([r is not None for r in reasons])
        if self.fault != "defined on constants":
            values = values.masked_fill(undefined, torch.nan)
        return Scores(values, (None,) * len(reasons) if self.fault == "no reasons" else reasons)

    def _faulty(self, values: Tensor, a: Kept, b: Kept) -> Tensor:
        match self.fault:
            case "half":
                return values / 2
            case "too much":
                return values + 1.5
            case "the same":
                return torch.ones_like(values)
            case "asymmetric":
                return values * a.rows.abs().sum(1) / b.rows.abs().sum(1)
            case "batch":
                return values * len(values)
            case "float32":
                return values.float()
        return values


@dataclass
class Forgetful(Kept):
    """Features that ignore the order they are taken in."""

    def take(self, index: Sequence[int]) -> Forgetful:
        return Forgetful(*vars(Kept.take(self, sorted(index))).values())


@dataclass(frozen=True)
class Careless(Plain):
    def prepare(self, view: View) -> Kept:
        return Forgetful(*vars(Plain.prepare(self, view)).values())


class TestTheHonestTwin(SimilarityContract):
    invariant_to_scale = invariant_to_shift = True

    def similarity(self) -> Any:
        return Plain()


TWINS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "test_has_a_name": [(lambda: Plain(""), "empty"), (lambda: Plain(None), "as text")],
    "test_scores_have_a_value_and_a_reason_per_pair": [(lambda: Plain(fault="float32"), "float64")],
    "test_a_map_is_1_with_itself": [(lambda: Plain(fault="half"), "itself")],
    "test_no_pair_is_above_1": [(lambda: Plain(fault="too much"), "different maps")],
    "test_unrelated_maps_are_less_alike": [(lambda: Plain(fault="the same"), "unrelated")],
    "test_is_symmetric": [(lambda: Plain(fault="asymmetric"), "swapping")],
    "test_does_not_depend_on_the_batch": [(lambda: Plain(fault="batch"), "differs alone")],
    "test_features_can_be_taken": [(Careless, "taken")],
    "test_undefined_maps_give_nan_with_a_reason": [
        (lambda: Plain(fault="defined on constants"), "has a similarity"),
        (lambda: Plain(fault="no reasons"), "no reason"),
    ],
    "test_undefined_is_told_of_features": [(lambda: Plain(fault="tells nothing"), "not told")],
    "test_leaves_maps_and_random_state_alone": [
        (lambda: Plain(fault="writes"), "first maps"),
        (lambda: Plain(fault="draws"), "random state"),
    ],
}
CASES = [(test, *case) for test, cases in TWINS.items() for case in cases]


@pytest.mark.parametrize(("test", "broken", "words"), CASES)
def test_twin_a_broken_similarity_is_noticed(
    test: str, broken: Callable[[], Any], words: str
) -> None:
    with torch.random.fork_rng():
        fails(SimilarityContract, test, "similarity", broken, words)


@pytest.mark.parametrize(
    ("attribute", "similarity", "words"),
    [
        ("invariant_to_shift", "cosine", "a shift"),
        ("invariant_to_monotone", "pearson", "monotone"),
        ("invariant_to_scale", "ssim(scaling='none')", "a scale"),
    ],
)
def test_twin_a_wrong_declaration_is_noticed(attribute: str, similarity: str, words: str) -> None:
    test = "test_is_blind_to_what_it_declares"
    fails(SimilarityContract, test, "similarity", lambda: similarity, words, **{attribute: True})


def test_every_test_of_the_contract_has_a_twin() -> None:
    every_test_has_a_twin(SimilarityContract, {*TWINS, "test_is_blind_to_what_it_declares"})

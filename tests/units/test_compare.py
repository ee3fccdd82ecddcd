"""Features of maps: computed once, and taken over for maps that no pass made and that come again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from salsanity.methods import Baselines
from salsanity.methods.controls import Edge, Noise
from salsanity.methods.gradient import Gradient
from salsanity.methods.protocol import Inputs
from salsanity.models.network import prepare as prepared
from salsanity.passes.run import Setting
from salsanity.passes.schedule import State
from salsanity.records import VIEWS
from salsanity.similarity import HOG, SSIM, Scores, Spearman, View
from salsanity.similarity.correlation import Vectors
from salsanity.units import compare as comparing
from salsanity.units.compare import Reference, compare, prepare
from salsanity.units.explain import Explained, Wanted, explain
from salsanity.units.plan import partners

MAPS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@dataclass
class Counted:
    """Spearman that counts what it prepares."""

    name: str = "spearman"
    prepared: list[View] = field(default_factory=list)

    def prepare(self, view: View) -> Vectors:
        self.prepared.append(view)
        return Spearman().prepare(view)

    def compare(self, a: Vectors, b: Vectors) -> Scores:
        return Spearman().compare(a, b)


def explained(maps: Tensor, *, passless: bool) -> dict[str, Explained]:
    return {"edge": Explained(maps, (None,) * len(maps), passless=passless)}


def reference(maps: dict[str, Explained], similarity: Any = None) -> Reference:
    return Reference.of(prepare(maps, [similarity or Spearman()]), maps)


def touched(maps: Tensor) -> Tensor:
    other = maps.clone()
    other[1, 2, 3, 4] += 1
    return other


@pytest.mark.parametrize(
    ("again", "passless", "times"),
    [(MAPS.clone(), True, 2), (touched(MAPS), True, 4), (MAPS.clone(), False, 4)],
    ids=["equal", "one pixel differs", "a pass made them"],
)
def test_features_of_passless_maps_are_taken_over_where_they_are_equal(
    again: Tensor, passless: bool, times: int
) -> None:
    counted = Counted()
    known = reference(explained(MAPS, passless=passless), counted)
    found = prepare(explained(again, passless=passless), [counted], known)
    assert len(counted.prepared) == times
    fresh = prepare(explained(again, passless=passless), [Spearman()])
    for view in VIEWS:
        cell = ("edge", view, "spearman")
        assert torch.equal(found[cell].features.values, fresh[cell].features.values)


def test_a_buffer_that_a_method_writes_anew_is_not_taken_for_the_same_map() -> None:
    buffer = MAPS.clone()
    known = reference(explained(buffer, passless=True))
    buffer.copy_(MAPS.flip(-1))
    found = prepare(explained(buffer, passless=True), [Spearman()], known)
    cell = ("edge", "signed", "spearman")
    assert not torch.equal(found[cell].features.values, known.features[cell].features.values)


def test_reasons_are_those_of_the_new_maps() -> None:
    known = reference(explained(MAPS, passless=True))
    again = {"edge": Explained(MAPS, (None, "lost"), passless=True)}
    assert prepare(again, [Spearman()], known)["edge", "signed", "spearman"].reasons == (
        None,
        "lost",
    )


def test_only_controls_are_passless() -> None:
    network = prepared(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), MAPS[:1])
    methods = (Gradient(), Edge(), Noise())
    targets = torch.zeros(2, dtype=torch.long)
    inputs = Inputs(MAPS, targets, ("a", "b"), 0, "")
    wanted = [Wanted(State("trained", {}, targets), methods)]
    (found,) = explain(network, inputs, wanted, setting=Setting(0, 0, 2, Baselines(0, MAPS)))
    assert {name: e.passless for name, e in found.maps.items()} == {
        "gradient": False,
        "edge": True,
        "noise": True,
    }


def test_methods_of_few_maps_are_prepared_together_and_give_the_same() -> None:
    similarities = (Spearman(), SSIM(), HOG())
    maps = {
        name: Explained(torch.randn(4, 3, 64, 64), (None,) * 4)
        for name in ("a", "b", "c", "d", "e")
    } | {
        "none": Explained(None, ("lost",) * 4),
        "small": Explained(torch.randn(4, 1, 56, 56), (None,) * 4),
    }
    counted = Counted()
    prepare(maps, [counted])
    assert [len(view.values) for view in counted.prepared] == [20, 4] * 2
    found = prepare(maps, similarities)
    for method, explained in maps.items():
        alone = prepare({method: explained}, similarities)
        for (name, view, similarity), one in alone.items():
            other = found[name, view, similarity]
            assert one.reasons == other.reasons
            if one.features is not None:
                by_name = {s.name: s for s in similarities}[similarity]
                pair = prepare(
                    {"x": Explained(torch.randn_like(explained.maps), (None,) * 4)}, [by_name]
                )
                reference = pair["x", view, similarity].features
                scores = [by_name.compare(reference, p.features).values for p in (one, other)]
                assert torch.equal(*scores)
    assert found["none", "signed", "hog"].features is None


def test_chance_of_one_image_is_undefined_with_its_reason() -> None:
    one = prepare({"a": Explained(MAPS[:1], (None,))}, [Spearman()])["a", "signed", "spearman"]
    found = compare(Spearman(), one, one, [()])
    assert found.values == [1.0]
    assert math.isnan(found.chances[0])
    assert found.reasons == ["chance: no other image to compare with"]


IDS = ("a", "b", "c", "d", "e", "f")


def holed(seed: int) -> Tensor:
    """Maps of six images: the third constant, the fourth with a NaN; channels that cancel in the signed view of the fifth."""
    maps = torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(seed)).double()
    maps[2] = 0.25
    maps[3, 0, 1, 1] = torch.nan
    maps[4, 1] = -maps[4, 0]
    return maps


def literal_chance(
    reference: Tensor, changed: Tensor, rows: Sequence[Sequence[int]], most: int, signed: bool
) -> list[float]:
    """Section 5 of the science by hand: the mean over the next `most` alive others with which there is a similarity."""
    before, after, found = reference.numpy(), changed.numpy(), []
    for i, row in enumerate(rows):
        alive = [j for j in row if np.isfinite(after[j]).all() and np.ptp(after[j]) > 0]
        seen = [m.sum(0) if signed else abs(m).sum(0) for m in (before[i], *after)]
        values = []
        for j in alive[:most]:
            a, b = seen[0].ravel(), seen[1 + j].ravel()
            if np.isfinite(a).all() and np.ptp(a) > 1e-12 and np.ptp(b) > 1e-12:
                values.append(float(spearmanr(a, b).statistic))
        found.append(float(np.mean(values)) if values else math.nan)
    return found


def chances(
    before: Tensor, after: Tensor, rows: Sequence[Sequence[int]], most: int, view: str
) -> tuple[list[float], list[str | None]]:
    similarity = Spearman()
    one, other = (
        prepare({"m": Explained(maps, (None,) * len(maps))}, [similarity])["m", view, "spearman"]
        for maps in (before, after)
    )
    found = compare(similarity, one, other, rows, most=most)
    return found.chances, found.reasons


CASES = list(itertools.product(range(1, 6), VIEWS))


@pytest.mark.parametrize(("most", "view"), CASES)
def test_chance_is_the_mean_over_the_next_alive_partners(most: int, view: str) -> None:
    before, after, rows = holed(1), holed(2), partners(IDS)
    wanted = literal_chance(before, after, rows, most, view == "signed")
    found, _ = chances(before, after, rows, most, view)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert np.isfinite(wanted).sum() >= 2


@pytest.mark.parametrize(
    "spoil",
    ["dead ones count", "only the first"],
)
def test_twin_other_partners_give_another_chance(
    spoil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after, rows = holed(1), holed(2), partners(IDS)
    wanted = literal_chance(before, after, rows, 3, signed=False)
    if spoil == "dead ones count":
        monkeypatch.setattr(comparing, "alive_maps", lambda e: (True,) * len(e.reasons))
    found, _ = chances(before, after, rows, 1 if spoil == "only the first" else 3, "absolute")
    assert not np.allclose(found, wanted, atol=1e-12, equal_nan=True)


def test_a_hole_says_why() -> None:
    before, after = holed(1), holed(2)
    after[[0, 1, 3, 4, 5]] = 0.0
    before[2] = torch.randn(2, 5, 5)
    _, reasons = chances(before, after, partners(IDS), 3, "absolute")
    assert all(reasons)
    after = holed(2)
    after[1:] = 0.0
    found, reasons = chances(before, after, partners(IDS), 3, "absolute")
    assert math.isnan(found[0])
    assert reasons[0] == "chance: every other map of the group is blank"


def test_chance_is_not_asked_of_a_ceiling() -> None:
    one = prepare({"m": Explained(holed(1), (None,) * 6)}, [Spearman()])["m", "signed", "spearman"]
    found = compare(Spearman(), one, one, None)
    assert all(map(math.isnan, found.chances))
    assert not any("chance" in (reason or "") for reason in found.reasons)


def test_a_method_without_maps_has_reasons_alone() -> None:
    none = prepare({"m": Explained(None, ("lost",) * 6)}, [Spearman()])["m", "signed", "spearman"]
    one = prepare({"m": Explained(holed(1), (None,) * 6)}, [Spearman()])["m", "signed", "spearman"]
    found = compare(Spearman(), one, none, partners(IDS))
    assert found.reasons == ["lost"] * 6
    assert all(map(math.isnan, (*found.values, *found.chances)))

"""Features of maps: computed once, and taken over for maps that no pass made and that come again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from salsanity.checks.compare import Reference, compare, prepare
from salsanity.checks.explain import Explained, Wanted, explain
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
    known = Reference.of(explained(MAPS, passless=passless), [counted])
    found = prepare(explained(again, passless=passless), [counted], known)
    assert len(counted.prepared) == times
    fresh = prepare(explained(again, passless=passless), [Spearman()])
    for view in VIEWS:
        cell = ("edge", view, "spearman")
        assert torch.equal(found[cell].features.values, fresh[cell].features.values)


def test_a_buffer_that_a_method_writes_anew_is_not_taken_for_the_same_map() -> None:
    buffer = MAPS.clone()
    known = Reference.of(explained(buffer, passless=True), [Spearman()])
    buffer.copy_(MAPS.flip(-1))
    found = prepare(explained(buffer, passless=True), [Spearman()], known)
    cell = ("edge", "signed", "spearman")
    assert not torch.equal(found[cell].features.values, known.features[cell].features.values)


def test_reasons_are_those_of_the_new_maps() -> None:
    known = Reference.of(explained(MAPS, passless=True), [Spearman()])
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
    assert [len(view.values) for view in counted.prepared] == [16, 4, 4] * 2
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
    found = compare(Spearman(), one, one, [None])
    assert found.values == [1.0]
    assert math.isnan(found.chances[0])
    assert found.reasons == ["chance: no other image to compare with"]

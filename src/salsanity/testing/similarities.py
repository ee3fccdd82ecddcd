"""`SimilarityContract`: what salsanity relies on in a similarity of two maps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from salsanity import registry
from salsanity.similarity import Similarity
from salsanity.similarity.protocol import Scores, View
from salsanity.similarity.views import view
from salsanity.testing.traces import random_state


class SimilarityContract:
    """The contract of a similarity: inherit it in a test module and return yours from `similarity`.

    What the similarity is blind to is said in class attributes and tested.
    """

    spatial: ClassVar[tuple[int, ...]] = (32, 32)
    """Shape of the maps; (32,) for a similarity of signals."""

    tolerance: ClassVar[float] = 1e-9
    invariant_to_scale: ClassVar[bool] = False
    """Whether maps times a positive number are the same to it."""

    invariant_to_shift: ClassVar[bool] = False
    """Whether maps plus a number are the same to it."""

    invariant_to_monotone: ClassVar[bool] = False
    """Whether a strictly increasing function of the values is the same to it."""

    def similarity(self) -> Any:
        """Return the similarity on trial, or its name as in `--similarity`."""
        raise NotImplementedError("return the similarity on trial from `similarity`")

    def test_has_a_name(self) -> None:
        """Scores are kept by name."""
        name = self._similarity().name
        assert isinstance(name, str), f"expected a name as text, got {name!r}"
        assert name, "expected a name, got an empty one"

    def test_scores_have_a_value_and_a_reason_per_pair(self) -> None:
        """`values` (B,) in float64; `reasons` None where the value is defined."""
        for one, other in zip(self._views(0), self._views(1), strict=True):
            found = self._compared(one, other)
            count = len(one.values)
            assert found.values.dtype == torch.float64, (
                f"expected float64, got {found.values.dtype}"
            )
            assert tuple(found.values.shape) == (count,), f"expected {count} values"
            assert found.reasons == (None,) * count, f"expected no reasons, got {found.reasons}"
            assert bool(found.values.isfinite().all()), "expected finite values for random maps"

    def test_a_map_is_1_with_itself(self) -> None:
        """Nothing is more alike than a map and itself."""
        for shown in self._views(0):
            far = (self._compared(shown, shown).values - 1).abs().max()
            assert far <= self.tolerance, f"a map with itself is {1 - float(far):.6f}, not 1"

    def test_no_pair_is_above_1(self) -> None:
        """1 is the most."""
        for one, other in zip(self._views(0), self._views(1), strict=True):
            most = float(self._compared(one, other).values.max())
            assert most <= 1 + self.tolerance, f"a pair of different maps has {most}"

    def test_unrelated_maps_are_less_alike(self) -> None:
        """It tells maps from each other: independent noise is clearly below 1."""
        for one, other in zip(self._views(0), self._views(1), strict=True):
            mean = float(self._compared(one, other).values.mean())
            assert mean < 0.9, f"unrelated maps have {mean:.3f}"

    def test_is_symmetric(self) -> None:
        """Which map comes first does not matter."""
        for one, other in zip(self._views(0), self._views(1), strict=True):
            forth, back = self._compared(one, other).values, self._compared(other, one).values
            far = float((forth - back).abs().max())
            assert far <= self.tolerance, f"swapping the maps changes it by {far:.1e}"

    def test_does_not_depend_on_the_batch(self) -> None:
        """A pair has the same value alone, bit for bit, and whichever undefined map is beside it."""
        for one, other in zip(self._views(0), self._views(1), strict=True):
            together = self._compared(_spoiled(one), other).values
            for i in range(1, len(other.values)):
                alone = self._compared(_part(one, [i]), _part(other, [i])).values
                assert torch.equal(alone, together[i : i + 1]), f"pair {i} differs alone"

    def test_features_can_be_taken(self) -> None:
        """`take` gives the features of the maps at an index, in that order."""
        order = [3, 0, 2]
        for one, other in zip(self._views(0), self._views(1), strict=True):
            kept = self._similarity()
            features = [kept.prepare(v) for v in (one, other)]
            taken = kept.compare(*(f.take(order) for f in features)).values
            whole = kept.compare(*features).values[order]
            assert torch.equal(taken, whole), "features that were taken compare otherwise"

    def test_undefined_maps_give_nan_with_a_reason(self) -> None:
        """A constant map, zeros, NaN and infinities have no similarity, and it says why, on either side."""
        for shown in self._views(0):
            for words, spoil in _SPOILS.items():
                values = shown.values.clone()
                values[1] = spoil
                spoiled = View(values, shown.signed)
                for found in (self._compared(spoiled, shown), self._compared(shown, spoiled)):
                    assert bool(found.values[1].isnan()), f"{words} has a similarity"
                    assert found.reasons[1], f"{words} gets no reason"
                    rest = [0, *range(2, len(values))]
                    assert bool(found.values[rest].isfinite().all()), f"{words} spoils others"

    def test_undefined_is_told_of_features(self) -> None:
        """`undefined` gives the reason per map."""
        for shown in self._views(0):
            spoiled = _spoiled(shown)
            told = tuple(self._similarity().prepare(spoiled).undefined)
            assert len(told) == len(spoiled.values), (
                f"expected a reason or None per map, got {told}"
            )
            assert told[0], "the constant map is not told"
            assert told[1:] == (None,) * (len(told) - 1), f"defined maps are told: {told}"

    def test_is_blind_to_what_it_declares(self) -> None:
        """Declared invariances hold."""
        for one, other in zip(self._views(0), self._views(1), strict=True):
            expected = self._compared(one, other).values
            for words, change in self._changes(one).items():
                changed = View(change(one.values), one.signed)
                far = float((self._compared(changed, other).values - expected).abs().max())
                assert far <= 1e-6, (
                    f"it declares to be blind to {words}, which changes it by {far:.1e}"
                )

    def test_leaves_maps_and_random_state_alone(self) -> None:
        """It writes into nothing and draws nothing from the global state."""
        state = random_state()
        for one, other in zip(self._views(0), self._views(1), strict=True):
            before = one.values.clone(), other.values.clone()
            self._compared(one, other)
            assert torch.equal(one.values, before[0]), "it wrote into the first maps"
            assert torch.equal(other.values, before[1]), "it wrote into the second maps"
        assert random_state() == state, "it drew from the global random state"

    def _similarity(self) -> Similarity[Any]:
        return registry.similarity(self.similarity())

    def _compared(self, one: View, other: View) -> Scores:
        kept = self._similarity()
        return kept.compare(kept.prepare(one), kept.prepare(other))

    def _views(self, seed: int) -> tuple[View, View]:
        """The signed and the absolute view of five random maps of two channels."""
        generator = torch.Generator().manual_seed(seed)
        maps = torch.randn(5, 2, *self.spatial, generator=generator, dtype=torch.float64)
        return view(maps, signed=True), view(maps, signed=False)

    def _changes(self, shown: View) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if self.invariant_to_scale:
            changes["a scale"] = lambda values: 3.5 * values
        if self.invariant_to_shift and shown.signed:
            changes["a shift"] = lambda values: values + 2.25
        if self.invariant_to_monotone:
            changes["a monotone function"] = lambda values: values + values**3
        return changes


_SPOILS = {
    "a constant map": 0.7,
    "a map of zeros": 0.0,
    "a map of NaN": float("nan"),
    "a map of infinities": float("inf"),
}


def _spoiled(shown: View) -> View:
    values = shown.values.clone()
    values[0] = 1.0
    return View(values, shown.signed)


def _part(shown: View, index: list[int]) -> View:
    values: Tensor = shown.values[index]
    return View(values, shown.signed)

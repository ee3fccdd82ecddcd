"""`DrawContract`: what salsanity relies on in an initialiser."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from salsanity import registry
from salsanity.models.coverage import is_learned
from salsanity.models.network import Network, prepare
from salsanity.models.swap import swapped
from salsanity.randomizers.brought import BroughtDraw
from salsanity.randomizers.draw import Draw
from salsanity.testing.networks import small_network, some_images
from salsanity.testing.traces import Traces, random_state

Key = tuple[str, str]


class DrawContract:
    """The contract of a draw `(network, seed) -> layer -> tensor name -> values`: inherit it and return yours from `draw`."""

    constant: ClassVar[frozenset[str]] = frozenset({"bias"})
    """Names of tensors that it may set to a constant, the same in every layer and draw."""

    def draw(self) -> Any:
        """Return the draw on trial, or its name as in `--init`."""
        raise NotImplementedError("return the draw on trial from `draw`")

    def model(self) -> nn.Module:
        """Return a trained classifier with layers of equal shape; by default a small one."""
        return small_network()

    def images(self) -> Tensor:
        """Return images that the classifier takes, (N, C, H, W)."""
        return some_images()

    def test_has_a_name(self) -> None:
        """The name stands beside every verdict."""
        name = self._draw().name
        assert isinstance(name, str), f"expected a name as text, got {name!r}"
        assert name, "expected a name, got an empty one"

    def test_covers_every_learned_tensor(self) -> None:
        """Nothing that training found stays by accident: every parameter that the forward pass uses is drawn."""
        network = self._network()
        wanted = {slot.key for slot in network.slots if is_learned(network, slot)}
        missing = sorted(".".join(key) for key in wanted - set(self._drawn(network, 0)))
        assert not missing, f"it leaves as trained: {', '.join(missing)}"

    def test_values_fit_the_network(self) -> None:
        """Shapes and dtypes are the network's, values finite and on the CPU, and the network takes them."""
        network = self._network()
        trained = {slot.key: slot.tensor for slot in network.slots}
        for key, values in self._drawn(network, 0).items():
            assert key in trained, f"the network has no tensor {'.'.join(key)}"
            wanted = (trained[key].shape, trained[key].dtype, torch.device("cpu"))
            got = (values.shape, values.dtype, values.device)
            assert got == wanted, f"expected {wanted} for {'.'.join(key)}, got {got}"
            assert bool(values.isfinite().all()), f"{'.'.join(key)} is not finite"
        with swapped(network, self._draw()(network, 0)), torch.no_grad():
            assert bool(network.logits(self.images()).isfinite().all()), "logits are not finite"

    def test_forgets_the_trained_values(self) -> None:
        """Every tensor that it draws differs from the trained one, place by place almost everywhere."""
        network = self._network()
        for key, values in self._drawn(network, 0).items():
            trained = network.trained[key[0]][key[1]]
            same = float((values == trained).double().mean())
            assert same < 0.5, f"{same:.0%} of the values of {'.'.join(key)} are the trained ones"

    def test_the_same_seed_draws_the_same(self) -> None:
        """Nothing but network and seed matters, and not what was drawn from the global state in between."""
        network = self._network()
        first = self._drawn(network, 3)
        _ = random.random(), np.random.random(), torch.rand(3)
        again = self._drawn(network, 3)
        differ = [
            ".".join(k) for k in first if not torch.equal(first[k], again.get(k, torch.empty(0)))
        ]
        assert not differ, f"the same seed drew other values for {', '.join(differ)}"

    def test_another_seed_draws_others(self) -> None:
        """Draws are independent."""
        network = self._network()
        one, other = self._drawn(network, 3), self._drawn(network, 4)
        same = [k for k in one if torch.equal(one[k], other[k]) and not self._may_repeat(k, one[k])]
        assert not same, f"two seeds drew the same for {', '.join('.'.join(k) for k in same)}"

    def test_layers_of_equal_shape_differ(self) -> None:
        """Every layer has a seed of its own."""
        drawn = self._drawn(self._network(), 0)
        for key, values in drawn.items():
            for other, its in drawn.items():
                if key < other and values.shape == its.shape and not self._may_repeat(key, values):
                    assert not torch.equal(values, its), f"{'.'.join(key)} equals {'.'.join(other)}"

    def test_leaves_the_network_alone(self) -> None:
        """Weights, gradients, mode, hooks and attributes are as before."""
        network = self._network()
        traces = Traces.of(network.module)
        self._draw()(network, 0)
        for changed in (
            traces.values_changed,
            traces.grads_changed,
            traces.modes_changed,
            traces.attributes_changed,
        ):
            assert changed() is None, f"{changed.__name__.replace('_', ' ')}: {changed()}"

    def test_leaves_the_global_random_state_alone(self) -> None:
        """It draws from generators of its own."""
        network = self._network()
        before = random_state()
        self._draw()(network, 0)
        assert random_state() == before, "it drew from the global random state, or seeded it"

    def _draw(self) -> Draw:
        asked: Any = self.draw()
        if isinstance(asked, str):
            return registry.draw(asked)
        return asked if hasattr(asked, "name") else BroughtDraw(asked, asked.__name__)

    def _network(self) -> Network:
        return prepare(self.model(), self.images()[:1])

    def _drawn(self, network: Network, seed: int) -> dict[Key, Tensor]:
        drawn: Mapping[str, Mapping[str, Tensor]] = self._draw()(network, seed)
        return {(layer, name): v for layer, tensors in drawn.items() for name, v in tensors.items()}

    def _may_repeat(self, key: Key, values: Tensor) -> bool:
        """Whether values may be the same elsewhere: declared constants, and the ones of a norm."""
        is_constant = bool((values == values.flatten()[0]).all())
        return is_constant and (key[1] in self.constant or values.dim() <= 1)

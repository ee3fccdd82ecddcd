"""Every draw of salsanity keeps the contract; every test of the contract can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from twins import every_test_has_a_twin, fails

from salsanity.models.coverage import is_learned
from salsanity.models.network import Network
from salsanity.randomizers.draw import INITIALISERS
from salsanity.randomizers.fresh import Fresh
from salsanity.seeds import seed_for
from salsanity.testing import DrawContract
from salsanity.testing.networks import small_network


class TestOurDraws(DrawContract):
    asked: Any = None

    @pytest.fixture(autouse=True, params=INITIALISERS)
    def name(self, request: pytest.FixtureRequest) -> None:
        self.asked = request.param

    def draw(self) -> Any:
        return self.asked


def built() -> torch.nn.Module:
    network = small_network()
    for tensor in network.parameters():
        tensor.data = torch.randn_like(tensor)
    return network


class TestFresh(DrawContract):
    def draw(self) -> Any:
        return Fresh(built)


@dataclass(frozen=True)
class Normal:
    """Every learned tensor from a normal, honest until a fault is put in."""

    fault: str = ""
    name: Any = "normal"

    def __call__(self, network: Network, seed: int) -> dict[str, dict[str, Tensor]]:
        drawn: dict[str, dict[str, Tensor]] = {}
        for slot in network.slots:
            if is_learned(network, slot):
                values = self.values(slot.tensor, seed, slot.path)
                drawn.setdefault(slot.layer, {})[slot.name] = values
        return self.spoiled(network, drawn)

    def values(self, trained: Tensor, seed: int, path: str) -> Tensor:
        match self.fault:
            case "trained":
                return trained.detach().clone()
            case "global":
                return torch.randn_like(trained)
            case "float32":
                trained = trained.float()
            case "one seed":
                seed = 0
            case "by shape":
                path = ""
        generator = torch.Generator().manual_seed(seed_for(seed, path))
        return torch.randn(trained.shape, generator=generator, dtype=trained.dtype)

    def spoiled(
        self, network: Network, drawn: dict[str, dict[str, Tensor]]
    ) -> dict[str, dict[str, Tensor]]:
        match self.fault:
            case "forgets one":
                drawn["0"].pop("weight")
            case "not finite":
                drawn["0"]["weight"][0] = torch.nan
            case "writes":
                network.slots[0].tensor.data.add_(1)
            case "trains":
                network.module.train()
        return drawn


class TestTheHonestTwin(DrawContract):
    def draw(self) -> Any:
        return Normal()


class TestAFunction(DrawContract):
    def draw(self) -> Any:
        return Normal().__call__


TWINS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "test_has_a_name": [(lambda: Normal(name=""), "empty"), (lambda: Normal(name=1), "as text")],
    "test_covers_every_learned_tensor": [(lambda: Normal("forgets one"), "0.weight")],
    "test_values_fit_the_network": [
        (lambda: Normal("float32"), "expected"),
        (lambda: Normal("not finite"), "not finite"),
    ],
    "test_forgets_the_trained_values": [(lambda: Normal("trained"), "trained ones")],
    "test_the_same_seed_draws_the_same": [(lambda: Normal("global"), "same seed")],
    "test_another_seed_draws_others": [(lambda: Normal("one seed"), "two seeds")],
    "test_layers_of_equal_shape_differ": [(lambda: Normal("by shape"), "equals")],
    "test_leaves_the_network_alone": [
        (lambda: Normal("writes"), "values"),
        (lambda: Normal("trains"), "modes"),
    ],
    "test_leaves_the_global_random_state_alone": [(lambda: Normal("global"), "global")],
}
CASES = [(test, *case) for test, cases in TWINS.items() for case in cases]


@pytest.mark.parametrize(("test", "broken", "words"), CASES)
def test_twin_a_broken_draw_is_noticed(test: str, broken: Callable[[], Any], words: str) -> None:
    with torch.random.fork_rng():
        fails(DrawContract, test, "draw", broken, words)


def test_every_test_of_the_contract_has_a_twin() -> None:
    every_test_has_a_twin(DrawContract, TWINS)

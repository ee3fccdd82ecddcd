"""Every method of salsanity keeps the contract; every test of the contract can fail."""

from __future__ import annotations

import random
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from twins import every_test_has_a_twin, fails

from salsanity import registry
from salsanity.methods import Inputs, Steps
from salsanity.testing import MethodContract

BASELINES = ("zeros", "gaussian", "data")
OURS = [
    *(name for name in registry.BUILT_IN_METHODS),
    *(f"integrated_gradients(baseline={name!r}, baseline_value=0.5)" for name in BASELINES),
]


class Ours(MethodContract):
    """The contract, for the method that the fixture names."""

    asked: Any = None

    @pytest.fixture(autouse=True, params=[*OURS, *registry.CONTROLS])
    def name(self, request: pytest.FixtureRequest) -> None:
        make = registry.CONTROLS.get(request.param)
        self.asked = request.param if make is None else make()

    def method(self) -> Any:
        return self.asked


class TestOurMethods(Ours):
    pass


def plain_gradient(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


class TestExplainer(MethodContract):
    def method(self) -> Any:
        return plain_gradient


@dataclass(frozen=True)
class Fixed:
    """A method whose maps a function gives."""

    maps: Callable[[Inputs], Any]
    stochastic: bool = True
    name: Any = "fixed"

    def steps(self, inputs: Inputs) -> Steps:
        yield ()
        return self.maps(inputs)


def spoiling(spoil: Callable[[nn.Module, Tensor], Any]) -> Callable[[], Any]:
    """An explainer that does something to the network or the inputs first."""

    def explain(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        spoil(model, x)
        return plain_gradient(model, x, targets)

    return lambda: explain


def scaled_by_batch(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    maps = plain_gradient(model, x, targets)
    return maps / maps.abs().max()


def backward(model: nn.Module, _: Tensor) -> None:
    next(model.parameters()).grad = torch.zeros(())


def seeding(model: nn.Module, _: Tensor) -> None:
    torch.manual_seed(0)


def left_hook(model: nn.Module, _: Tensor) -> None:
    model[2].register_forward_hook(lambda *_: None)


def changed_weight(model: nn.Module, _: Tensor) -> None:
    with torch.no_grad():
        next(model.parameters()).mul_(1 + 1e-9)


SYSTEM = random.SystemRandom()
COUNT = iter(range(10**6))

TWINS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "test_has_a_name": [
        (lambda: Fixed(lambda i: i.x, name=""), "empty"),
        (lambda: Fixed(lambda i: i.x, name=3), "as text"),
        (lambda: Fixed(lambda i: i.x, name=f"n{next(COUNT)}"), "same name"),
    ],
    "test_maps_fit_the_inputs": [
        (lambda: Fixed(lambda i: i.x[:, :, 1:]), "shape"),
        (lambda: Fixed(lambda i: i.x.argsort(-1)), "real numbers"),
        (lambda: Fixed(lambda i: i.x / 0), "finite"),
    ],
    "test_leaves_the_weights_alone": [
        (spoiling(changed_weight), "changed 0.weight"),
        (spoiling(lambda m, _: m[1].running_mean.add_(1)), "running_mean"),
        (spoiling(lambda m, _: m.register_buffer("more", torch.zeros(1))), "other parameters"),
    ],
    "test_leaves_gradients_alone": [
        (spoiling(lambda m, _: setattr(next(m.parameters()), "grad", None) or _graded(m)), "0.weight"),
        (spoiling(lambda m, _: m[0].bias.requires_grad_()), "0.bias"),
    ],
    "test_leaves_the_mode_alone": [(spoiling(lambda m, _: m[5].train()), "5 into another mode")],
    "test_leaves_no_hooks": [
        (spoiling(left_hook), "on 2"),
        (spoiling(lambda m, _: setattr(m[3], "seen", 1)), "on 3"),
        (spoiling(lambda m, _: setattr(m[2], "extra", nn.ReLU())), "other modules"),
    ],
    "test_leaves_the_inputs_alone": [(spoiling(lambda _, x: x.detach().mul_(2)), "inputs")],
    "test_does_not_depend_on_the_batch": [
        (lambda: scaled_by_batch, "alone"),
        (lambda: Fixed(lambda i: i.x * (i.x.new_tensor([i.ids[0] == n for n in i.ids]).view(-1, 1, 1, 1) + (len(i.ids) == 1))),
         "alone|order"),
    ],
    "test_depends_only_on_its_seed": [
        (lambda: Fixed(lambda i: torch.rand_like(i.x)), "same seed"),
        (lambda: lambda m, x, t: x * SYSTEM.random(), "same seed"),
    ],
    "test_is_stochastic_if_it_says_so": [
        (lambda: Fixed(lambda i: torch.rand_like(i.x), stochastic=False), "stochastic=False"),
    ],
    "test_leaves_the_global_random_state_alone": [
        (lambda: Fixed(lambda i: torch.rand_like(i.x)), "global random"),
        (spoiling(seeding), "global random"),
        (spoiling(lambda *_: random.random()), "global random"),
    ],
}  # fmt: skip


def _graded(model: nn.Module) -> None:
    weight = next(model.parameters())
    weight.grad = torch.zeros_like(weight)


CASES = [(test, *case) for test, cases in TWINS.items() for case in cases]


@pytest.mark.parametrize(("test", "broken", "words"), CASES)
def test_twin_a_broken_method_is_noticed(test: str, broken: Callable[[], Any], words: str) -> None:
    with torch.random.fork_rng():
        fails(MethodContract, test, "method", broken, words)


def test_every_test_of_the_contract_has_a_twin() -> None:
    every_test_has_a_twin(MethodContract, TWINS)


def test_an_explainer_that_raises_is_reported() -> None:
    def broken(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("out of ideas")

    fails(MethodContract, "test_maps_fit_the_inputs", "method", lambda: broken, "out of ideas")


def test_an_explainer_that_draws_globally_says_so() -> None:
    class Noisy(MethodContract):
        uses_global_random = True

        def method(self) -> Any:
            return lambda model, x, targets: x + torch.rand_like(x)

    Noisy().test_depends_only_on_its_seed()
    with pytest.raises(unittest.SkipTest, match="global"):
        Noisy().test_leaves_the_global_random_state_alone()
    with pytest.raises(unittest.SkipTest, match="batch"):
        Noisy().test_does_not_depend_on_the_batch()

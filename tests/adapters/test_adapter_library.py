"""What the adapters share: features, arguments, and what a network calls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explained import Variant, X, plain
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from salsanity.adapters.activations import ACTIVATIONS, InTurn, calls_of, unshare
from salsanity.adapters.library import Arguments, side_of, squares
from salsanity.errors import MethodError


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_squares_number_the_image_without_gaps(height: int, width: int, side: int) -> None:
    found = squares(torch.zeros(1, 3, height, width), side)[0, 0].numpy()
    rows, columns = np.arange(height) // side, np.arange(width) // side
    np.testing.assert_array_equal(found, rows[:, None] * -(-width // side) + columns)
    assert set(found.ravel()) == set(range(found.max() + 1))


def test_features_of_other_inputs() -> None:
    assert squares(torch.zeros(1, 5), 2).tolist() == [[0, 1, 2, 3, 4]]
    assert squares(torch.zeros(1, 2, 6), 4).tolist() == [[[0, 0, 0, 0, 1, 1]]]
    assert [side_of(torch.zeros(1, 3, n, n), None) for n in (4, 28, 224)] == [1, 3, 28]


def test_arguments_are_handed_out_once_and_the_rest_is_refused() -> None:
    given_ = Arguments({"a": 1, "z": 2}, "lib:X")
    assert given_.of(lambda self, a, b=2, **kwargs: None, without=("b",)) == {"a": 1}
    with pytest.raises(MethodError, match="lib:X has no argument 'z'; it takes: a"):
        given_.check()


@pytest.mark.parametrize(
    ("style", "functions"),
    [
        ("modules", {"ReLU"}),
        ("functional", {"Variant"}),
        ("gelu", {"Variant"}),
        ("reused", {"ReLU"}),
    ],
)
def test_calls_know_where_they_happen(style: str, functions: set[str]) -> None:
    calls = calls_of(Variant(style).eval(), X[:1])
    assert {c.kind.__name__ for c in calls.nonlinear if c.function in ACTIVATIONS} == functions
    assert ("max_pool2d", "pool1") in {(c.function, c.module) for c in calls.nonlinear}
    assert bool(calls.sums) is False
    assert calls.modules["relu"] == {"modules": 1, "reused": 2}.get(style, 0)


def test_sums_of_activations_are_seen_and_those_with_parameters_are_not() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Variant("modules")
            self.shift = nn.Parameter(torch.ones(4), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) + self.shift + 1.0

    assert list(calls_of(Variant("sum").eval(), X[:1]).sums) == [""]
    assert not calls_of(Shifted().eval(), X[:1]).sums


def test_a_shared_module_becomes_one_for_each_call() -> None:
    model = Variant("reused").eval()
    before = model(X)
    unshare(model, X[:1])
    assert isinstance(model.relu, InTurn)
    assert len(model.relu) == 2
    torch.testing.assert_close(model(X), before)
    torch.testing.assert_close(model(X), before)


def test_nothing_else_is_replaced() -> None:
    model = plain()
    before = list(model.children())
    unshare(model, X[:1])
    assert all(a is b for a, b in zip(model.children(), before, strict=True))

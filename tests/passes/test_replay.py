"""Replay: same maps as without it, bit for bit, on every shape of network; a twin that spares too much must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import chain, images
from salsanity.methods import Baselines
from salsanity.models.network import Network, prepare
from salsanity.passes import replay as replaying
from salsanity.passes.replay import Course, Rehearsal, course_of
from salsanity.passes.request import Fold, Noisy, Pass, Path, Points, Rule
from salsanity.passes.run import Answer, Batch, Setting, run
from salsanity.passes.schedule import Demand, State
from salsanity.randomizers.draw import ModuleInit

X = images(count=5, size=12)
TARGETS = torch.tensor([0, 1, 2, 3, 4])
REQUESTS = (Pass(), Pass(Points(noisy=Noisy(4))), Pass(Points(path=Path(3)), fold=Fold.PATH))


class Residual(nn.Module):
    """Skip connections, in-place ReLUs of one shared module, and an in-place addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        y = self.one(x)
        y += x
        y = self.relu(y)
        z = self.two(y)
        z += y
        z = F.relu(z, inplace=True)
        return self.head(z.mean((2, 3)))


class Tokens(nn.Module):
    """A bare parameter of the root used in the middle, attention whose projection is never called as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 8, 4, stride=4)
        self.position = nn.Parameter(torch.randn(1, 9, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(F.relu(self.hidden(x)).mean(1))


class Tied(nn.Module):
    """The first and the last hidden layer share their weight, so that a change at the top reaches the bottom."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3)
        self.first, self.middle, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.last.weight = self.first.weight
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x)).mean((2, 3))
        for layer in (self.first, self.middle, self.last):
            x = torch.relu(layer(x))
        return self.head(x)


class Borrowing(nn.Module):
    """Uses a layer's weight without calling the layer, before the modules that come first in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.head.weight.abs().mean()
        return self.head(torch.relu(self.body(torch.relu(self.stem(x * scale)).mean((2, 3)))))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "chain": chain,
    "chain in place": lambda: chain(inplace=True),
    "residual": Residual,
    "tokens": Tokens,
    "tied": Tied,
    "borrowing": Borrowing,
    "weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 4, 3)), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(192, 5),
    ),
}  # fmt: skip


def made(kind: str) -> Network:
    torch.manual_seed(0)
    return prepare(NETWORKS[kind]().to(X.dtype), X[:1], blocks="layer")


def cascade(network: Network, order: str = "top_down") -> list[State]:
    """The trained network, then one more layer randomised at a time (or one alone)."""
    drawn = ModuleInit()(network, 3)
    states, weights = [State("trained", {}, TARGETS)], {}
    for block in reversed(network.blocks):
        new = {layer: drawn[layer] for layer in block.layers if layer in drawn}
        weights = new if order == "independent" else {**weights, **new}
        states.append(State(block.name, weights, TARGETS))
    return states


def answers(
    network: Network, states: list[State], replay: str, requests: tuple[Pass, ...] = REQUESTS
) -> list[Answer]:
    batch = Batch(X, tuple("abcde"))
    setting = Setting(0, 0, 4, Baselines(0, X), None, replay)  # type: ignore[arg-type]
    return run(network, batch, [Demand(s, requests) for s in states], setting=setting)


def check_equal(one: list[Answer], other: list[Answer]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.logits is not None
        assert torch.equal(a.logits, b.logits)  # type: ignore[arg-type]
        for request in a.results:
            x, y = a.results[request], b.results[request]
            assert torch.equal(x.gradient, y.gradient)  # type: ignore[union-attr]
            if request.tap is not None:  # type: ignore[union-attr]
                assert torch.equal(x.activation, y.activation)  # type: ignore[union-attr]


@pytest.mark.parametrize("order", ["top_down", "independent"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_maps_are_the_same_with_and_without_replay(kind: str, order: str) -> None:
    network = made(kind)
    states = cascade(network, order)
    check_equal(answers(network, states, "off"), answers(network, states, "on"))


@pytest.mark.parametrize("kind", ["chain", "chain in place", "residual"])
def test_guided_passes_and_taps_are_the_same(kind: str) -> None:
    network = made(kind)
    tap = {"residual": "one"}.get(kind, "4")
    requests = (Pass(), Pass(rule=Rule.GUIDED), Pass(tap=tap), Pass(tap=tap, rule=Rule.GUIDED))
    states = cascade(network)
    check_equal(answers(network, states, "off", requests), answers(network, states, "on", requests))


def test_twin_sparing_what_changed_gives_other_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    network = made("residual")
    states = cascade(network)
    right = answers(network, states, "off")
    late = Course.unchanged_until
    monkeypatch.setattr(Course, "unchanged_until", lambda *a: late(*a) + 4)
    with pytest.raises(AssertionError):
        check_equal(right, answers(network, states, "on"))


def counted(network: Network, states: list[State], replay: str) -> int:
    """How often the first convolution runs."""
    calls = []
    first = next(m for m in network.module.modules() if isinstance(m, nn.Conv2d))
    own = first._conv_forward
    first._conv_forward = lambda *a: calls.append(1) or own(*a)  # type: ignore[func-returns-value]
    try:
        answers(network, states, replay, (Pass(),))
    finally:
        del first._conv_forward
    return len(calls)


def test_the_first_layer_runs_once_per_slice_until_it_is_randomised() -> None:
    network = made("residual")
    states = cascade(network)
    slices, course = 2, 1
    assert counted(network, states, "off") == slices * len(states)
    last_two = (
        2 * slices
    )  # stages at which the norm after it, and then it, are randomised: it runs for its own only
    assert counted(network, states, "on") == course + slices + last_two - slices


def test_a_tied_weight_is_first_used_where_its_first_owner_uses_it() -> None:
    network = made("tied")
    course = course_of(network, X[:1])
    shared = network.module.first.weight
    changed = {"last": {"weight": torch.zeros_like(shared)}}
    assert course.unchanged_until(network, changed) == course.first_use[id(shared)]
    (only,) = course.spared(course.unchanged_until(network, changed))
    assert course.calls[only].module is network.module.stem


def test_nothing_is_spared_before_a_weight_that_no_call_owns_is_used() -> None:
    network = made("borrowing")
    course = course_of(network, X[:1])
    changed = {"head": {"weight": torch.zeros(5, 4)}}
    assert course.spared(course.unchanged_until(network, changed)) == ()


class Moody(nn.Module):
    """Calls its modules in another order from time to time."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.body, self.head = nn.Conv2d(2, 2, 1), nn.Linear(2, 5)
        self.count: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.count.append(1)
        pair = (self.one, self.two) if len(self.count) < 4 else (self.two, self.one)
        y = pair[0](x)
        y = y + pair[1](x)
        return self.head(torch.relu(self.body(y)).mean((2, 3)))


def test_a_network_that_calls_other_modules_than_before_is_run_in_full() -> None:
    torch.manual_seed(0)
    network = prepare(Moody().to(X.dtype), X[:1], blocks="layer")
    states = cascade(network)
    right = answers(network, states, "off", (Pass(),))
    network.module.count.clear()  # type: ignore[union-attr,operator]
    for a, b in zip(right, answers(network, states, "on", (Pass(),)), strict=True):
        torch.testing.assert_close(
            a.results[Pass()].gradient,  # type: ignore[union-attr]
            b.results[Pass()].gradient,  # type: ignore[union-attr]
        )


def rehearsal(replay: str, **changes: Any) -> Rehearsal | None:
    network = made("residual")
    weights = [state.weights for state in cascade(network)]
    return Rehearsal.of(network, weights, X[:1], **{"points": 4, "replay": replay, **changes})


def test_auto_keeps_graphs_only_where_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rehearsal("auto") is not None
    monkeypatch.setattr(replaying, "free_memory", lambda _: 1000)
    assert rehearsal("auto") is None
    assert rehearsal("on") is not None
    assert rehearsal("off") is None


def test_a_cascade_from_the_bottom_has_nothing_to_replay() -> None:
    network = made("residual")
    drawn = ModuleInit()(network, 3)
    first, *_ = network.blocks
    weights = {layer: drawn[layer] for layer in first.layers if layer in drawn}
    assert Rehearsal.of(network, [weights, drawn], X[:1], points=4, replay="on") is None


def test_forward_methods_are_the_modules_own_again() -> None:
    network = made("residual")
    answers(network, cascade(network), "on")
    assert not [m for m in network.module.modules() if "forward" in vars(m)]

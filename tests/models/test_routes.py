"""Layers that one image goes through and another does not, or trained weights and others not, are no layers left trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import salsanity
from salsanity.errors import ModelError
from salsanity.models import routes
from salsanity.models.network import prepare
from salsanity.models.routes import check_routes, unread_by

X = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(2))


class Routed(nn.Module):
    """A mixture of two experts, of which each image goes through one."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(64, 2)
        self.experts = nn.ModuleList(self.expert() for _ in range(2))

    def expert(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        rows = [self.experts[int(self.gate(one).argmax())](one) for one in x]
        return torch.stack(rows)


class Blended(Routed):
    """The twin: both experts run for every image."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        share = self.gate(x).softmax(1)
        return sum(share[:, i, None] * expert(x) for i, expert in enumerate(self.experts))  # type: ignore[return-value]


class EarlyExit(nn.Module):
    """Goes on where it is not sure: trained it always is, randomised it never is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.exit = nn.Linear(64, 8), nn.Linear(8, 3)
        self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.exit.bias = nn.Parameter(torch.tensor([50.0, 0.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).relu()
        found = self.exit(x)
        if bool((found.softmax(1).amax(1) > 0.9).all()):
            return found
        return self.head(self.second(x).relu())


class Auxiliary(Blended):
    """A head that is used in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(64, 3)


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return kind().eval()


def run(kind: type[nn.Module], out: Any) -> salsanity.Result:
    return salsanity.model_randomization_test(
        made(kind), X, methods=["gradient"], similarities=["spearman"], draws=2, gallery=0, out=out
    )


def test_layers_for_other_images_only_are_refused(tmp_path: Any) -> None:
    said = r"reads some of experts\.\d\.0\.weight, .* only for other images than the first"
    with pytest.raises(ModelError, match=said):
        run(Routed, tmp_path)
    assert not list((tmp_path / "scores").glob("*"))


def test_layers_that_only_the_randomised_network_reads_are_refused(tmp_path: Any) -> None:
    said = r"reads some of second\.weight, .* only once its weights are randomised"
    with pytest.raises(ModelError, match=said):
        run(EarlyExit, tmp_path)


@pytest.mark.parametrize("kind", [Blended, Auxiliary])
def test_twins_that_run_all_of_their_layers_are_judged(kind: Any, tmp_path: Any) -> None:
    result = run(kind, tmp_path)
    assert len(result.scores)


def test_twin_a_check_that_stirs_nothing_lets_it_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    network = prepare(made(Routed), X[:1])
    with pytest.raises(ModelError):
        check_routes(network, [X])
    monkeypatch.setattr(routes, "_stirred", lambda unread: {})
    check_routes(network, [X])


def test_what_is_never_read_changes_nothing_and_the_network_is_as_before() -> None:
    network = prepare(made(Auxiliary), X[:1])
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    assert {slot.path for slot in unread_by(network)} == {"auxiliary.weight", "auxiliary.bias"}
    check_routes(network, torch.split(X, 3))
    assert all(torch.equal(v, before[k]) for k, v in network.module.state_dict().items())

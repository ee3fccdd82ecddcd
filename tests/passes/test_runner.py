"""The runner: equal passes once, prefixes shared, streaming, rules that are refused where undefined."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from networks import chain, images
from salsanity.errors import MethodError, ModelError
from salsanity.methods import Baselines
from salsanity.models.network import Network, prepare
from salsanity.passes.fold import Accumulator, Mean
from salsanity.passes.foreign import as_maps
from salsanity.passes.points import PointSource
from salsanity.passes.request import Baseline, Fold, Noisy, Pass, Path, Points, Rule
from salsanity.passes.run import Batch, Setting, run
from salsanity.passes.schedule import Demand, State, evaluations, extents, groups_of

X = images()
IDS = ("a", "b", "c")
TARGETS = torch.tensor([0, 1, 2])
NOISY, FEWER = Points(noisy=Noisy(6)), Points(noisy=Noisy(4))
PATH = Points(path=Path(5))
REQUESTS: tuple[Pass, ...] = (
    Pass(),
    Pass(tap="4"),
    Pass(NOISY),
    Pass(NOISY, fold=Fold.MEAN_SQUARE),
    Pass(FEWER, fold=Fold.VARIANCE),
    Pass(PATH, fold=Fold.PATH),
    Pass(rule=Rule.GUIDED),
)


class Counting(nn.Module):
    """Counts how many images go forward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = chain()
        self.seen: list[int] = []  # a list, since `swapped` puts plain attributes back

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.inner(x)


def network_of(model: nn.Module) -> Network:
    return prepare(model, X[:1])


def setting(**changes: object) -> Setting:
    return Setting(
        **{"seed": 0, "stream": 0, "batch_size": 4, "draw_baseline": Baselines(0, X), **changes}
    )


def state(name: str = "trained") -> State:
    return State(name, {}, TARGETS)


def test_equal_passes_run_once_whatever_asks_for_them() -> None:
    network = network_of(Counting())
    network.module.seen.clear()
    requests = tuple(Pass(r.points, r.rule, r.tap and "inner.4", r.fold) for r in REQUESTS)
    run(network, Batch(X, IDS), [Demand(state(), requests)], setting=setting())
    assert sum(network.module.seen) == len(X) * (1 + 6 + 5 + 1)
    assert evaluations(requests) == 1 + 6 + 5 + 1


def test_sharing_passes_changes_no_result() -> None:
    network = network_of(chain())
    (together,) = run(network, Batch(X, IDS), [Demand(state(), REQUESTS)], setting=setting())
    for request in REQUESTS:
        (alone,) = run(network, Batch(X, IDS), [Demand(state(), (request,))], setting=setting())
        torch.testing.assert_close(
            alone.results[request].gradient,
            together.results[request].gradient,
            rtol=1e-10,
            atol=1e-13,
        )


def test_states_run_side_by_side_as_they_would_alone() -> None:
    network = network_of(chain())
    weights = {"0": {"weight": torch.ones_like(network.trained["0"]["weight"])}}
    changed = State("changed", weights, TARGETS)
    both = run(
        network,
        Batch(X, IDS),
        [Demand(state(), REQUESTS), Demand(changed, REQUESTS)],
        setting=setting(),
    )
    (alone,) = run(network, Batch(X, IDS), [Demand(changed, REQUESTS)], setting=setting())
    for request in REQUESTS:
        torch.testing.assert_close(
            both[1].results[request].gradient, alone.results[request].gradient
        )
    assert not torch.allclose(both[0].results[Pass()].gradient, both[1].results[Pass()].gradient)


def test_logits_come_with_the_plain_pass_at_the_input() -> None:
    model = chain()
    (answer,) = run(
        network_of(model), Batch(X, IDS), [Demand(state(), (Pass(),))], setting=setting()
    )
    torch.testing.assert_close(answer.logits, model(X).detach())
    (noisy,) = run(
        network_of(model), Batch(X, IDS), [Demand(state(), (Pass(NOISY),))], setting=setting()
    )
    assert noisy.logits is None


def test_the_tapped_value_is_the_layer_s_output_although_the_next_layer_overwrites_it() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(300, 4)
    ).double()
    (answer,) = run(
        network_of(model), Batch(X, IDS), [Demand(state(), (Pass(tap="0"),))], setting=setting()
    )
    found = answer.results[Pass(tap="0")]
    torch.testing.assert_close(found.activation, model[0](X).detach())
    assert found.activation.min() < 0


def test_nothing_is_left_on_the_network() -> None:
    network = network_of(chain())
    hooks = [len(m._forward_hooks) for m in network.module.modules()]
    run(network, Batch(X, IDS), [Demand(state(), REQUESTS)], setting=setting())
    assert [len(m._forward_hooks) for m in network.module.modules()] == hooks
    assert all(p.grad is None for p in network.module.parameters())


def test_streams_and_images_have_their_own_noise() -> None:
    def noise(stream: int, ids: Sequence[str]) -> Tensor:
        source = PointSource(NOISY, X, tuple(ids), 0, stream, Baselines(0))
        return source.positions(0, 6).x - X

    first = noise(0, IDS)
    assert torch.equal(first, noise(0, IDS))
    assert not torch.allclose(first, noise(1, IDS))
    assert not torch.allclose(first[0], first[1])
    swapped = noise(0, ("b", "a", "c"))
    scale = (X.flatten(1).amax(1) - X.flatten(1).amin(1)).view(-1, 1, 1, 1) * 0.15
    torch.testing.assert_close((swapped / scale)[:, 1], (first / scale)[:, 0])
    assert float((first / scale).std()) == pytest.approx(1, abs=0.05)


def test_the_path_goes_from_the_baseline_to_the_input() -> None:
    source = PointSource(
        Points(path=Path(4, Baseline("constant", 2.0))), X, IDS, 0, 0, Baselines(0)
    )
    found = source.positions(0, 4)
    for i in range(4):
        torch.testing.assert_close(found.x[i], 2 + (i + 0.5) / 4 * (X - 2))
        torch.testing.assert_close(found.displacement[i], X - 2)
    ends = PointSource(
        Points(path=Path(3, spacing="endpoints")), X, IDS, 0, 0, Baselines(0)
    ).positions(0, 3)
    torch.testing.assert_close(ends.x, torch.stack([0 * X, 0.5 * X, X]))


def test_a_random_baseline_is_drawn_once_per_draw() -> None:
    points = Points(path=Path(3, Baseline("uniform", draws=2)))
    found = PointSource(points, X, IDS, 0, 0, Baselines(0, X)).positions(0, 6).displacement
    assert torch.equal(found[0], found[2])
    assert not torch.allclose(found[0], found[3])


@given(st.integers(1, 20), st.integers(1, 60), st.integers(1, 40))
def test_batches_cover_every_point_once_and_fit(count: int, points: int, batch_size: int) -> None:
    seen = set()
    for e in extents(images=count, points=points, batch_size=batch_size):
        assert (e.last - e.first) * (e.stop - e.start) <= batch_size
        cells = {(i, p) for i in range(e.first, e.last) for p in range(e.start, e.stop)}
        assert not cells & seen
        seen |= cells
    assert seen == {(i, p) for i in range(count) for p in range(points)}


def welford(values: Tensor, cuts: Sequence[int], fold: Fold) -> Tensor:
    accumulator = Accumulator.of(fold)
    for part in values.tensor_split(list(cuts)):
        if len(part):
            accumulator.update(part, None)
    return accumulator.result()


@given(st.lists(st.integers(1, 11), max_size=4).map(sorted), st.floats(-1e3, 1e3))
def test_folds_do_not_depend_on_where_the_points_are_cut(cuts: list[int], shift: float) -> None:
    values = (
        torch.randn(12, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + shift
    )
    torch.testing.assert_close(welford(values, cuts, Fold.MEAN), values.mean(0))
    torch.testing.assert_close(welford(values, cuts, Fold.MEAN_SQUARE), values.square().mean(0))
    torch.testing.assert_close(
        welford(values, cuts, Fold.VARIANCE), values.var(0, correction=0), rtol=1e-8, atol=1e-9
    )


SPREAD = torch.randn(50, 64, generator=torch.Generator().manual_seed(3)).exp()
DIVISIONS: tuple[list[int], ...] = ([], [1], [32], [16, 32, 48], [8], list(range(1, 50)))


@pytest.mark.parametrize("fold", [Fold.MEAN, Fold.MEAN_SQUARE, Fold.VARIANCE])
def test_folds_are_the_same_bit_for_bit_however_points_are_divided(fold: Fold) -> None:
    whole = welford(SPREAD, [], fold)
    for cuts in DIVISIONS:
        assert torch.equal(welford(SPREAD, cuts, fold), whole), cuts


def test_twin_sums_over_batches_depend_on_the_division() -> None:
    sums = [sum(part.sum(0) for part in SPREAD.tensor_split(cuts)) for cuts in DIVISIONS]
    assert not all(torch.equal(found, sums[0]) for found in sums)


class PixelByPixel(nn.Module):
    """A network without a kernel that could depend on how many images go through it together."""

    def __init__(self) -> None:
        super().__init__()
        scale = torch.randn(3, 288, generator=torch.Generator().manual_seed(4))
        self.scale = nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x.flatten(1).float())
        rows = [torch.stack([(one * scale).sum() for scale in self.scale]) for one in y]
        return torch.stack(rows)


def folded(batch_size: int) -> list[Tensor]:
    network = network_of(PixelByPixel())
    points = (Points(noisy=Noisy(50)), Points(noisy=Noisy(4), path=Path(5)))
    requests = (
        Pass(points[0]),
        Pass(points[0], fold=Fold.MEAN_SQUARE),
        Pass(Points(noisy=Noisy(25)), fold=Fold.VARIANCE),
        Pass(points[1], fold=Fold.PATH),
    )
    asked = setting(batch_size=batch_size)
    (answer,) = run(network, Batch(X, IDS), [Demand(state(), requests)], setting=asked)
    return [answer.results[request].gradient for request in requests]  # type: ignore[union-attr]


def test_equal_seeds_give_equal_maps_at_every_batch_size() -> None:
    usual = folded(1)
    for size in (2, 7, 64, 128):
        assert all(map(torch.equal, folded(size), usual)), size


def test_twin_a_fold_that_sums_a_batch_at_once_gives_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at_once(self: Mean, values: Tensor) -> None:
        self.count += len(values)
        added = values.sum(0)
        self.total = added if self.total is None else self.total + added

    monkeypatch.setattr(Mean, "update", at_once)
    assert not all(torch.equal(a, b) for a, b in zip(folded(128), folded(7), strict=True))


def test_twin_the_naive_variance_fails_where_welford_does_not() -> None:
    values = torch.randn(50, 4, generator=torch.Generator().manual_seed(2)) * 1e-3 + 10
    naive = values.square().mean(0) - values.mean(0).square()
    exact = values.double().var(0, correction=0)
    torch.testing.assert_close(
        welford(values, [7, 20], Fold.VARIANCE).double(), exact, rtol=1e-3, atol=0
    )
    with pytest.raises(AssertionError):
        torch.testing.assert_close(naive.double(), exact, rtol=1e-3, atol=0)


def test_vargrad_s_passes_are_a_prefix_of_smoothgrad_s() -> None:
    demands = [Demand(state(), (Pass(NOISY), Pass(FEWER, fold=Fold.VARIANCE)))]
    (group,) = groups_of(demands)
    assert group.points == NOISY
    assert group.evaluations == 6


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(288, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.detach().flatten(1))


def test_logits_without_a_gradient_are_refused() -> None:
    with pytest.raises(ModelError, match="no gradient"):
        run(network_of(Detached()), Batch(X, IDS), [Demand(state(), (Pass(),))], setting=setting())


def test_a_network_that_hides_its_relus_is_refused() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(288, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x.flatten(1)) * (x.flatten(1).sum(1, keepdim=True) > 0)

    with pytest.raises(MethodError, match="no ReLU"):
        run(
            network_of(Hidden()),
            Batch(X, IDS),
            [Demand(state(), (Pass(rule=Rule.GUIDED),))],
            setting=setting(),
        )


def test_passes_work_under_no_grad_and_inference_mode() -> None:
    network = network_of(chain())
    (usual,) = run(network, Batch(X, IDS), [Demand(state(), (Pass(),))], setting=setting())
    with torch.no_grad():
        (quiet,) = run(network, Batch(X, IDS), [Demand(state(), (Pass(),))], setting=setting())
    torch.testing.assert_close(quiet.results[Pass()].gradient, usual.results[Pass()].gradient)


@pytest.mark.parametrize("shape", [(3, 2, 12, 12), (3, 1, 12, 12), (3, 12, 12), (3, 1, 3, 3)])
def test_foreign_maps_of_any_usual_shape_fit(shape: tuple[int, ...]) -> None:
    found = as_maps(torch.rand(shape).numpy(), X, "mine")
    assert found.gradient.shape[2:] == X.shape[2:]
    assert found.gradient.dtype == X.dtype
    small = shape[-1] < X.shape[-1]
    assert found.enlarged_from == (shape[2:] if small else None)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(2, 2, 12, 12),
        torch.rand(3, 7, 12, 12),
        torch.rand(3, 1, 24, 24),
        torch.rand(3),
        "map",
        None,
    ],
)
def test_foreign_maps_of_other_shapes_are_refused(wrong: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        as_maps(wrong, X, "mine")

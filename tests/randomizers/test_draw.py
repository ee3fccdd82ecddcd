"""Draws: every learned tensor anew, from its own seed, and nothing else touched."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.utils import parametrizations

from salsanity.errors import ModelError, UsageError
from salsanity.models.network import lay_out, prepare
from salsanity.models.swap import swapped
from salsanity.randomizers.draw import (
    INITIALISERS,
    He,
    Matched,
    ModuleInit,
    Permute,
    TruncatedNormal,
    draw_named,
)

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DRAWS = list(INITIALISERS.values())


class Zoo(nn.Module):
    """Every way of owning parameters that torch has, in one small network."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 9, 16))
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.embed = nn.Linear(8, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.weight_normed = parametrizations.weight_norm(nn.Linear(16, 16))
        self.weight_hooked = nn.utils.weight_norm(nn.Linear(16, 16))
        self.spectral = parametrizations.spectral_norm(nn.Linear(16, 16))
        self.spectral_hooked = nn.utils.spectral_norm(nn.Linear(16, 16))
        self.orthogonal = parametrizations.orthogonal(nn.Linear(16, 16))
        self.batch = nn.BatchNorm1d(16)
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.tied = nn.Linear(16, 16)
        self.tied.weight = self.first.weight
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.head, self.auxiliary = nn.Linear(16, 3), nn.Linear(16, 3)

    def forward(self, x):
        x = self.embed(x[:, 0])
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        x = x + self.attention(*[self.norm(x)] * 3)[0]
        x = self.weight_hooked(self.weight_normed(x))
        x = self.orthogonal(self.spectral_hooked(self.spectral(x)))
        x = self.tied(self.second(self.first(x))) + self.lstm(x)[0]
        return self.head(self.batch(x.mean(1))) * self.temperature


def zoo(seed: int = 0):
    """A network that looks trained: no tensor is at its initial constant."""
    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)
        torch.manual_seed(seed)
        model = Zoo()
        for name, p in model.named_parameters():
            if "orthogonal" not in name:
                p.data += 0.1 * torch.randn_like(p)
        for _ in range(20):
            model.train()(IMAGE)
    return model


@pytest.fixture(scope="module")
def network():
    return prepare(zoo(), IMAGE)


def drawn_names(weights) -> set[str]:
    return {f"{layer}.{name}".lstrip(".") for layer, tensors in weights.items() for name in tensors}


@pytest.mark.parametrize("draw", DRAWS, ids=lambda d: d.name)
def test_every_used_parameter_is_drawn_and_changes(network, draw):
    weights = draw(network, 1)
    names = drawn_names(weights)
    for slot in network.slots:
        if slot.kind == "parameter":
            assert (slot.path in names) == ("auxiliary" not in slot.path), slot.path
        if slot.path in names:
            value = weights[slot.layer][slot.name]
            assert value.shape == slot.tensor.shape
            assert value.dtype == slot.tensor.dtype
            moved_in_base = slot.layer == "orthogonal.parametrizations.weight"
            assert moved_in_base or not torch.equal(value, slot.tensor), slot.path
    with swapped(network, weights):
        assert network.logits(IMAGE).isfinite().all()


@pytest.mark.parametrize("draw", DRAWS, ids=lambda d: d.name)
def test_draws_depend_on_the_seed_alone(network, draw):
    before = torch.get_rng_state()
    one, again, other = draw(network, 1), draw(network, 1), draw(network, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, again[layer][n]) for layer, t in one.items() for n, v in t.items())
    assert not torch.equal(one["head"]["weight"], other["head"]["weight"])


@pytest.mark.parametrize("draw", DRAWS, ids=lambda d: d.name)
def test_equal_shaped_layers_get_different_draws(network, draw):
    weights = draw(network, 1)
    assert not torch.equal(weights["first"]["weight"], weights["second"]["weight"])
    with pytest.raises(AssertionError):  # twin: two layers with one name do get the same
        assert not torch.equal(weights["first"]["weight"], draw(network, 1)["first"]["weight"])


def test_drawing_leaves_the_network_alone(network):
    values = {k: v.clone() for k, v in network.module.state_dict().items()}
    logits = network.logits(IMAGE)
    for draw in DRAWS:
        draw(network, 3)
    assert all(torch.equal(v, values[k]) for k, v in network.module.state_dict().items())
    assert torch.equal(network.logits(IMAGE), logits)


def test_drawing_leaves_the_callers_parametrisations_alone():
    model = zoo()
    expected = model.eval()(IMAGE)
    copy = prepare(model, IMAGE)
    for draw in DRAWS:
        draw(copy, 3)
    assert torch.equal(model(IMAGE), expected)
    assert torch.equal(model.weight_normed.weight, copy.module.weight_normed.weight)


def test_module_is_what_the_layers_do_themselves():
    layer = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 3))
    with torch.no_grad():
        layer[2].weight.fill_(3.0)
    network = prepare(layer, IMAGE)
    weights = ModuleInit()(network, 0)
    assert weights["1"]["weight"].abs().max() <= 1 / 8  # torch's uniform bound, 1 / sqrt(fan_in)
    assert weights["1"]["weight"].abs().max() > 0.9 / 8
    assert torch.equal(weights["2"]["weight"], torch.ones(32))
    assert "running_mean" not in weights["2"]


@pytest.mark.parametrize("draw", [ModuleInit(), Matched()], ids=lambda d: d.name)
def test_bare_parameters_keep_mean_and_sd(network, draw):
    bare = nn.Sequential(nn.Flatten(), _Shift(64), nn.Linear(64, 3))
    fresh = draw(prepare(bare, IMAGE), 0)["1"]["shift"]
    assert fresh.mean() == pytest.approx(5, abs=0.15)
    assert fresh.std() == pytest.approx(0.25, rel=0.3)


class _Shift(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.shift = nn.Parameter(5 + 0.25 * torch.randn(size, generator=generator))

    def forward(self, x):
        return x + self.shift


def wide_network():
    layers = [nn.Flatten(), nn.Linear(64, 400), nn.ReLU(), nn.LayerNorm(400), nn.Linear(400, 3)]
    conv = nn.Conv2d(1, 64, 5, padding=2, groups=1)
    return prepare(
        nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 64), *layers),
        IMAGE,
    )


def check_truncated(values: torch.Tensor, sd: float) -> None:
    """All within two sds, and distributed as the truncated normal is."""
    flat = values.flatten().double().numpy() / sd
    assert abs(flat).max() <= 2
    assert stats.kstest(flat, stats.truncnorm(-2, 2).cdf).pvalue > 1e-3


def test_he_has_the_sd_of_the_released_code():
    weights = He()(wide_network(), 0)
    check_truncated(weights["0"]["weight"], (2.6 / 25) ** 0.5)
    check_truncated(weights["5"]["weight"], (2.6 / 64) ** 0.5)
    assert not weights["5"]["bias"].any()
    assert torch.equal(weights["7"]["weight"], torch.ones(400))
    with pytest.raises(AssertionError):  # twin: without the truncation, or with another sd
        check_truncated(weights["5"]["weight"] * 1.1, (2.6 / 64) ** 0.5)


def test_truncated_normal_has_the_papers_constants():
    network = wide_network()
    check_truncated(TruncatedNormal()(network, 0)["5"]["weight"], 0.01)
    cnn = TruncatedNormal(sd=0.1, bias=0.1)(network, 0)
    check_truncated(cnn["5"]["weight"], 0.1)
    assert torch.equal(cnn["5"]["bias"], torch.full((400,), 0.1))


def test_permute_shuffles_the_trained_values():
    network = wide_network()
    fresh, trained = Permute()(network, 0)["5"]["weight"], network.trained["5"]["weight"]
    assert torch.equal(fresh.flatten().sort().values, trained.flatten().sort().values)
    assert (fresh == trained).float().mean() < 0.01


@pytest.mark.parametrize("draw", DRAWS, ids=lambda d: d.name)
def test_spectral_norm_is_one_after_a_draw(network, draw):
    with swapped(network, draw(network, 5)):
        for layer in (network.module.spectral, network.module.spectral_hooked):
            assert torch.linalg.matrix_norm(layer.weight, 2) == pytest.approx(1, abs=0.1)
        q = network.module.orthogonal.weight
        torch.testing.assert_close(q @ q.T, torch.eye(16), atol=1e-5, rtol=0)


def test_weight_norm_stores_the_weight_that_was_drawn():
    network = prepare(
        nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 3))), IMAGE
    )
    weights = He()(network, 0)
    assert drawn_names(weights) == {
        "1.parametrizations.weight.original0", "1.parametrizations.weight.original1", "1.bias",
    }  # fmt: skip
    with swapped(network, weights):
        weight = network.module[1].weight
    check_truncated(weight, (2.6 / 64) ** 0.5)


def test_float64_and_float16_weights_keep_their_type():
    for dtype in (torch.float64, torch.bfloat16):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).to(dtype)
        for draw in DRAWS:
            weights = draw(prepare(model, IMAGE.to(dtype)), 0)
            assert weights["1"]["weight"].dtype == dtype


def test_a_reset_that_fails_is_named():
    class Broken(nn.Linear):
        def reset_parameters(self) -> None:
            if getattr(self, "built", False):
                raise OSError("no such file")

    model = nn.Sequential(nn.Flatten(), Broken(64, 3))
    with torch.no_grad():
        model[1].weight.normal_(), model[1].bias.normal_()
    model[1].built = True
    with pytest.raises(ModelError, match=r"reset_parameters of 1 \(Broken\) failed: OSError"):
        ModuleInit()(prepare(model, IMAGE), 0)


def test_unknown_initialiser():
    assert draw_named("he") == He()
    with pytest.raises(UsageError, match="'xavier'"):
        draw_named("xavier")


def convolutional(format: torch.memory_format) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        normed, plain = parametrizations.weight_norm(nn.Conv2d(4, 6, 3)), nn.Conv2d(6, 5, 3)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), normed, plain, nn.Flatten(), nn.Linear(20, 3))
    if format is torch.channels_last:
        net[4].weight = nn.Parameter(net[4].weight.detach().t().clone().t())
    return net.to(memory_format=format)


def values_of(draw, format: torch.memory_format):
    network = prepare(convolutional(format), IMAGE)
    return {(layer, n): v for layer, t in draw(network, 1).items() for n, v in t.items()}


@pytest.mark.parametrize("draw", DRAWS, ids=lambda d: d.name)
@pytest.mark.parametrize("later", [False, True])
def test_a_draw_is_the_same_however_the_weights_lie_in_memory(draw, later):
    one = values_of(draw, torch.contiguous_format)
    if later:  # as a run does once it knows what is fastest
        network = prepare(convolutional(torch.contiguous_format), IMAGE)
        lay_out(network, "channels_last")
        found = draw(network, 1)
        other = {(layer, n): v for layer, t in found.items() for n, v in t.items()}
    else:
        other = values_of(draw, torch.channels_last)
    assert one.keys() == other.keys()
    assert len(one) == 9
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_twin_filling_in_order_of_memory_is_noticed(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda tensor, **_: tensor)
    one = values_of(He(), torch.contiguous_format)
    other = values_of(He(), torch.channels_last)
    assert not all(torch.equal(value, other[key]) for key, value in one.items())

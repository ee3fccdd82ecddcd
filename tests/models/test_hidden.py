"""Trained values that are no parameters or buffers of the network are refused, with module and line."""

from __future__ import annotations

import functools
import types

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salsanity.errors import ModelError
from salsanity.models import coverage
from salsanity.models.coverage import (
    Covered,
    coverage_of,
    learned_share,
    randomised_share,
    still_trained,
)
from salsanity.models.network import prepare
from salsanity.models.reading import Reader
from salsanity.randomizers.draw import (
    He,
    Matched,
    ModuleInit,
    Permute,
    TruncatedNormal,
    truncated_normal,
)
from salsanity.randomizers.fresh import Keeping, fresh_draw
from salsanity.randomizers.stages import first_stages, stages_of

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(64, 12), nn.Linear(12, 8), nn.Linear(8, 3)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.b(torch.relu(self.a(x.flatten(1)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.features(x))


class InAList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = [nn.Linear(64, 12), nn.Linear(12, 8)], nn.Linear(8, 3)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x)


class Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = {"backbone": Small()}, nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.inner["backbone"].features(x))


class PlainTensor(nn.Module):
    """`make` gives what the second layer multiplies with."""

    def __init__(self, make) -> None:
        super().__init__()
        self.fc, self.head, self.make = nn.Linear(64, 12), nn.Linear(12, 3), make

    def forward(self, x):
        return self.head(torch.relu(torch.relu(self.fc(x.flatten(1))) @ self.make()))


WEIGHTS = torch.randn(12, 12, generator=torch.Generator().manual_seed(3))
HIDDEN = {
    "layers in a list": InAList,
    "a hidden backbone": Hidden,
    "a plain tensor": lambda: PlainTensor(lambda: WEIGHTS),
    "a plain tensor that wants gradients": lambda: PlainTensor(
        lambda: WEIGHTS.clone().detach().requires_grad_()
    ),
    "an array": lambda: PlainTensor(lambda: torch.from_numpy(WEIGHTS.numpy())),
    "a list of numbers": lambda: PlainTensor(lambda: torch.tensor(WEIGHTS.tolist())),
    "a copy of an array": lambda: PlainTensor(lambda: torch.tensor(np.array(WEIGHTS.numpy()))),
}


@pytest.mark.parametrize("name", [n for n in HIDDEN if "gradients" not in n])
def test_hidden_weights_are_refused_with_their_line(name):
    with pytest.raises(
        ModelError, match=r"none of its parameters and buffers: .*line \d+ of test_hi"
    ):
        prepare(HIDDEN[name](), IMAGE)


def test_the_twins_that_register_them_run():
    model = InAList()
    model.layers = nn.ModuleList(model.layers)
    assert prepare(model, IMAGE).weight_layers == 3
    model = Hidden()
    model.inner = nn.ModuleDict(model.inner)
    assert prepare(model, IMAGE).weight_layers == 3
    rotation = torch.eye(12).roll(1, 0)
    (note,) = prepare(PlainTensor(lambda: rotation), IMAGE).notes
    assert note.startswith("Taken for constants, though no buffers of the network: 144 numbers, ")
    assert not prepare(PlainTensor(lambda: torch.tensor(2.0) * torch.eye(12)), IMAGE).notes


def keeping(layer: nn.Module):
    """As found on the web: replaces a forward by a closure over the layer, to keep what it saw."""
    plain = layer.forward

    def forward(x: Tensor) -> Tensor:
        layer.seen = x
        return plain(x)

    return forward


def test_a_closure_over_the_original_is_refused():
    model = Small()
    model.b.forward = keeping(model.b)
    with pytest.raises(
        ModelError, match=r"still runs the original network: .* b\.weight \(8, 12\)"
    ):
        prepare(model, IMAGE)
    assert "seen" not in vars(model.a)


def double(self: nn.Linear, x: Tensor) -> Tensor:
    return 2 * nn.functional.linear(x, self.weight, self.bias)


@pytest.mark.parametrize(
    "bound",
    [lambda layer: types.MethodType(double, layer), lambda layer: functools.partial(double, layer)],
)
def test_a_forward_that_is_a_method_goes_to_the_copy(bound):
    model = Small()
    model.b.forward = bound(model.b)
    network = prepare(model, IMAGE)
    assert network.weight_layers == 3
    torch.testing.assert_close(network.logits(IMAGE), model(IMAGE))
    with torch.no_grad():
        network.module.b.weight.zero_()
        network.module.b.bias.zero_()
    assert float(network.logits(IMAGE).std(0).max()) == 0  # it is the copy's layer that runs
    assert float(model(IMAGE).detach().std(0).max()) > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_packed_and_whole_number_weights_are_refused():
    quantised = torch.ao.quantization.quantize_dynamic(Small().eval(), {nn.Linear}, torch.qint8)
    with pytest.raises(
        ModelError, match=r"quantised layers \(quantized::linear_dynamic in module '0.a'\)"
    ):
        prepare(nn.Sequential(quantised, nn.Linear(3, 3)), IMAGE)
    with pytest.raises(ModelError, match="runs quantised layers, whose weights are packed"):
        prepare(quantised, IMAGE)

    class Eight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.scale = nn.Linear(64, 12), 0.02
            self.register_buffer("weight", (WEIGHTS[:3] * 40).clamp(-127, 127).to(torch.int8))

        def forward(self, x):
            return self.fc(x.flatten(1)) @ (self.weight.float() * self.scale).t()

    with pytest.raises(ModelError, match=r"weight holds weights as whole numbers \(torch.int8\)"):
        prepare(Eight(), IMAGE)


class FromCodebook(nn.Module):
    """A layer whose weights are entries of a table of two, as in binary networks; which stands where was learned."""

    def __init__(self, inputs: int, outputs: int, *, is_embedded: bool = False) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(inputs + outputs)
        self.register_buffer("codebook", torch.tensor([-0.13, 0.21]))
        index = torch.randint(0, 2, (outputs, inputs), generator=drawn)
        self.register_buffer("index", index)
        self.is_embedded = is_embedded

    def forward(self, x: Tensor) -> Tensor:
        if self.is_embedded:
            table = self.codebook[:, None]
            return nn.functional.linear(x, nn.functional.embedding(self.index, table)[..., 0])
        return nn.functional.linear(x, self.codebook[self.index.long()])


def codebooks(*, is_embedded: bool = False) -> nn.Module:
    layers = [FromCodebook(64, 12, is_embedded=is_embedded), nn.ReLU(), FromCodebook(12, 8)]
    return nn.Sequential(nn.Flatten(), *layers, nn.ReLU(), nn.Linear(8, 3))


def drawn_anew(network, draw) -> dict[str, Tensor]:
    drawn = draw(network, 0)
    return {f"{layer}.{name}": v for layer, tensors in drawn.items() for name, v in tensors.items()}


@pytest.mark.parametrize("draw", [ModuleInit(), He(), TruncatedNormal(), Permute(), Matched()])
@pytest.mark.parametrize("is_embedded", [False, True])
def test_which_entry_of_a_codebook_stands_where_is_drawn_anew(draw, is_embedded) -> None:
    network = prepare(codebooks(is_embedded=is_embedded), IMAGE)
    drawn, trained = drawn_anew(network, draw), network.trained["1"]["index"]
    index = drawn["1.index"]
    assert index.dtype == trained.dtype
    assert torch.equal(index.flatten().sort().values, trained.flatten().sort().values)
    alike = float((index == trained).double().mean())
    assert 0.4 < alike < 0.6  # by chance: half of two entries
    assert learned_share(rows_of(network, draw)) == 1.0


def test_twin_a_drawn_codebook_under_the_old_indices_keeps_the_pattern_of_the_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Reader, "_picks", lambda self, source: False)
    network = prepare(codebooks(), IMAGE)
    assert "1.index" not in drawn_anew(network, ModuleInit())


def test_indices_that_every_new_network_has_are_no_weights() -> None:
    """Filters that a group turns, entries along diagonals: indices are the architecture's."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 64))
            turns = [torch.rot90(torch.arange(64).view(8, 8), k).flatten() for k in range(4)]
            self.register_buffer("turns", torch.stack(turns))
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            turned = self.weight[:, self.turns].flatten(0, 1)
            return self.head(torch.relu(nn.functional.linear(x.flatten(1), turned)))

    network = prepare(Turned(), IMAGE)
    rows = rows_of(network, fresh_draw(network, Turned))
    found = {row.tensor: (row.randomised, row.counts) for row in rows if row.layer == ""}
    assert found == {"weight": (True, True), "turns": (False, False)}


def test_positions_that_a_bias_is_looked_up_by_are_no_weights() -> None:
    """As in windows of attention: what they pick is added, not multiplied."""

    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.table = nn.Linear(64, 12), nn.Parameter(torch.randn(30))
            positions = torch.randint(0, 30, (12,), generator=torch.Generator().manual_seed(0))
            self.register_buffer("positions", positions)
            self.head = nn.Linear(12, 3)

        def forward(self, x):
            return self.head(torch.relu(self.fc(x.flatten(1)) + self.table[self.positions]))

    network = prepare(Biased(), IMAGE)
    assert network.trace.kinds["", "positions"] == "whole numbers"


class OfFactors(nn.Module):
    """A layer whose weights are made of learned buffers and a parameter, before anything comes from the input."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        drawn = torch.Generator().manual_seed(3)
        self.register_buffer("base", torch.randn(12, 64, generator=drawn) * 0.2)
        self.register_buffer("bank", torch.randn(3, 12, 64, generator=drawn) * 0.2)
        self.register_buffer("range", torch.rand(12, generator=drawn) * 0.01 + 0.005)
        self.turn = nn.Parameter(torch.eye(12) + 0.1)
        self.mix = nn.Parameter(torch.tensor([0.2, 0.5, 0.3]))
        self.step = nn.Parameter(torch.tensor([0.01]))
        self.weight_ = nn.Parameter(torch.randn(12, 64, generator=drawn) * 0.2)

    def made(self) -> Tensor:
        if self.how == "turned":
            return self.turn @ self.base
        if self.how == "merged":
            return torch.tensordot(self.mix, self.bank, 1)
        if self.how == "rounded":
            zero = torch.zeros(1)
            return torch._fake_quantize_learnable_per_tensor_affine(
                self.base, self.step, zero, -128, 127, 1.0
            )
        if self.how == "ranges":  # of fake quantisation: constants of the rounding, not weights
            zeros = torch.zeros(12, dtype=torch.int32)
            return torch.fake_quantize_per_channel_affine(
                self.weight_, self.range, zeros, 0, -128, 127
            )
        if self.how == "signs":
            return torch.where(self.base > 0, self.step, -self.step)
        return ((self.base > 0).float() * 2 - 1) * self.step

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.made())


def of_factors(how: str) -> nn.Module:
    return nn.Sequential(nn.Flatten(), OfFactors(how), nn.ReLU(), nn.Linear(12, 3))


@pytest.mark.parametrize(
    ("how", "learned"),
    [
        ("turned", "base"),
        ("merged", "bank"),
        ("rounded", "base"),
        ("signs", "base"),
        ("floats", "base"),
        ("ranges", None),
    ],
)
def test_what_weights_are_made_of_is_drawn_anew(how: str, learned: str | None) -> None:
    network = prepare(of_factors(how), IMAGE)
    buffers = {"base", "bank", "range"}
    found = {n for n in buffers if network.trace.kinds["1", n] == "learned"}
    assert found == ({learned} if learned else set())
    if learned:
        assert f"1.{learned}" in drawn_anew(network, ModuleInit())


def test_signs_in_a_buffer_are_permuted_and_masks_in_order_are_not() -> None:
    class Signs(nn.Module):
        def __init__(self, signs: Tensor) -> None:
            super().__init__()
            self.register_buffer("signs", signs)
            self.scale, self.fc = nn.Parameter(torch.tensor(0.1)), nn.Linear(12, 3)

        def forward(self, x):
            weight = (self.signs.float() * 2 - 1) * self.scale
            return self.fc(torch.relu(nn.functional.linear(x.flatten(1), weight)))

    drawn = torch.Generator().manual_seed(0)
    network = prepare(Signs(torch.rand(12, 64, generator=drawn) > 0.5), IMAGE)
    found = drawn_anew(network, ModuleInit())[".signs"]
    assert found.dtype is torch.bool
    assert found.sum() == network.trained[""]["signs"].sum()
    assert not torch.equal(found, network.trained[""]["signs"])
    rows = prepare(Signs((torch.arange(64) % 2 == 0).expand(12, 64).clone()), IMAGE)
    assert rows.trace.kinds["", "signs"] == "whole numbers"


def test_a_weight_that_is_called_a_running_mean_is_a_weight() -> None:
    class Means(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 12)
            self.register_buffer("running_mean", torch.randn(3, 12))

        def forward(self, x):
            return torch.relu(self.fc(x.flatten(1))) @ self.running_mean.t()

    assert prepare(Means(), IMAGE).trace.kinds["", "running_mean"] == "learned"


def near(network, seed: int):
    """Trained weights and a little noise, as of a builder that loads them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {
            layer: {n: v + 0.01 * torch.randn_like(v) for n, v in tensors.items()}
            for layer, tensors in network.trained.items()
        }


def test_draws_that_are_nearly_the_trained_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = prepare(Small(), IMAGE)
    with pytest.raises(ModelError, match=r"go with the trained ones.*a\.weight"):
        rows_of(network, near)
    monkeypatch.setattr(coverage, "LIKE", 2.0)
    assert learned_share(rows_of(network, near)) == 1.0, "the twin takes them for new"


def test_a_pretrained_body_in_buffers_that_is_built_in_is_refused() -> None:
    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            drawn = torch.Generator().manual_seed(0)
            self.register_buffer("body", torch.randn(12, 64, generator=drawn))
            self.head = nn.Linear(12, 3)

        def forward(self, x):
            return self.head(torch.relu(nn.functional.linear(x.flatten(1), self.body)))

    network = prepare(Body(), IMAGE)
    with pytest.raises(ModelError, match=r"Most weights.*\(body\).*--init module"):
        rows_of(network, fresh_draw(network, Body))
    assert learned_share(rows_of(network, ModuleInit())) == 1.0


class Complex(nn.Module):
    """Mixes frequencies with complex weights, as Fourier networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(40, 12, dtype=torch.complex64))
        self.offset = nn.Parameter(torch.randn(12, dtype=torch.complex64))
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        return self.fc((torch.fft.rfft2(x).flatten(1) @ self.mix + self.offset).abs())


def rows_of(network, draw, **settings) -> tuple[Covered, ...]:
    stages = first_stages(stages_of(network.blocks))
    return coverage_of(network, [draw(network, 0), draw(network, 1)], stages, **settings)


@pytest.mark.parametrize("draw", [ModuleInit(), He(), TruncatedNormal(), Permute(), Matched()])
def test_complex_weights_are_drawn(draw):
    network = prepare(Complex(), IMAGE)
    rows = rows_of(network, draw)
    assert {r.tensor: r.randomised for r in rows if r.layer == ""} == {"mix": True, "offset": True}
    assert randomised_share(rows) == learned_share(rows) == 1
    drawn = draw(network, 0)[""]["mix"]
    assert drawn.dtype == torch.complex64
    assert float(drawn.real.std()) == pytest.approx(float(drawn.imag.std()), rel=0.2)
    if draw.name == "permute":
        trained = network.trained[""]["mix"]
        assert torch.equal(drawn.abs().flatten().sort()[0], trained.abs().flatten().sort()[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_complex_numbers_have_the_variance_of_real_ones(dtype):
    like = torch.zeros(20_000, dtype=dtype)
    drawn = truncated_normal(like, 0.5, torch.Generator().manual_seed(0))
    # A normal truncated at two sds keeps .774 of its variance.
    assert float(drawn.abs().square().mean()) == pytest.approx(0.774 * 0.25, rel=0.03)


class Prototypes(nn.Module):
    """Distances to class means that are kept in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Small()
        self.register_buffer("means", torch.randn(3, 8))
        self.register_buffer("pixel_mean", torch.rand(1, 1, 1))

    def forward(self, x):
        return -torch.cdist(self.body.features(x - self.pixel_mean), self.means)


def test_buffers_that_are_used_as_weights_count_and_are_drawn():
    network = prepare(Prototypes(), IMAGE)
    assert [b.name for b in network.blocks] == ["body.a", "body.b", "means"]
    rows = rows_of(network, ModuleInit())
    means = next(row for row in rows if row.tensor == "means")
    assert (means.randomised, means.counts, means.stage) == (True, True, "means")
    assert learned_share(rows) == 1
    assert still_trained(rows) is None
    unused = 8 * 3 + 3
    assert randomised_share(rows) == pytest.approx(1 - unused / (network.parameters))


def test_what_stays_trained_is_said_unless_it_was_asked_for():
    network = prepare(Prototypes(), IMAGE)
    forgetful = Keeping(ModuleInit(), ("body.a",))
    with pytest.raises(ModelError, match="never randomised"):
        rows_of(network, forgetful)
    asked = rows_of(network, forgetful, keep=["body.a"])
    assert learned_share(asked) == 1
    assert still_trained(asked) is None
    lost = [
        *rows_of(network, ModuleInit()),
        Covered("", "line 3", "outside", (50,), None, None, False, "x", True),
    ]
    assert learned_share(lost) == pytest.approx(1 - 50 / (64 * 12 + 12 + 12 * 8 + 8 + 24 + 50))
    assert still_trained(lost) == (
        "only 94.8% of the learned values that the network reads are randomised (at least 95% are needed): line 3 stay as "
        "they are"
    )


def test_a_buffer_that_every_new_network_has_is_a_constant():
    class Tables(Prototypes):
        def __init__(self) -> None:
            super().__init__()
            self.means.copy_(WEIGHTS[:3, :8])

    network = prepare(Tables(), IMAGE)
    draw = fresh_draw(network, Tables)
    (means,) = [row for row in rows_of(network, draw) if row.tensor == "means"]
    assert (means.randomised, means.counts) == (False, False)
    assert means.reason == "equal in every newly built network: a constant of the architecture"
    with pytest.raises(ModelError, match="make_model gives no fresh networks"):  # twin: a parameter

        def fixed() -> Tables:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                return Tables()

        fresh_draw(prepare(fixed(), IMAGE), fixed)


def test_a_network_of_buffers_alone_runs():
    class Buffers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i, shape in enumerate([(64, 12), (12, 8), (8, 3)]):
                self.register_buffer(f"initializer_{i}", torch.randn(shape))

        def forward(self, x):
            x = torch.relu(x.flatten(1) @ self.initializer_0)
            return torch.relu(x @ self.initializer_1) @ self.initializer_2

    network = prepare(Buffers(), IMAGE)
    assert [b.name for b in network.blocks] == [f"initializer_{i}" for i in range(3)]
    assert randomised_share(rows_of(network, ModuleInit())) == 1
    assert network.parameters == 64 * 12 + 12 * 8 + 24


def test_a_converted_layer_without_the_tensors_of_its_class_is_drawn():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    class Converted(nn.Linear):
        def forward(self, x):
            return x @ self.kernel.t() + self.offset

    layer = Converted(64, 3)
    kernel, offset = layer.weight.detach().clone(), layer.bias.detach().clone()
    del layer.weight, layer.bias
    layer.register_buffer("kernel", kernel)
    layer.register_buffer("offset", offset)
    model[1] = layer
    rows = rows_of(prepare(model, IMAGE), ModuleInit())
    assert all(row.randomised for row in rows if row.tensor == "kernel")


class Fusing(Small):
    """Keeps a fused weight from its first call on, whatever happens to the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = None

    def forward(self, x):
        self.fused = 2 * self.b.weight if self.fused is None else self.fused
        x = torch.relu(self.a(x.flatten(1))) @ self.fused.t()
        return self.c(torch.relu(x))


def test_what_an_earlier_call_left_in_the_place_of_weights_is_refused():
    model = Fusing()
    assert prepare(model, IMAGE).weight_layers == 3
    with torch.no_grad():
        model(IMAGE)
    with pytest.raises(
        ModelError, match=r"none of its parameters and buffers: 96 numbers, a tensor"
    ):
        prepare(model, IMAGE)


class Caching(Small):
    """Keeps a weight that it computed where no attribute holds it."""

    @functools.cache  # noqa: B019 - as people write it
    def doubled(self) -> torch.Tensor:
        return 2 * self.b.weight

    def forward(self, x):
        x = torch.relu(self.a(x.flatten(1))) @ self.doubled().t()
        return self.c(torch.relu(x))


class Computing(Caching):
    """The twin that computes it in every call."""

    def doubled(self) -> torch.Tensor:
        return 2 * self.b.weight


def test_what_a_call_keeps_of_weights_out_of_reach_is_refused():
    with pytest.raises(ModelError, match=r"keeps what it computed of b\.weight from one call"):
        prepare(Caching(), IMAGE)
    assert prepare(Computing(), IMAGE).weight_layers == 3


@torch.library.custom_op("salsanity_tests::product", mutates_args=())
def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight.t()


product.register_autograd(
    lambda ctx, g: (g @ ctx.weight, None),
    setup_context=lambda ctx, inputs, output: setattr(ctx, "weight", inputs[1]),
)


class Operating(Small):
    """Its products are an operator of its own, as those of compiled extensions are."""

    def forward(self, x):
        x = torch.relu(product(x.flatten(1), self.a.weight) + self.a.bias)
        return product(torch.relu(product(x, self.b.weight)), self.c.weight)


def test_operators_of_ones_own_count_as_layers():
    network = prepare(Operating(), IMAGE)
    assert network.weight_layers == 3
    assert [block.name for block in network.blocks] == ["a", "b", "c"]


class Composed(nn.Module):
    """A linear layer whose weight is computed of a buffer and parameters, with a bias beside it."""

    def __init__(self, of: nn.Linear, how) -> None:
        super().__init__()
        self.bias, self.how = nn.Parameter(of.bias.detach().clone()), how
        for name, value in how(of.weight.detach()).items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, value)

    def forward(self, x):
        held = {**self._parameters, **self._buffers}
        weight = held["base"].float()
        weight = weight * held["scale"] if "scale" in held else weight
        weight = weight + held["up"] @ held["down"] if "up" in held else weight
        return nn.functional.linear(x, weight, self.bias)


def with_a_change(weight):
    up, down = torch.randn(len(weight), 2) * 0.02, torch.randn(2, weight.shape[1]) * 0.02
    return {"base": weight.clone(), "up": nn.Parameter(up), "down": nn.Parameter(down)}


def of_levels(levels: int, dtype: torch.dtype, kind):
    def split(weight):
        scale = weight.abs().amax(1, keepdim=True) / levels
        return {"base": (weight / scale).round().to(dtype), "scale": kind(scale)}

    return split


def composed(how) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        sizes = ((64, 24), (24, 24), (24, 24))
        layers = [part for size in sizes for part in (Composed(nn.Linear(*size), how), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(24, 3))


@pytest.mark.parametrize(
    "how",
    [
        with_a_change,
        *(of_levels(n, torch.float32, k) for n in (1, 7) for k in (nn.Parameter, torch.clone)),
    ],
)
def test_what_weights_are_made_of_counts_whatever_it_is_combined_with(how):
    """Low-rank changes to a frozen base, levels of quantisation times a scale."""
    rows = rows_of(prepare(composed(how), IMAGE), ModuleInit())
    held = [row for row in rows if row.tensor in ("base", "up", "down", "scale")]
    assert len(held) in (6, 9)
    assert all(row.randomised for row in held), [r for r in held if not r.randomised]
    assert learned_share(rows) == 1


@pytest.mark.parametrize("levels", [1, 7, 127])
@pytest.mark.parametrize("kind", [nn.Parameter, torch.clone])
def test_whole_numbers_times_a_scale_are_quantised_weights(levels, kind):
    with pytest.raises(ModelError, match=r"1\.base holds weights as whole numbers"):
        prepare(composed(of_levels(levels, torch.int8, kind)), IMAGE)

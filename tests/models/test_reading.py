"""What the operations of a pass read, whose it is, and what of it is learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from salsanity.models.learned import is_regular
from salsanity.models.network import prepare
from salsanity.models.reading import Use
from salsanity.models.tracing import Trace, trace

IMAGE = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SEEDED = torch.Generator().manual_seed(1)


def random(*shape: int, **settings: object) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), **settings)


class Holding(nn.Module):
    """A linear classifier with one buffer more, used as `use(features, buffer)` after or before it."""

    def __init__(self, buffer: Tensor, use, *, before: bool = False, persistent: bool = True):
        super().__init__()
        self.fc, self.use, self.before = nn.Linear(192, 16), use, before
        self.register_buffer("held", buffer, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        x = self.use(x.flatten(1), self.held) if self.before else x.flatten(1)
        x = self.fc(x)
        return x if self.before else self.use(x, self.held)


def traced(*arguments, **settings) -> tuple[Trace, Use]:
    found = trace(Holding(*arguments, **settings).eval(), IMAGE)
    return found, found.uses.get(("", "held"), Use({}))


MATRICES = {
    "product": (random(16, 5), lambda x, w: x @ w),
    "transposed": (random(5, 16), lambda x, w: x @ w.t()),
    "linear": (random(5, 16), lambda x, w: functional.linear(x, w)),
    "einsum": (random(16, 5), lambda x, w: torch.einsum("nd,dk->nk", x, w)),
    "distances": (random(5, 16), lambda x, w: -torch.cdist(x, w)),
    "convolution": (random(5, 1, 3), lambda x, w: functional.conv1d(x[:, None], w).mean(2)),
    "made of it": (random(5, 16), lambda x, w: x @ functional.normalize(w, dim=1).t()),
    "half of it": (random(32, 5), lambda x, w: x @ w.chunk(2)[1]),
    "in half precision": (random(16, 5).half(), lambda x, w: x @ w.float()),
    "complex": (random(16, 5, dtype=torch.complex64), lambda x, w: (x.to(w.dtype) @ w).real),
    "looked up by the input": (random(7, 5), lambda x, w: w[x.argmax(1) % 7]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_buffer_that_is_a_matrix_is_learned(name):
    found, use = traced(*MATRICES[name])
    assert use.is_matrix
    assert found.kinds["", "held"] == "learned"
    assert list(found.matrices) == [("fc", "weight"), ("", "held")]
    unused, use = traced(MATRICES[name][0], lambda x, w: x)  # twin: one that is not used
    assert (use.roles, unused.kinds["", "held"]) == ({}, "unused")


@pytest.mark.parametrize(
    "use", [lambda x, w: x + w, lambda x, w: x * w, lambda x, w: w - x, lambda x, w: x / w]
)
def test_a_buffer_that_is_added_or_multiplied_is_learned(use):
    assert traced(random(16), use)[0].kinds["", "held"] == "learned"
    assert traced(random(192), use, before=True)[0].kinds["", "held"] == "constant"  # of the input


def test_a_layer_written_as_a_sum_of_products_is_learned():
    def layer(x: Tensor, w: Tensor) -> Tensor:
        return torch.cat([(x[:, None] * w).sum(2), x[:, 5:]], 1)

    assert traced(random(5, 192), layer, before=True)[0].kinds["", "held"] == "learned"
    one = traced(random(1, 192), torch.mul, before=True)[0]  # twin: normalisation by pixel
    assert one.kinds["", "held"] == "constant"


CONSTANTS = {
    "mask": (random(16, 5).sign().clamp(min=0), lambda x, w: x @ w),
    "causal mask": (torch.full((16,), 0.0).index_fill(0, torch.arange(5), -1e9), lambda x, w: x + w),
    "binomial filter": (
        torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1]))[None, None] / 16,
        lambda x, w: functional.conv2d(x.view(-1, 1, 4, 4), w).flatten(1),
    ),
    "sobel filters": (
        torch.tensor([[[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]], [[[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]]]),
        lambda x, w: functional.conv2d(x.view(-1, 1, 4, 4), w).flatten(1),
    ),
    "cosines": (
        torch.cos(torch.outer(torch.arange(16), torch.arange(16)) * math.tau / 16),
        lambda x, w: x @ w,
    ),
    "bank of filters": (torch.eye(16) + 0.5 * torch.eye(16).roll(1, 0), lambda x, w: x @ w),
    "evenly spaced": (torch.linspace(-1, 1, 16), lambda x, w: x * w),
    "one number": (torch.tensor(3.7), lambda x, w: x * w),
    "clamped at": (random(16), torch.maximum),
    "compared with": (random(16), lambda x, w: x * (w > 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTANTS)
def test_regular_values_are_no_learned_ones(name):
    assert traced(*CONSTANTS[name])[0].kinds["", "held"] == "constant"


def test_a_table_that_is_not_saved_is_a_constant():
    table = random(1, 16)
    plain, passing = (traced(table, torch.mul, persistent=saved)[0] for saved in (True, False))
    assert (plain.kinds["", "held"], passing.kinds["", "held"]) == ("learned", "constant")
    matrix = traced(*MATRICES["product"], persistent=False)[0]
    assert matrix.kinds["", "held"] == "learned"  # as random features are


def sines(rows: int, columns: int) -> Tensor:
    angles = torch.arange(rows)[:, None] / 10_000 ** (torch.arange(0, columns, 2) / columns)
    return torch.cat([angles.sin(), angles.cos()], 1)


@pytest.mark.parametrize(
    "table",
    [
        sines(197, 64),
        sines(16, 8),
        sines(50, 32).t(),
        sines(64, 32)[None],
        torch.cat([sines(14, 16).repeat(14, 1), sines(14, 16).repeat_interleave(14, 0)], 1),
        sines(100, 8).half(),
    ],
)
def test_tables_of_sines_are_regular(table):
    assert is_regular(table)
    assert not is_regular(table + 0.1 * random(*table.shape))  # twin: learned on


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5,), (3, 3), (64, 64), (400, 400)])
def test_random_values_are_not_regular(dtype, shape):
    assert not is_regular(random(*shape).to(dtype))
    assert is_regular(torch.ones(shape, dtype=dtype))


@pytest.mark.parametrize("shape", [(64, 64), (300, 300)])
def test_quantised_values_are_not_regular(shape):
    assert not is_regular((random(*shape) * 40).clamp(-127, 127).to(torch.int8))
    assert is_regular(torch.arange(64 * 64))
    assert is_regular((random(*shape) > 0).to(torch.int8))


def levels(count: int, *shape: int) -> Tensor:
    return (random(*shape) * count / 2).round().clamp(-count, count)


@pytest.mark.parametrize("table", [levels(1, 40, 30), levels(7, 40, 30), levels(1, 32, 4, 3, 3)])
def test_weights_of_a_few_levels_are_not_regular(table):
    for held in (table, table * 0.37, table.to(torch.int8)):
        assert not is_regular(held)
    assert is_regular(table[:1].expand(table.shape).contiguous())  # a filter for every channel
    assert is_regular((table > 0).float())  # a mask


def test_what_pruning_leaves_is_not_regular_but_bands_are():
    pruned = random(60, 80) * (torch.rand(60, 80, generator=SEEDED) < 0.06)
    bands = torch.stack([torch.eye(80)[i] + 0.3 * torch.eye(80)[i + 1] for i in range(60)])
    assert not is_regular(pruned)
    assert is_regular(bands)
    assert is_regular(bands * torch.linspace(0.5, 2, 80))


def test_masks_of_pruning_stay():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 5))
    prune.random_unstructured(model[1], "weight", 0.5)
    prune.random_unstructured(model[3], "weight", 0.2)
    model[3].weight_mask.copy_(random(5, 8))  # even where a mask has irregular values
    found = trace(model.eval(), IMAGE)
    assert found.kinds["1", "weight_mask"] == found.kinds["3", "weight_mask"] == "constant"
    assert set(found.matrices) == {("1", "weight_orig"), ("3", "weight_orig")}


def test_statistics_under_any_name():
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("m", random(3))
            self.register_buffer("v", random(3).abs())
            self.register_buffer("scale", random(3))
            self.fc = nn.Linear(192, 5)

        def forward(self, x):
            return self.fc(functional.batch_norm(x, self.m, self.v, self.scale).flatten(1))

    kinds = trace(Norm().eval(), IMAGE).kinds
    assert (kinds["", "m"], kinds["", "v"]) == ("statistics", "statistics")


class Leaves(nn.Module):
    """Leaves torch on the way, so that the input cannot be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(192, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = torch.from_numpy(np.clip(x.detach().numpy(), 0, 1)).flatten(1)
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


def test_a_pass_that_leaves_torch_is_read_more_cautiously():
    network = prepare(Leaves(), IMAGE)
    assert [block.name for block in network.blocks] == ["a", "b", "c"]
    assert network.weight_layers == 3


def test_tied_and_shared_memory():
    class Flat(nn.Module):
        """Two parameters in one piece of memory, as recurrent layers and sharded training keep them."""

        def __init__(self) -> None:
            super().__init__()
            self.memory = random(192 * 8 + 40)
            self.a = nn.Parameter(self.memory[: 192 * 8].view(192, 8))
            self.b = nn.Parameter(self.memory[192 * 8 :].view(8, 5))
            del self.memory

        def forward(self, x):
            return torch.relu(x.flatten(1) @ self.a) @ self.b

    model = Flat()
    assert model.a.untyped_storage().data_ptr() == model.b.untyped_storage().data_ptr()
    found = trace(model, IMAGE)
    assert list(found.matrices) == [("", "a"), ("", "b")]
    assert found.matrices["", "a"] < found.matrices["", "b"]


def test_the_last_operation_and_writing_into_the_input():
    class Ends(nn.Module):
        def __init__(self, end) -> None:
            super().__init__()
            self.fc, self.end = nn.Linear(192, 5), end

        def forward(self, x):
            return self.end(self.fc(x.flatten(1)))

    assert trace(Ends(torch.sigmoid), IMAGE).last_operation == "sigmoid"
    assert trace(Ends(lambda z: z.softmax(1).view(-1, 5)), IMAGE).last_operation == "_softmax"
    inside = nn.Sequential(nn.ReLU(inplace=True), Ends(torch.tanh))
    assert trace(inside, IMAGE).overwrites_input
    assert not trace(inside[1], IMAGE).overwrites_input

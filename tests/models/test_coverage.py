"""Every parameter and buffer is accounted for, and what is never randomised is an error."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from salsanity.errors import ModelError
from salsanity.models.coverage import coverage_of, randomised_share
from salsanity.models.network import prepare
from salsanity.randomizers.draw import He, ModuleInit
from salsanity.randomizers.fresh import Keeping
from salsanity.randomizers.stages import first_stages, stages_of

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head, self.aux = nn.Linear(8, 3), nn.Linear(8, 3)
        self.training_only = nn.Parameter(torch.randn(3))
        self.register_buffer("mean", torch.tensor(0.5))

    def forward(self, x):
        x = self.body(x - self.mean)
        return (self.head(x) + self.training_only, self.aux(x)) if self.training else self.head(x)


def trained() -> Head:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Head()
        for p in model.parameters():
            p.data.normal_()
    return model


def rows_of(network, draw, **settings):
    stages = first_stages(stages_of(network.blocks))
    return coverage_of(network, [draw(network, 0), draw(network, 1)], stages, **settings)


def reasons(rows) -> dict[str, str | None]:
    return {f"{row.layer}.{row.tensor}".lstrip("."): row.reason for row in rows}


def test_every_tensor_has_a_stage_or_a_reason():
    network = prepare(trained(), IMAGE)
    rows = rows_of(network, ModuleInit())
    unused, stats = "never used in the forward pass", "running statistics are kept (batchnorm=keep)"
    assert reasons(rows) == {
        "training_only": unused,
        "mean": "a constant of the architecture, not learned",
        "body.1.weight": None,
        "body.1.bias": None,
        "body.2.weight": None,
        "body.2.bias": None,
        "body.2.running_mean": stats,
        "body.2.running_var": stats,
        "body.2.num_batches_tracked": "whole numbers: a counter or index, not learned",
        "head.weight": None,
        "head.bias": None,
        "aux.weight": unused,
        "aux.bias": unused,
    }
    assert all((row.stage is None) == (row.reason is not None) for row in rows)
    assert {row.stage for row in rows} == {None, "body", "head"}
    names = {
        name for name, _ in (*network.module.named_parameters(), *network.module.named_buffers())
    }
    assert set(reasons(rows)) == names
    assert randomised_share(rows) == pytest.approx((64 * 8 + 8 + 16 + 27) / network.parameters)
    assert json.loads(json.dumps([row.to_json() for row in rows]))[2]["shape"] == [8, 64]


@pytest.mark.parametrize("policy", ["reset", "recalibrate"])
def test_running_statistics_may_be_randomised(policy):
    found = reasons(rows_of(prepare(trained(), IMAGE), He(), batchnorm=policy))
    assert found["body.2.running_mean"] is None


def test_what_is_kept_says_so():
    network = prepare(trained(), IMAGE)
    keep = ("body.1", "*.bias")
    found = reasons(rows_of(network, Keeping(ModuleInit(), keep), keep=keep))
    assert found["body.1.weight"] == "kept as asked (keep body.1)"
    assert found["head.bias"] == "kept as asked (keep *.bias)"
    assert found["head.weight"] is None
    with pytest.raises(ModelError, match="keep='nothing' to fit"):
        rows_of(network, ModuleInit(), keep=["nothing"])


def test_a_parameter_that_never_changes_is_an_error():
    network = prepare(trained(), IMAGE)
    forgetful = Keeping(ModuleInit(), ("head.weight",))  # leaves it out without saying so
    with pytest.raises(ModelError, match=r"used but never randomised: head\.weight"):
        rows_of(network, forgetful)

    def lazy(network, seed):
        return {"head": {"weight": network.trained["head"]["weight"]}} | {
            layer: t for layer, t in ModuleInit()(network, seed).items() if layer != "head"
        }

    with pytest.raises(ModelError, match=r"head\.weight, head\.bias"):
        rows_of(network, lazy)


def test_initial_constants_are_listed_not_refused():
    model = trained()
    nn.init.ones_(model.body[2].weight)
    found = reasons(rows_of(prepare(model, IMAGE), ModuleInit()))
    assert found["body.2.weight"] == "at its initial value: nothing was learned in it"


class Frozen(nn.Module):
    """A norm whose affine part is in buffers, as detection libraries freeze it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.rand(4) + 0.5)
        self.register_buffer("bias", torch.rand(4))

    def forward(self, x):
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class FrozenNorm(Frozen):
    pass


def test_frozen_norms_are_randomised_too():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), FrozenNorm(), nn.Flatten(), nn.Linear(144, 3))
    network = prepare(model, IMAGE)
    assert [b.layers for b in network.blocks] == [("0", "1"), ("3",)]
    assert reasons(rows_of(network, ModuleInit()))["1.weight"] is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_fake_quantisation_makes_no_stage_of_its_own():
    model = nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU()), nn.Linear(8, 8), nn.Linear(8, 3)
    )
    quantisation = torch.ao.quantization
    model.qconfig = quantisation.get_default_qat_qconfig("x86")
    prepared = quantisation.prepare_qat(quantisation.add_quant_dequant(model.train()))
    prepared(IMAGE)
    network = prepare(prepared.eval(), IMAGE)
    rows = rows_of(network, ModuleInit())
    assert [len(block.layers) for block in network.blocks] == [1, 1, 1]
    assert len(prepare(prepared, IMAGE, blocks="layer").blocks) == 3
    assert randomised_share(rows) == 1
    scales = [row for row in rows if row.tensor == "scale"]
    assert scales
    assert {row.reason for row in scales} == {"a constant of the architecture, not learned"}

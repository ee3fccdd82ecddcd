"""Weights go in, and everything comes out as it was, whatever happened."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.test_network import EXAMPLE, small_cnn, state
from salsanity.errors import ModelError
from salsanity.models.network import prepare
from salsanity.models.swap import Shelf, swapped


def zeros(network):
    return {
        layer: {name: torch.zeros_like(values) for name, values in tensors.items()}
        for layer, tensors in network.trained.items()
    }


def test_weights_are_in_and_out_again():
    network = prepare(small_cnn(), EXAMPLE)
    before, logits = state(network.module), network.logits(EXAMPLE)
    with swapped(network, {"7": {"weight": torch.zeros(3, 8)}}):
        inside = network.logits(EXAMPLE)
    torch.testing.assert_close(inside, network.module[7].bias.expand(2, 3))
    assert state(network.module) == before
    assert torch.equal(network.logits(EXAMPLE), logits)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("exact", [True, False])
def test_everything_is_restored_after_an_error(error, exact):
    network = prepare(small_cnn(), EXAMPLE)
    before = state(network.module)
    with pytest.raises(error), swapped(network, zeros(network), exact=exact):
        raise error
    assert state(network.module) == before


def vandalise(module: nn.Module) -> None:
    """All that a foreign explainer may do to a network."""
    module.train()
    module[0].register_forward_hook(lambda *_: None)
    module[2] = nn.Tanh()
    module.extra = nn.Linear(2, 2)
    module[7].weight = nn.Parameter(torch.ones(3, 8))
    module[5].weight.data.add_(1.0)
    module[5].weight.requires_grad_()
    module[5].bias.grad = torch.ones(8)
    with torch.no_grad():
        module[0].weight.mul_(2)
    module[1].running_mean.data.fill_(9.0)
    module[1].running_var = torch.ones(4)
    del module[1].bias
    nn.utils.parametrizations.weight_norm(module[7])


@pytest.mark.parametrize("put", [lambda n: {}, zeros])
def test_vandalism_is_undone(put):
    network = prepare(small_cnn(), EXAMPLE)
    before, keys = state(network.module), list(network.module.state_dict())
    values = {k: v.clone() for k, v in network.module.state_dict().items()}
    with swapped(network, put(network)):
        vandalise(network.module)
    after = state(network.module)
    for key in before:  # in-place changes leave only their version behind
        if isinstance(before[key], tuple) and len(before[key]) == 4:
            assert (*before[key][:2], before[key][3]) == (*after[key][:2], after[key][3])
        else:
            assert before[key] == after[key], key
    assert list(network.module.state_dict()) == keys
    assert all(torch.equal(v, values[k]) for k, v in network.module.state_dict().items())


def test_twin_without_exactness_data_writes_are_missed():
    network = prepare(small_cnn(), EXAMPLE)
    with swapped(network, {}, exact=False):
        network.module[5].weight.data.add_(1.0)
    with pytest.raises(AssertionError):
        assert torch.equal(network.module[5].weight, network.trained["5"]["weight"])
    with swapped(network, {}):
        pass
    assert torch.equal(network.module[5].weight, network.trained["5"]["weight"])


def test_the_draw_is_not_changed_by_the_body():
    network = prepare(small_cnn(), EXAMPLE)
    draw = zeros(network)
    with swapped(network, draw), torch.no_grad():
        for p in network.module.parameters():
            p.add_(1.0)
    assert all(not v.any() for t in draw.values() for v in t.values())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64, bias=False)
        self.b.weight = self.a.weight
        self.shared = nn.ReLU()
        self.fc = nn.Linear(64, 3)
        self.again = self.fc

    def forward(self, x):
        return self.again(self.shared(self.b(self.shared(self.a(x.flatten(1))))))


def test_tied_weights_and_shared_modules():
    network = prepare(Tied(), EXAMPLE)
    assert [(s.path, s.aliases) for s in network.slots if s.aliases] == [
        ("a.weight", (("b", "weight"),)),
    ]
    before, logits = state(network.module), network.logits(EXAMPLE)
    for key in ("a", "b"):
        with swapped(network, {key: {"weight": torch.zeros(64, 64)}}):
            assert not network.module.a.weight.any()
            assert network.module.b.weight is network.module.a.weight
    with swapped(network, {"again": {"bias": torch.full((3,), 7.0)}}):
        assert network.module.fc.bias[0] == 7
    assert state(network.module) == before
    assert torch.equal(network.logits(EXAMPLE), logits)


def test_swaps_nest():
    network = prepare(small_cnn(), EXAMPLE)
    before = state(network.module)
    with swapped(network, zeros(network)):
        with swapped(network, {"7": {"bias": torch.ones(3)}}):
            assert network.module[7].bias[0] == 1
        assert not any(p.any() for p in network.module.parameters())
    assert state(network.module) == before


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weight_norm_by_hook():
    model = nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(64, 3)))
    network = prepare(model, EXAMPLE)
    logits = network.logits(EXAMPLE)
    with swapped(network, {"1": {"weight_g": torch.zeros(3, 1)}}):
        torch.testing.assert_close(network.logits(EXAMPLE), network.module[1].bias.expand(2, 3))
    assert torch.equal(network.logits(EXAMPLE), logits)


def test_wrong_weights_change_nothing():
    network = prepare(small_cnn(), EXAMPLE)
    before = state(network.module)
    good = {"0": {"weight": torch.zeros(4, 1, 3, 3)}}
    for bad in ({"nowhere": {"weight": torch.zeros(1)}}, {"7": {"weight": torch.zeros(2)}}):
        with pytest.raises(ModelError, match="Cannot put weights in"), swapped(network, good | bad):
            pass
    assert state(network.module) == before


def test_a_graph_kept_from_before_still_gives_trained_gradients():
    """Replay keeps the trained part's forward graph across swaps of other blocks."""
    network = prepare(small_cnn(), EXAMPLE)
    x = EXAMPLE.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network.logits(x).sum(), x)
    kept = network.logits(x).sum()
    with swapped(network, zeros(network)):
        pass
    (later,) = torch.autograd.grad(kept, x)
    assert torch.equal(later, expected)


def fold_norm(module: nn.Module) -> None:
    """What canonisers of relevance propagation do before they explain."""
    module[0] = nn.utils.fusion.fuse_conv_bn_eval(module[0], module[1])
    module[1] = nn.Identity()


@pytest.mark.parametrize(
    "change",
    [
        nn.Module.half,
        nn.Module.double,
        lambda m: m.to("meta"),
        lambda m: m.to(memory_format=torch.channels_last),
        lambda m: m.apply(lambda p: getattr(p, "reset_parameters", int)()),
        lambda m: m.requires_grad_(True)(EXAMPLE).sum().backward(),
        lambda m: m.load_state_dict(small_cnn().state_dict()),
        fold_norm,
    ],
)
def test_what_whole_module_calls_do_is_undone(change):
    network = prepare(small_cnn(), EXAMPLE)
    logits, types = network.logits(EXAMPLE), [type(m) for m in network.module]
    for weights in ({}, zeros(network)):
        with swapped(network, weights):
            change(network.module)
        assert torch.equal(network.logits(EXAMPLE), logits)
        assert [type(m) for m in network.module] == types
        assert not any(p.requires_grad or p.grad is not None for p in network.module.parameters())


def test_a_shelf_gives_the_same_copy_until_the_network_changes_it() -> None:
    network = prepare(small_cnn(), EXAMPLE)
    layer, tensors = next((name, t) for name, t in network.trained.items() if "weight" in t)
    owner = network.module.get_submodule(layer)
    weights = {layer: {"weight": torch.ones_like(tensors["weight"])}}
    shelf, seen = Shelf(), []
    for body in (lambda w: None, lambda w: w.mul_(2), lambda w: None):
        with swapped(network, weights, exact=False, shelf=shelf), torch.no_grad():
            assert torch.equal(owner.weight, torch.ones_like(owner.weight))
            seen.append(owner.weight.data_ptr())
            body(owner.weight)
    assert seen[0] == seen[1]
    assert torch.equal(owner.weight, tensors["weight"])
    assert torch.equal(weights[layer]["weight"], torch.ones_like(owner.weight))


def test_twin_a_shelf_that_never_forgets_hands_out_what_the_network_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Shelf, "drop", lambda *_: None)
    with pytest.raises(AssertionError):
        test_a_shelf_gives_the_same_copy_until_the_network_changes_it()


class Caching(nn.Module):
    """Keeps what it computes of its weights in eval mode: biases of attention, fused kernels."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.b, self.how = nn.Linear(64, 8), nn.Linear(8, 3), how
        self.table, self.kept, self.last = {}, [], None

    def doubled(self):
        if self.how == "mapping":
            if "weight" not in self.table:
                self.table["weight"] = 2 * self.b.weight
            return self.table["weight"]
        if self.how == "list":
            self.kept = self.kept or []
            if not self.kept:
                self.kept.append(2 * self.b.weight)
            return self.kept[0]
        if self.how == "new attribute":
            if not hasattr(self, "fused"):
                self.fused = 2 * self.b.weight
            return self.fused
        self.last = 2 * self.b.weight if self.last is None else self.last
        return self.last

    def train(self, mode=True):
        if mode:
            self.table, self.kept, self.last = {}, [], None
            vars(self).pop("fused", None)
        return super().train(mode)

    def forward(self, x):
        return torch.relu(self.a(x.flatten(1))) @ self.doubled().t() + self.b.bias


@pytest.mark.parametrize("how", ["mapping", "list", "new attribute", "attribute"])
@pytest.mark.parametrize("used", [False, True])
def test_what_a_network_keeps_of_its_weights_is_emptied(how, used):
    model, example = Caching(how).eval(), torch.rand(2, 1, 8, 8)
    if used:
        with torch.no_grad():
            model(example)
    network = prepare(model, example)
    assert network.trace.uses_tensor("b", "weight")
    trained = network.logits(example)  # outside of any swap: it keeps the trained weights again
    zero = {"b": {"weight": torch.zeros(3, 8), "bias": torch.zeros(3)}}
    for _ in range(2):
        with swapped(network, zero, exact=False):
            assert not network.logits(example).any()
            assert not network.logits(example).any()
        with swapped(network, {}):
            torch.testing.assert_close(network.logits(example), trained)
    kept = [*vars(model)["table"], *vars(model)["kept"], model.last, vars(model).get("fused")]
    assert any(value is not None for value in kept) == used  # the user's keeps what it had


def test_values_called_sound_are_compared_where_they_lie_elsewhere() -> None:
    network = prepare(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), torch.rand(1, 1, 2, 2))
    weight = dict(network.module.named_parameters())["1.weight"]
    trained = weight.detach().clone()
    with swapped(network, {}) as sound:
        home = weight.data
        weight.data = trained.clone()
        home.mul_(2)  # which the version of the parameter does not tell
        sound.add(("1", "weight"))
    assert torch.equal(weight, trained)

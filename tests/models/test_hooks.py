"""Hooks that came along: torch's own stay, others are named and left off the copy; the model keeps all of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_full_backward_hook
from torch.nn.utils import prune

from salsanity.errors import ModelError
from salsanity.models.hooks import hooks_of
from salsanity.models.network import prepare
from salsanity.passes.derivative import differentiate
from salsanity.passes.request import Rule

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)]
        return nn.Sequential(nn.Flatten(), *layers).eval()


def gradient(model: nn.Module, **settings) -> Tensor:
    copy = prepare(model, IMAGE, **settings)
    targets = torch.tensor([0, 1])
    return differentiate(copy, IMAGE[None], targets, rule=Rule.PLAIN, taps=(None,)).at[None][1]


def guided(module, inputs, outputs):
    return (inputs[0].clamp(min=0),)


def guided_too(module, inputs, output):
    output.register_hook(lambda gradient: gradient.clamp(min=0))


def before_backward(module, outputs):
    return (outputs[0] * 2,)


LEFT_BEHIND = {
    "backward": lambda m: m[2].register_full_backward_hook(guided),
    "forward": lambda m: m[2].register_forward_hook(guided_too),
    "forward pre": lambda m: m[3].register_forward_pre_hook(
        lambda module, inputs: inputs[0].register_hook(lambda g: g.clamp(min=0)) and None
    ),
    "backward pre": lambda m: m[4].register_full_backward_pre_hook(before_backward),
}


@pytest.mark.parametrize("kind", LEFT_BEHIND)
def test_hooks_that_change_gradients_are_left_off_and_named(kind):
    plain, model = gradient(network()), network()
    LEFT_BEHIND[kind](model)
    before = [hook.number for hook in hooks_of(model)]
    assert torch.equal(gradient(model), plain)
    (note,) = prepare(model, IMAGE).notes
    assert note.startswith("Left off the copy, since they may change gradients: 1 hook: ")
    assert f"({kind} hook of " in note
    assert [hook.number for hook in hooks_of(model)] == before
    assert not torch.equal(gradient(model, hooks="keep"), plain)  # twin: kept, they do
    (note,) = prepare(model, IMAGE, hooks="keep").notes
    assert note.startswith("Kept on the copy, as asked: 1 hook: ")


def test_many_hooks_are_counted():
    model = network()
    for layer in model:
        layer.register_forward_hook(lambda *_: None)
        layer.register_forward_hook(lambda *_, **__: None, with_kwargs=True, always_call=True)
    (note,) = prepare(model, IMAGE).notes
    assert "12 hooks: <lambda> (forward hook of 0)" in note
    assert "and 9 more" in note


class EqualisedRate:
    """Computes a layer's weight from another before each call, as generators of images have it."""

    def __call__(self, module: nn.Linear, inputs: tuple[Tensor, ...]) -> None:
        module.weight = module.weight_orig * 2

    @classmethod
    def put_on(cls, layer: nn.Linear) -> None:
        values = layer.weight.detach().clone()
        del layer._parameters["weight"]
        layer.register_parameter("weight_orig", nn.Parameter(values))
        layer.weight = values * 2
        layer.register_forward_pre_hook(cls())


def test_hooks_that_the_network_computes_with_stay():
    model = network()
    EqualisedRate.put_on(model[3])
    model[1].register_forward_hook(lambda module, inputs, output: output + 1)
    model[5].register_full_backward_hook(guided)
    copy = prepare(model, IMAGE)
    torch.testing.assert_close(copy.logits(IMAGE), model(IMAGE))
    kept, left = copy.notes
    assert kept.startswith("Kept, since without them the network computes something else: 2 hooks")
    assert left.startswith("Left off the copy: 1 hook: guided (backward hook of 5)")
    assert ("3", "weight_orig") in copy.trace.matrices
    unhooked = network()
    EqualisedRate.put_on(unhooked[3])
    (note,) = prepare(unhooked, IMAGE).notes  # its logits are the same without the hook
    assert note.startswith("Kept, since without")


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_torchs_own_hooks_stay_without_a_word():
    model = network()
    nn.utils.weight_norm(model[1])
    nn.utils.spectral_norm(model[3])
    prune.l1_unstructured(model[5], "weight", 0.5)
    copy = prepare(model, IMAGE)
    assert copy.notes == ()
    assert [len(copy.module[i]._forward_pre_hooks) for i in (1, 3, 5)] == [1, 1, 1]
    torch.testing.assert_close(copy.logits(IMAGE), model(IMAGE))


def test_hooks_on_all_modules_of_the_process_are_refused():
    handle = register_module_full_backward_hook(guided)
    try:
        with pytest.raises(ModelError, match=r"set on all modules of this process \(guided\)"):
            prepare(network(), IMAGE)
    finally:
        handle.remove()
    prepare(network(), IMAGE)


class Relevance(nn.Module):
    """Hooks its own activations, as transformers that propagate relevance do."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 8), nn.Linear(8, 3)

    def keep(self, gradient: Tensor) -> None:
        self.gradient = gradient

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x.flatten(1)))
        x.register_hook(self.keep)
        return self.b(x)


def test_a_network_that_hooks_its_own_activations_runs_without_gradients_too():
    copy = prepare(Relevance(), IMAGE)
    with torch.no_grad():
        found = copy.logits(IMAGE)
    assert not found.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(copy.logits(IMAGE.clone()), found)
    with pytest.raises(RuntimeError, match="register a hook"), torch.no_grad():  # twin
        copy.module(IMAGE)

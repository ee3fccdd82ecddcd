"""Networks as people have them: with methods that return nothing, odd attributes, wrappers, compiled and exported parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from salsanity.errors import MethodError, ModelError
from salsanity.models.network import copied, prepare, unwrapped
from salsanity.models.slots import tensors_in
from salsanity.passes.derivative import differentiate
from salsanity.passes.request import Rule
from salsanity.randomizers.fresh import Fresh

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(64, 12), nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x.flatten(1))))))


class ReturnsNothing(Small):
    """`return self` forgotten, in every method that should have it."""

    def train(self, mode: bool = True) -> None:
        super().train(mode)

    def eval(self) -> None:
        super().eval()

    def to(self, *args: Any, **settings: Any) -> None:
        super().to(*args, **settings)

    def requires_grad_(self, requires_grad: bool = True) -> None:
        super().requires_grad_(requires_grad)


def test_methods_that_return_nothing():
    model = ReturnsNothing()
    network = prepare(model, IMAGE, device="cpu")
    assert network.weight_layers == 3
    assert not any(part.training for part in network.module.modules())
    assert not any(p.requires_grad for p in network.module.parameters())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    draw = Fresh(ReturnsNothing)
    assert set(draw(network, 0)) == {"a", "b", "c"}


def test_a_network_without_values():
    with torch.device("meta"):
        model = Small()
    with pytest.raises(
        ModelError, match=r"no values yet \(a.weight and 5 more on the meta device\)"
    ):
        prepare(model, IMAGE)


@dataclass
class Config:
    width: int = 3
    later: int = field(init=False)


@dataclass
class Node:
    tensor: Tensor
    parent: Any = None
    children: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    tensor: Tensor
    later: int = field(init=False)


def test_odd_attributes():
    model = Small()
    model.config = Config()
    root = Node(torch.zeros(1))
    root.children += [Node(torch.ones(1), root), root]
    model.tree, model.slotted = root, Slotted(torch.ones(2))
    model.me = [model.b]
    assert prepare(model, IMAGE).weight_layers == 3
    assert [len(t) for t in tensors_in([root, model.slotted])] == [1, 1, 2]
    with pytest.raises(RecursionError):  # twin: a walk that follows cycles does not end

        def follow(node: Node) -> int:
            return sum(follow(child) for child in node.children)

        follow(root)


class Settings(Small):
    """Attributes out of a dictionary: KeyError, where AttributeError is due."""

    def __init__(self) -> None:
        self.__dict__["settings"] = {"width": 16}
        super().__init__()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return self.__dict__["settings"][name]


def test_attributes_that_raise_something_else():
    with pytest.raises(
        ModelError, match=r"cannot be copied \(KeyError: .*raise AttributeError for"
    ):
        prepare(Settings(), IMAGE)


class Inverting(nn.Module):
    """Preprocesses, and answers for the attributes of what it wraps."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.net, name)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(1 - x)


@pytest.mark.parametrize(
    "inside", [lambda net: net, lambda net: torch.compile(net, backend="eager")]
)
def test_a_wrapper_that_forwards_attributes_stays_on(inside):
    plain = Small()
    network = prepare(Inverting(inside(plain)), IMAGE)
    torch.testing.assert_close(network.logits(IMAGE), plain(1 - IMAGE))
    assert [b.name for b in network.blocks] == ["net.a", "net.b", "net.c"]


def test_torchs_wrappers_are_taken_off():
    plain = Small()
    assert unwrapped(torch.compile(plain, backend="eager")) is plain
    assert unwrapped(nn.DataParallel(plain)) is plain
    assert unwrapped(nn.DataParallel(torch.compile(plain, backend="eager"))) is plain
    assert unwrapped(Inverting(plain)) is not plain


class Partly(Small):
    """One part compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.b = torch.compile(self.b, backend="eager")
        self.c.compile(backend="eager")


def explained(network, rule: Rule = Rule.PLAIN) -> Tensor:
    targets = torch.tensor([0, 1])
    return differentiate(network, IMAGE[None], targets, rule=rule, taps=(None,)).at[None][1]


def guided(network) -> Tensor:
    return explained(network, Rule.GUIDED)


def test_compiled_parts_run_as_they_are_written():
    model = Partly()
    plain = Small()
    plain.load_state_dict({k.replace("_orig_mod.", ""): v for k, v in model.state_dict().items()})
    network = prepare(model, IMAGE)
    assert [b.name for b in network.blocks] == ["a", "b", "c"]
    assert torch.equal(guided(network), guided(prepare(plain, IMAGE)))
    assert type(model.b).__name__ == "OptimizedModule"
    assert set(Fresh(Partly)(network, 0)) == {"a", "b", "c"}


@torch.compile(backend="eager")
def doubled(x: Tensor) -> Tensor:
    return torch.relu(x) * 2


class CompiledFunction(Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(doubled(self.b(doubled(self.a(x.flatten(1))))))


def test_compiled_functions_too():
    network = prepare(CompiledFunction(), IMAGE)
    assert network.weight_layers == 3
    assert float(guided(network).abs().sum()) > 0


class CompiledMethod(Small):
    def __init__(self) -> None:
        super().__init__()
        self.fast = torch.compile(super().forward, backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        return self.fast(x)


def test_a_compiled_method_of_the_original_is_refused():
    with pytest.raises(ModelError, match="still runs the original network"):
        prepare(CompiledMethod(), IMAGE)


@pytest.mark.filterwarnings("ignore")
def test_exported_programs():
    program = torch.export.export(Small().eval(), (IMAGE,))
    with pytest.raises(ModelError, match=r"got ExportedProgram. Give what its module\(\) returns"):
        prepare(program, IMAGE)
    with pytest.raises(ModelError, match="export it with a dynamic first dimension"):
        prepare(program.module(), IMAGE[:1])
    dynamic = {"x": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(Small().eval(), (IMAGE,), dynamic_shapes=dynamic)
    network = prepare(program.module(), IMAGE[:1])
    assert [b.name for b in network.blocks] == ["a", "b", "c"]


class Saving(Small):
    """Keeps no activations, and computes them again on the way back."""

    def __init__(self, *, reentrant: bool | None) -> None:
        super().__init__()
        self.reentrant = reentrant

    def head(self, x: Tensor) -> Tensor:
        return torch.relu(self.b(torch.relu(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x.flatten(1))
        saved = self.reentrant is not None
        x = checkpoint(self.head, x, use_reentrant=self.reentrant) if saved else self.head(x)
        return self.c(x)


def test_gradient_checkpointing():
    plain, saving = Saving(reentrant=None), Saving(reentrant=False)
    saving.load_state_dict(plain.state_dict())
    assert torch.equal(explained(prepare(saving, IMAGE)), explained(prepare(plain, IMAGE)))
    guided(prepare(plain, IMAGE))
    with pytest.raises(
        MethodError, match=r"Saving computes them again .* switch its gradient check"
    ):
        guided(prepare(saving, IMAGE))
    with pytest.raises(ModelError, match="Switch gradient checkpointing off"):
        prepare(Saving(reentrant=True), IMAGE)


class Shifting(Small):
    """Normalises its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.1307).div_(0.3081))


def test_a_network_that_normalises_its_input_in_place():
    model = Shifting()
    network, x = prepare(model, IMAGE), IMAGE.clone()
    with torch.no_grad():
        twice = [network.logits(x) for _ in range(2)]
    assert torch.equal(x, IMAGE)
    assert torch.equal(*twice)
    found = differentiate(network, x[None], torch.tensor([0, 1]), rule=Rule.PLAIN, taps=(None,))
    torch.testing.assert_close(found.logits[0], twice[0])
    leaf = IMAGE.clone().requires_grad_()
    score = Small.forward(model, (leaf - 0.1307) / 0.3081).gather(1, torch.tensor([[0], [1]]))
    (expected,) = torch.autograd.grad(score.sum(), leaf)
    torch.testing.assert_close(found.at[None][1][0], expected)
    assert torch.equal(found.at[None][0][0], IMAGE)


class ForOne(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


def test_a_network_that_needs_two_images():
    with pytest.raises(ModelError, match=r"runs on two images but not on one: squeeze\(\)"):
        prepare(ForOne(), IMAGE[:1])
    with pytest.raises(ModelError, match="runs on two images but not on one"):
        prepare(nn.Sequential(Small(), nn.BatchNorm1d(3, track_running_stats=False)), IMAGE[:1])


class Fails(Small):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "Check the input's size"),
        (ZeroDivisionError("division by zero"), "Run it by itself on one image"),
        (TypeError("forward() missing 1 required positional argument"), "needs more than images"),
        (RuntimeError("Expected all tensors to be on the same device"), "stays on another device"),
    ],
)
def test_advice_fits_the_error(error, advice):
    with pytest.raises(ModelError) as caught:
        prepare(Fails(error), IMAGE)
    assert advice in str(caught.value)
    assert str(error) in str(caught.value)
    assert ("size and channels" in str(caught.value)) == ("size" in advice)


class Same(nn.Linear):
    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize("model", [Same(64, 3), nn.Sequential(nn.Flatten(), Same(64, 3))])
def test_a_copy_that_is_the_original_is_refused_before_it_is_touched(model):
    model.train()
    with pytest.raises(ModelError, match=r"its copy shares (1\.)?weight and 1 more with it"):
        copied(model)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())

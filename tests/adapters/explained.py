"""Networks and one way to run a method of a library, for the adapters' tests."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import images
from salsanity import registry
from salsanity.methods import Inputs
from salsanity.models.layers import spatial_layer
from salsanity.models.network import Network, prepare
from salsanity.passes.foreign import ForeignFailure, explained_by
from salsanity.passes.request import Foreign, PassResult

X = images(count=3, size=16).float()
TARGETS = torch.tensor([0, 1, 2])
IDS = ("a", "b", "c")


def plain(*, inplace: bool = False, classes: int = 4) -> nn.Sequential:
    """Convolutions, batch norms, ReLUs, pooling and a linear layer, every one a module of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        made = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(2, 5, 3, padding=1),
                bn1=nn.BatchNorm2d(5),
                relu1=nn.ReLU(inplace),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(5, 6, 3, padding=1),
                relu2=nn.ReLU(inplace),
                pool2=nn.AvgPool2d(2),
                flatten=nn.Flatten(),
                fc=nn.Linear(96, classes),
            )
        )
        nn.init.uniform_(made.bn1.weight, 0.5, 1.5)
        nn.init.uniform_(made.bn1.running_mean, -0.3, 0.3)
        nn.init.uniform_(made.bn1.running_var, 0.5, 1.5)
    return made.eval()


class Variant(nn.Module):
    """The same network with its rectifiers called otherwise, or with a sum of two branches."""

    def __init__(self, style: str) -> None:
        super().__init__()
        layers = plain()
        self.conv1, self.bn1, self.pool1 = layers.conv1, layers.bn1, layers.pool1
        self.conv2, self.pool2, self.fc = layers.conv2, layers.pool2, layers.fc
        self.relu, self.relu2, self.inplace = nn.ReLU(), nn.ReLU(), nn.ReLU(inplace=True)
        self.style = style

    def rectified(self, x: Tensor, second: nn.Module) -> Tensor:
        match self.style:
            case "functional":
                return F.relu(x)
            case "overwriting":
                self.inplace(x)
                return x
            case "gelu":
                return F.gelu(x)
            case "reused":
                return self.relu(x)
        return second(x)

    def forward(self, x: Tensor) -> Any:
        x = self.pool1(self.rectified(self.bn1(self.conv1(x)), self.relu))
        x = self.rectified(self.conv2(x), self.relu2)
        if self.style == "sum":
            x = x + F.pad(x, (1, 0, 0, 0))[..., :-1]
        logits = self.fc(self.pool2(x).flatten(1))
        return {"logits": logits} if self.style == "mapping" else logits


def network_of(model: nn.Module) -> Network:
    return prepare(model, X[:1])


def request_of(spec: str, network: Network, x: Tensor = X, *, layer: str | None = None) -> Foreign:
    """Return the step that the method named by `spec` asks for."""
    spatial = spatial_layer(network.trace, layer)
    inputs = Inputs(x, TARGETS[: len(x)], IDS[: len(x)], 0, "trained", spatial)
    (request,) = next(registry.method(spec).steps(inputs))
    assert isinstance(request, Foreign)
    return request


def explained(
    spec: str, network: Network, *, rows: slice = slice(None), seed: int = 0, stream: int = 0
) -> PassResult | ForeignFailure:
    """Run the method on some of the images."""
    return explained_by(
        request_of(spec, network, X[rows]),
        network,
        X[rows],
        TARGETS[rows],
        ids=IDS[rows],
        seed=seed,
        stream=stream,
    )


def maps(spec: str, network: Network, **options: Any) -> Tensor:
    """Return the maps of a method that must succeed."""
    found = explained(spec, network, **options)
    assert isinstance(found, PassResult), found.reasons
    return found.gradient


def admitted(spec: str, network: Network) -> list[str]:
    """Return what the method says of the network."""
    request = request_of(spec, network)
    assert request.admit is not None
    return list(request.admit(network.module, X[:1]))


def state_of(network: Network) -> list[Any]:
    """Return what a library could leave behind: hooks, attributes, modes, gradients, values."""
    found: list[Any] = []
    for name, module in network.module.named_modules():
        tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        found.append((name, type(module), module.training, [len(vars(module)[t]) for t in tables]))
        found.append(sorted(vars(module)))
        found.append(getattr(module, "inplace", None))
    for name, tensor in network.module.state_dict(keep_vars=True).items():
        found.append((name, tensor.requires_grad, tensor.grad, tensor.detach().clone().tolist()))
    return found

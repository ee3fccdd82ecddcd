"""Whether an explainer runs the network it is given, what it prints, and what is said of odd return values."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from networks import chain, images
from salsanity.models.network import Network, prepare
from salsanity.passes.foreign import ForeignFailure, UnfitMaps, as_maps, explained_by
from salsanity.passes.request import Foreign, PassResult

X = images()
IDS = ("a", "b", "c")
TARGETS = torch.tensor([0, 1, 2])


@pytest.fixture
def network() -> Network:
    return prepare(chain(), X[:1])


def run(explainer, network: Network, *, alone: bool = False) -> PassResult | ForeignFailure:
    request, together = Foreign(explainer, "mine"), 1 if alone else 3
    return explained_by(request, network, X, TARGETS, ids=IDS, seed=0, stream=0, together=together)


def gradient(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    x.requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


def by_parts(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    model[0](x)
    return x


def by_forward(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    model.forward(x)
    return x


def by_a_copy(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return gradient(copy.deepcopy(model), x, targets)


def by_functional_call(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    torch.func.functional_call(model, dict(model.named_parameters()), x)
    return x


def by_its_weights(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    other = chain()
    other.load_state_dict(model.state_dict())
    return gradient(other, x, targets)


def by_pickling(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    pickle.dumps(model)
    return gradient(model, x, targets)


HEARD = (gradient, by_parts, by_forward, by_a_copy, by_functional_call, by_its_weights, by_pickling)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("explainer", HEARD)
def test_explainers_that_run_the_network_are_heard(explainer, alone, network):
    found = run(explainer, network, alone=alone)
    assert isinstance(found, PassResult), found.reasons
    assert found.aside.called
    assert found.aside.refusal("mine") is None
    assert not any(part._forward_pre_hooks for part in network.module.modules())
    assert not network.module._state_dict_pre_hooks


ORIGINAL = chain()


class Beforehand:
    """An explainer that was built around the network beforehand, as libraries have them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        return gradient(self.model, x, targets)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("explainer", [Beforehand(ORIGINAL), lambda model, x, targets: x])
def test_explainers_that_ignore_the_network_are_noticed(explainer, alone, network):
    found = run(explainer, network, alone=alone)
    assert not found.aside.called
    assert "mine never ran the network that it was given" in found.aside.refusal("mine")
    assert "Build what explains inside the function" in found.aside.refusal("mine")


def test_one_call_for_one_image_is_enough(network):
    def at_times(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        if len(x) > 1:
            raise ValueError("one at a time")
        return gradient(model, x, targets) if int(targets) == 2 else x

    assert run(at_times, network).aside.called


def noisy(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    sys.stdout.write(f"batch of {len(x)}\n")
    sys.stderr.write("on stderr\n")
    for _ in range(3):
        warnings.warn("this is deprecated", FutureWarning, stacklevel=1)
    return gradient(model, x, targets)


def test_what_an_explainer_prints_is_kept(network, capsys):
    found = run(noisy, network, alone=True)
    assert found.aside.said == "batch of 1\non stderr\nFutureWarning: this is deprecated"
    assert capsys.readouterr() == ("", "")

    def failing(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        sys.stdout.write("x" * 10_000)
        raise RuntimeError("no")

    failed = run(failing, network)
    assert all(r.startswith("mine raised RuntimeError: no (line ") for r in failed.reasons)
    assert len(failed.aside.said) == 2_000


def test_what_other_threads_write_comes_through(network, capsys):
    def with_a_bar(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        thread = threading.Thread(target=sys.stderr.write, args=("50 %",))
        thread.start()
        thread.join()
        sys.stdout.writelines(["mine", "\n"])
        assert not sys.stdout.isatty()
        assert sys.stdout.encoding
        return gradient(model, x, targets)

    assert run(with_a_bar, network).aside.said == "mine"
    assert capsys.readouterr() == ("", "50 %")


def wanting(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


FIT = {
    "wants gradients": lambda x: wanting(x) * 1,
    "list of tensors": list,
    "list of tensors that want gradients": lambda x: [wanting(image) for image in x],
    "tuple of one": lambda x: (x,),
    "tuple of arrays": lambda x: tuple(image.numpy() for image in x),
    "nested list": lambda x: x.tolist(),
    "pictures": lambda x: [Image.fromarray((255 * i[0].abs()).numpy().astype("uint8")) for i in x],
}


@pytest.mark.parametrize("name", FIT)
def test_what_can_be_taken_for_maps(name):
    found = as_maps(FIT[name](X), X, "mine").gradient
    assert found.shape[2:] == X.shape[2:]
    assert not found.requires_grad
    if name != "pictures":
        torch.testing.assert_close(found, X)


UNFIT = {
    "nothing": (lambda x: None, "mine returned nothing; let it return the maps as one tensor"),
    "mapping": (lambda x: {"attr": x, "delta": 0}, "mine returned dict with attr, delta; let"),
    "text": (lambda x: "done", "mine returned str; let"),
    "maps and more": (lambda x: (x, torch.zeros(3)), "mine returned a tuple of 2, which is no array"),
    "ragged": (lambda x: [x[0], x[1][:, :4], x[2]], "mine returned a list of 3, which is no array"),
    "objects": (lambda x: [object()] * 3, "mine returned a list of 3, which is no array"),
    "too many": (lambda x: torch.cat([x, x]), "expected maps of shape"),
    "complex": (lambda x: x.to(torch.complex64), "expected maps of real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_is_said_without_blaming_the_explainer_for_raising(name, network):
    make, words = UNFIT[name]
    with pytest.raises(UnfitMaps) as caught:
        as_maps(make(X), X, "mine")
    assert words in str(caught.value)
    failed = run(lambda model, x, targets: make(X), network)
    assert words in failed.reasons[0]
    assert "raised" not in failed.reasons[0]


@pytest.mark.parametrize("shape", [(3, 2, 16), (3, 1, 16, 12), (3, 1, 8, 8, 8)])
def test_maps_of_any_number_of_dimensions_are_enlarged(shape):
    x = torch.zeros(shape)
    flat = torch.arange(4.0).view(1, 1, 4, *[1] * (len(shape) - 3))
    small = flat.expand(3, 1, *[4] * (len(shape) - 2))
    found = as_maps(small.squeeze(1).numpy(), x, "mine")
    assert found.gradient.shape == (3, 1, *shape[2:])
    assert found.enlarged_from == small.shape[2:]
    profile = found.gradient[0, 0].flatten(1)[:, 0] if len(shape) > 3 else found.gradient[0, 0]
    places = (np.arange(shape[2]) + 0.5) * 4 / shape[2] - 0.5
    expected = np.interp(places, np.arange(4), np.arange(4.0))
    np.testing.assert_allclose(profile.numpy(), expected, atol=1e-6)


def test_a_mapping_is_named_by_its_keys():
    with pytest.raises(UnfitMaps, match="OrderedDict with maps; let it return"):
        as_maps(OrderedDict(maps=X), X, "mine")

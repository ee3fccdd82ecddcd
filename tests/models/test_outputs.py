"""Which of what a network returns are the logits, and what is odd about them."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from salsanity.errors import ModelError
from salsanity.models.network import logits_in, prepare
from salsanity.models.outputs import remembered

IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Returns(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.fc, self.wrap = nn.Linear(64, 10), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.fc(x.flatten(1)))


@dataclass
class Heads:
    species: Tensor
    age: Tensor


Aux = namedtuple("Aux", "logits aux")

AMBIGUOUS = {
    "features first": (lambda z: (z[:, :6], z), "0", r"0 \(2, 6\) and 1 \(2, 10\)"),
    "heads": (lambda z: [z[:, :4], z[:, 4:]], "1", "--output 0 or --output 1"),
    "equal heads": (lambda z: (z[:, :5], z[:, 5:]), 1, "2 that could be meant"),
    "mapping": (lambda z: {"species": z, "age": z[:, :4]}, "species", "--output species or"),
    "object": (lambda z: Heads(z, z[:, :4]), "age", r"species \(2, 10\) and age \(2, 4\)"),
    "nested": (lambda z: (z, {"head": [z[:, :3]]}), "1.head.0", r"0 \(2, 10\) and 1.head.0"),
    "key with a dot": (lambda z: {"a.b": z, "c": z * 2}, "a.b", "--output a.b or --output c"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_where_two_could_be_meant_it_is_asked(name):
    wrap, choice, words = AMBIGUOUS[name]
    model = Returns(wrap)
    with pytest.raises(ModelError, match=words):
        prepare(model, IMAGE)
    network = prepare(model, IMAGE, output=choice)
    output = wrap(model.fc(IMAGE.flatten(1)))
    expected = logits_in(output, choice)
    torch.testing.assert_close(network.logits(IMAGE), expected)
    assert network.output == choice
    assert remembered(network.module) == choice
    assert remembered(model) is None
    assert network.notes == (f"Output {choice!r} of the network is taken for the logits, as asked.".replace(
        repr(choice), repr(str(choice))),)  # fmt: skip


CLEAR = {
    "tensor": (lambda z: z, None),
    "called logits": (lambda z: {"logits": z, "hidden": z * 2}, None),
    "named tuple": (lambda z: Aux(z, z * 2), None),
    "mapping of one": (lambda z: {"out": z}, "Output out (2, 10) of the network is taken"),
    "with a loss": (lambda z: (z.sum(), z), "Output 1 (2, 10) of the network is taken for the logits; it also"),
    "with a map": (lambda z: [z[:, :, None], z], "returns 0 (2, 10, 1)."),
    "with counts": (lambda z: (z, z.long()), "returns 1 (2, 10)."),
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAR)
def test_the_only_one_is_taken_and_said(name):
    wrap, words = CLEAR[name]
    model = Returns(wrap)
    network = prepare(model, IMAGE)
    torch.testing.assert_close(network.logits(IMAGE), model.fc(IMAGE.flatten(1)))
    said = " ".join(network.notes)
    assert (words in said) if words else not said


def test_a_wrong_choice_is_answered_with_what_there_is():
    with pytest.raises(ModelError, match=r"output 'c' among .* a \(2, 10\), b \(2, 10\)"):
        prepare(Returns(lambda z: {"a": z, "b": z}), IMAGE, output="c")
    with pytest.raises(ModelError, match="output '2' among"):
        prepare(Returns(lambda z: (z, z)), IMAGE, output=2)


def test_in_training_the_first_of_equal_outputs_counts():
    main = torch.zeros(2, 3)
    assert logits_in((main, main + 1)) is main
    with pytest.raises(ModelError, match="could be meant"):
        logits_in((main, torch.zeros(2, 4)))


ODD = {
    "softmax": (lambda z: z.softmax(1), "look like probabilities (each row sums to 1)"),
    "log softmax": (lambda z: z.log_softmax(1), "look like log-probabilities (each row sums"),
    "sigmoid": (torch.sigmoid, "look like probabilities (all lie between 0 and 1)"),
    "sigmoid of two": (lambda z: z[:, :2].sigmoid(), "all lie between 0 and 1"),
    "scaled": (lambda z: z.softmax(1) * 3 - 1, None),
    "logits": (lambda z: z, None),
}


@pytest.mark.parametrize("name", ODD)
def test_probabilities_are_noted(name):
    wrap, words = ODD[name]
    said = " ".join(prepare(Returns(wrap), IMAGE).notes)
    assert (words in said) if words else not said


def test_classes_that_are_shut_are_named():
    def shut(z: Tensor) -> Tensor:
        return torch.cat([z[:, :7], torch.full_like(z[:, 7:], -torch.inf)], 1)

    with pytest.raises(ModelError, match=r"-inf for classes 7, 8, 9 of 10"):
        prepare(Returns(shut), IMAGE)
    with pytest.raises(ModelError, match="NaN or infinite"):
        prepare(Returns(lambda z: z + torch.nan), IMAGE)

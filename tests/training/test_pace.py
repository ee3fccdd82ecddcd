"""What makes an epoch shorter must not change what is learned, nor what can be trained."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from salsanity.seeds import seed_for
from salsanity.training import loop
from salsanity.training.evaluate import LabelledImages, batch_sizes
from salsanity.training.loop import seeded, train
from salsanity.training.pace import Pace, as_built, has_bfloat16, pace_for
from salsanity.training.settings import TrainingSettings

SETTINGS = TrainingSettings(
    epochs=3, batch_size=16, learning_rate=1e-2, l2=0.01, wanted=None, mixed_precision=False
)
CPU = torch.device("cpu")


def stripes(count=64):
    """Three channels, so that channels last and the usual layout differ in memory."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 6, 6, generator=generator)
    images[torch.arange(count), labels] += 0.5
    return LabelledImages(images, labels)


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.Linear(16, 3)
    )


class Viewing(nn.Module):
    """A network that reshapes in a way that only the usual layout allows."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.last(self.first(x).view(len(x), -1))


class Single(torch.autograd.Function):
    """An operation of the user's that takes float32 alone, in its backward pass."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        if gradient.dtype is not torch.float32:
            raise TypeError("expected float32")
        return gradient


class Exact(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(108, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(Single.apply(self.first(x.flatten(1))))


def literal(data, seed):
    """Train as `loop` says, in the usual layout, by Adam's plain form in float64."""
    with seeded(seed_for(seed, "init"), CPU):
        model = convolutions().double()
    vectors = [p for p in model.parameters() if p.ndim == 1]
    weights = [p for p in model.parameters() if p.ndim > 1]
    groups = [{"params": weights, "weight_decay": SETTINGS.l2}, {"params": vectors}]
    adam = torch.optim.Adam(groups, lr=SETTINGS.learning_rate, foreach=False, fused=False)
    for epoch in range(SETTINGS.epochs):
        with seeded(seed_for(seed, "epoch", epoch), CPU):
            order = torch.randperm(len(data))
        for rows in order.split(batch_sizes(len(data), SETTINGS.batch_size)):
            adam.zero_grad()
            cross_entropy(model(data.images[rows].double()), data.labels[rows]).backward()
            adam.step()
    return model


def check_against_literal():
    data = stripes()
    found = train(convolutions, data, settings=SETTINGS, seed=1).model
    for ours, theirs in zip(found.parameters(), literal(data, 1).parameters(), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=2e-4)


@pytest.fixture
def last(monkeypatch):
    """Train in float32 with channels last, which only goes with bfloat16 otherwise."""

    def pace(model, images, *, mixed):
        model.to(memory_format=torch.channels_last)
        return Pace(CPU, torch.channels_last)

    monkeypatch.setattr(loop, "pace_for", pace)


def test_a_plain_loop_in_float64_learns_the_same():
    check_against_literal()


@pytest.mark.usefixtures("last")
def test_channels_last_and_fused_adam_learn_what_a_plain_loop_in_float64_learns():
    check_against_literal()


@pytest.mark.usefixtures("last")
def test_twin_an_optimiser_state_in_another_layout_is_noticed(monkeypatch):
    class Mislaid(loop.Adam):
        def step(self, closure=None):
            super().step(closure)
            for values in self.state.values():
                values["exp_avg"] = values["exp_avg"].contiguous()

    monkeypatch.setattr(loop, "Adam", Mislaid)
    with pytest.raises(AssertionError):
        check_against_literal()


class Stop(Exception):
    pass


def check_continuing(path):
    def stop(progress):
        if progress.epoch == 3:
            raise Stop

    whole = train(convolutions, stripes(), settings=SETTINGS, seed=2)
    with pytest.raises(Stop):
        train(convolutions, stripes(), settings=SETTINGS, seed=2, checkpoint=path, report=stop)
    resumed = train(convolutions, stripes(), settings=SETTINGS, seed=2, checkpoint=path)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("last")
def test_a_continued_training_ends_where_an_undisturbed_one_does(tmp_path):
    check_continuing(tmp_path / "a")


@pytest.mark.usefixtures("last")
def test_twin_a_state_that_comes_back_in_the_usual_layout_is_noticed(tmp_path, monkeypatch):
    whole = loop.restore

    def mislaid(checkpoint, model, optimiser):
        whole(checkpoint, model, optimiser)
        for values in optimiser.state.values():
            values["exp_avg"] = values["exp_avg"].contiguous()

    monkeypatch.setattr(loop, "restore", mislaid)
    with pytest.raises(AssertionError):
        check_continuing(tmp_path / "a")


@pytest.mark.usefixtures("last")
def test_a_trained_network_lies_in_memory_as_it_was_built():
    found = train(convolutions, stripes(), settings=SETTINGS, seed=0).model
    assert all(p.is_contiguous() for p in found.parameters())


def with_bfloat16(monkeypatch):
    monkeypatch.setattr("salsanity.training.pace.has_bfloat16", lambda device: True)


def test_a_network_that_needs_the_usual_layout_is_trained_in_it(monkeypatch):
    with_bfloat16(monkeypatch)
    model = Viewing()
    assert pace_for(model, stripes().images, mixed=True) == Pace(CPU, mixed=True)
    assert all(p.is_contiguous() for p in model.parameters())
    settings = replace(SETTINGS, mixed_precision=True)
    assert train(Viewing, stripes(), settings=settings, seed=0).train_accuracy > 0.5


def test_without_bfloat16_nothing_is_laid_out_otherwise(monkeypatch):
    assert pace_for(convolutions(), stripes().images, mixed=False) == Pace(CPU)
    with_bfloat16(monkeypatch)
    assert pace_for(convolutions(), stripes().images, mixed=True).layout is torch.channels_last


def test_a_network_that_cannot_run_in_bfloat16_is_trained_in_float32(monkeypatch):
    with_bfloat16(monkeypatch)
    assert pace_for(convolutions(), stripes().images, mixed=True).mixed
    assert not pace_for(convolutions(), stripes().images, mixed=False).mixed
    assert not pace_for(Exact(), stripes().images, mixed=True).mixed


def test_matrix_products_in_bfloat16_learn_and_leave_weights_in_float32(monkeypatch):
    with_bfloat16(monkeypatch)
    seen = set()

    def watched():
        model = convolutions()
        model[0].register_forward_hook(lambda module, given, result: seen.add(result.dtype))
        return model

    settings = replace(SETTINGS, epochs=12, mixed_precision=True)
    found = train(watched, stripes(), settings=settings, seed=0)
    assert found.train_accuracy > 0.9
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}
    assert torch.bfloat16 in seen
    assert torch.float32 in seen, "accuracy is measured in float32"


@pytest.mark.parametrize(
    ("told", "expected"), [({"avx512_bf16": True}, True), ({"avx2": True}, False), (None, False)]
)
def test_whether_a_processor_multiplies_bfloat16_is_asked_of_torch(monkeypatch, told, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", told and (lambda: told), raising=False)
    assert has_bfloat16(CPU) is expected


def test_layouts_are_given_back():
    model = convolutions().to(memory_format=torch.channels_last)
    as_built(model)
    assert all(p.is_contiguous() for p in model.parameters())

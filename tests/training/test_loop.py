from dataclasses import replace

import pytest
import torch
from torch import nn

from salsanity.errors import DataError, ModelError, SpecError, TrainingError
from salsanity.training import loop
from salsanity.training.evaluate import LabelledImages, accuracy
from salsanity.training.loop import train
from salsanity.training.settings import TrainingSettings

SETTINGS = TrainingSettings(epochs=4, batch_size=16, learning_rate=1e-2, l2=0.0, wanted=None)


def blobs(count=80, classes=3, seed=0):
    """Images whose class is the row that shines; easy to learn."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.rand(count, 1, 6, 6, generator=generator) * 0.5
    images[torch.arange(count), 0, labels] += 1
    return LabelledImages(images, labels)


def network(classes=3):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(144, classes),
    )


def same(a, b):
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_it_learns():
    trained = train(network, blobs(), settings=replace(SETTINGS, epochs=10), seed=0)
    assert trained.train_accuracy > 0.95
    assert accuracy(trained.model, blobs(seed=1)) > 0.9
    assert not trained.model.training


def narrow(classes=3):
    """A batch norm over features: one image alone has no variance."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes)
    )


@pytest.mark.parametrize("count", [17, 33])
def test_a_last_batch_of_one_image_joins_the_one_before(count):
    steps = set()
    report = lambda progress: steps.add((progress.step, progress.steps))  # noqa: E731
    trained = train(narrow, blobs(count), settings=SETTINGS, seed=0, report=report)
    again = train(narrow, blobs(count), settings=SETTINGS, seed=0)
    assert same(trained.model, again.model)
    assert max(steps) == (count // 16, count // 16)


def test_one_image_alone_is_one_sentence():
    with pytest.raises(ModelError, match=r"batch of 1 images.*give more images"):
        train(narrow, blobs(1), settings=SETTINGS, seed=0)


class Silent(nn.Module):
    """A network whose methods do what they should, and return nothing."""

    def __init__(self):
        super().__init__()
        self.layers = narrow()

    def forward(self, x):
        return self.layers(x)

    def train(self, mode=True):
        super().train(mode)

    def eval(self):
        self.train(False)

    def to(self, *args, **kwargs):
        super().to(*args, **kwargs)

    def requires_grad_(self, requires_grad=True):
        super().requires_grad_(requires_grad)


def test_a_network_whose_methods_return_nothing_is_trained():
    trained = train(Silent, blobs(), settings=replace(SETTINGS, epochs=10), seed=0)
    assert isinstance(trained.model, Silent)
    assert not trained.model.layers.training
    assert accuracy(trained.model, blobs(seed=1)) > 0.9


@pytest.mark.parametrize("make", [lambda: None, lambda: narrow().state_dict()])
def test_a_builder_that_returns_no_network_is_said(make):
    with pytest.raises(ModelError, match=r"returns a torch\.nn\.Module"):
        train(make, blobs(), settings=SETTINGS, seed=0)


def test_the_same_seed_gives_the_same_network_and_another_another():
    runs = [train(network, blobs(), settings=SETTINGS, seed=s).model for s in (1, 1, 2)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_the_global_random_state_is_untouched():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    train(network, blobs(), settings=SETTINGS, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_the_result_does_not_depend_on_the_global_random_state():
    torch.manual_seed(1)
    first = train(network, blobs(), settings=SETTINGS, seed=0).model
    torch.manual_seed(2)
    assert same(first, train(network, blobs(), settings=SETTINGS, seed=0).model)


class Stop(Exception):
    pass


def stopping_in(epoch):
    def report(progress):
        if progress.epoch == epoch:
            raise Stop

    return report


def check_continuing(path, *, stop_in, at_path):
    """A training that stops in an epoch and is started again ends where an undisturbed one ends."""
    data = blobs()
    whole = train(network, data, settings=SETTINGS, seed=3)
    with pytest.raises(Stop):
        train(
            network, data, settings=SETTINGS, seed=3, checkpoint=path, report=stopping_in(stop_in)
        )
    epochs = []
    resumed = train(
        network,
        data,
        settings=SETTINGS,
        seed=3,
        checkpoint=at_path,
        report=lambda p: epochs.append(p.epoch),
    )
    assert same(whole.model, resumed.model)
    assert resumed.epochs == whole.epochs
    assert epochs[0] == stop_in, "finished epochs are not trained again"


@pytest.mark.parametrize("stop_in", [2, 3, 4])
def test_an_interrupted_training_continues_bit_for_bit(tmp_path, stop_in):
    check_continuing(tmp_path / "a", stop_in=stop_in, at_path=tmp_path / "a")


def test_twin_a_lost_optimiser_state_is_noticed(tmp_path, monkeypatch):
    def weights_alone(checkpoint, model, optimiser):
        names = {n for n in checkpoint.tensors if n.startswith("model.")}
        model.load_state_dict({n[6:]: checkpoint.tensors[n] for n in names})

    monkeypatch.setattr("salsanity.training.loop.restore", weights_alone)
    with pytest.raises(AssertionError):
        check_continuing(tmp_path / "a", stop_in=3, at_path=tmp_path / "a")


def test_twin_a_lost_checkpoint_is_noticed(tmp_path):
    with pytest.raises(AssertionError):
        check_continuing(tmp_path / "a", stop_in=3, at_path=tmp_path / "elsewhere")


def test_a_finished_training_is_only_read(tmp_path):
    path = tmp_path / "a"
    first = train(network, blobs(), settings=SETTINGS, seed=3, checkpoint=path)
    again = train(
        network, blobs(), settings=SETTINGS, seed=3, checkpoint=path, report=stopping_in(1)
    )
    assert same(first.model, again.model)
    assert again.train_accuracy == first.train_accuracy


def test_more_epochs_continue_where_fewer_ended(tmp_path):
    path = tmp_path / "a"
    train(network, blobs(), settings=replace(SETTINGS, epochs=2), seed=3, checkpoint=path)
    longer = train(network, blobs(), settings=SETTINGS, seed=3, checkpoint=path)
    assert same(longer.model, train(network, blobs(), settings=SETTINGS, seed=3).model)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 4},
        {"data": blobs(seed=5)},
        {"data": LabelledImages(blobs().images, blobs().labels.flip(0))},
        {"settings": replace(SETTINGS, learning_rate=0.02)},
        {"settings": replace(SETTINGS, epochs=1)},
        {"make_model": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3))},
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, changed):
    arguments = {"make_model": network, "data": blobs(), "settings": SETTINGS, "seed": 3}
    path = tmp_path / "a"
    train(**arguments, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(SpecError, match="checkpoint"):
        train(**(arguments | changed), checkpoint=path)
    assert path.read_bytes() == before


def test_progress_tells_loss_accuracy_and_time_left():
    told = []
    train(network, blobs(), settings=SETTINGS, seed=0, report=told.append)
    assert [p.epoch for p in told if p.step == p.steps] == [1, 2, 3, 4]
    assert told[-1].seconds_left == 0
    assert told[0].seconds_left > 0
    assert all(0 <= p.accuracy <= 1 and p.loss > 0 and p.epochs == 4 for p in told)


def test_training_stops_once_it_is_good_enough():
    trained = train(network, blobs(), settings=replace(SETTINGS, epochs=50, stop_at=0.95), seed=0)
    assert len(trained.epochs) < 50
    assert trained.train_accuracy > 0.95


def test_a_training_is_at_least_as_long_as_asked():
    settings = replace(SETTINGS, epochs=50, stop_at=0.95, least_steps=81)  # 80 images, 5 batches
    trained = train(network, blobs(), settings=settings, seed=0)
    assert len(trained.epochs) == 17
    assert trained.train_accuracy > 0.95
    assert all(epoch.accuracy is None for epoch in trained.epochs[:-1])


def test_an_accuracy_that_is_not_reached_is_an_error_with_advice():
    labels = torch.randint(0, 3, (80,), generator=torch.Generator().manual_seed(0))
    data = LabelledImages(blobs().images, labels)
    settings = replace(SETTINGS, epochs=1, wanted=0.95)
    with pytest.raises(TrainingError, match=r"above 0.95, got 0\.\d+ after 1 epochs") as caught:
        train(network, data, settings=settings, seed=0)
    for word in ("epochs (now 1)", "learning rate (now 0.01)", "L2 (now 0)", "images (now 80)"):
        assert word in str(caught.value)


def test_a_loss_that_is_not_finite_is_an_error():
    data = blobs()
    data.images[0] = float("nan")
    with pytest.raises(TrainingError, match="finite loss, got nan in epoch 1"):
        train(network, data, settings=SETTINGS, seed=0)


def test_l2_shrinks_the_weights_and_spares_the_biases():
    def weights(l2):
        settings = replace(SETTINGS, l2=l2, epochs=6)
        return train(network, blobs(), settings=settings, seed=0).model[5].weight.norm()

    assert weights(1.0) < weights(0.0)


def literal_adam(model, images, labels, *, lr, l2, spared=()):
    """One step of Adam (Kingma and Ba 2015, algorithm 1) on cross-entropy + l2/2 |W|^2."""
    loss = nn.functional.cross_entropy(model(images), labels)
    shrunk = [p for name, p in model.named_parameters() if p.ndim > 1 and name not in spared]
    loss = loss + sum(l2 / 2 * (p**2).sum() for p in shrunk)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    new = []
    for p, g in zip(model.parameters(), gradients, strict=True):
        m, v = 0.1 * g / (1 - 0.9), 0.001 * g**2 / (1 - 0.999)
        new.append((p - lr * m / (v.sqrt() + 1e-8)).detach())
    return new


def check_first_step(l2, *, told_l2):
    data = blobs(16)
    data = LabelledImages(data.images.double(), data.labels)
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()  # noqa: E731
    start = train(build, data, settings=replace(SETTINGS, epochs=1, learning_rate=1e-30), seed=0)
    settings = replace(SETTINGS, epochs=1, l2=told_l2)
    after = train(build, data, settings=settings, seed=0).model
    wanted = literal_adam(start.model, data.images, data.labels, lr=1e-2, l2=l2)
    for a, b in zip(after.parameters(), wanted, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-6, atol=1e-9)


def test_a_step_is_adam_on_the_papers_loss():
    check_first_step(0.1, told_l2=0.1)
    with pytest.raises(AssertionError):
        check_first_step(0.1, told_l2=0.0)


def check_spared(spared, *, told):
    data = blobs(16)
    data = LabelledImages(data.images.double(), data.labels)
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Linear(4, 3)).double()  # noqa: E731
    start = train(build, data, settings=replace(SETTINGS, epochs=1, learning_rate=1e-30), seed=0)
    settings = replace(SETTINGS, epochs=1, l2=0.1, l2_spares=told)
    after = train(build, data, settings=settings, seed=0).model
    wanted = literal_adam(start.model, data.images, data.labels, lr=1e-2, l2=0.1, spared=spared)
    for a, b in zip(after.parameters(), wanted, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-6, atol=1e-9)


def test_l2_spares_the_layers_that_are_named():
    check_spared(("2.weight",), told=("2",))
    with pytest.raises(AssertionError):
        check_spared(("2.weight",), told=())


def test_labels_beyond_the_outputs_are_refused():
    with pytest.raises(DataError, match="labels from 0 to 1"):
        train(lambda: network(2), blobs(), settings=SETTINGS, seed=0)


def test_images_that_do_not_fit_are_refused():
    wrong = lambda: nn.Sequential(nn.Flatten(), nn.Linear(35, 3))  # noqa: E731
    with pytest.raises(ModelError, match="cannot take images of shape"):
        train(wrong, blobs(), settings=SETTINGS, seed=0)


def test_a_network_without_parameters_is_refused():
    with pytest.raises(ModelError, match="parameters to train"):
        train(nn.Flatten, blobs(), settings=SETTINGS, seed=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"l2": -1.0},
        {"stop_at": 1.0},
        {"wanted": 1.5},
    ],
)
def test_settings_under_which_nothing_is_learned_are_refused(changes):
    with pytest.raises(SpecError, match="expected"):
        replace(SETTINGS, **changes)


@pytest.fixture
def steps(monkeypatch):
    """The learning rate and the norm of all gradients at every step."""
    seen = []
    step = torch.optim.Adam.step

    def told(self, *args):
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        seen.append((self.param_groups[0]["lr"], float(torch.cat(gradients).norm())))
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", told)
    return seen


def rises(seen, *, over, to):
    """The rate rises linearly over the first batches and stays."""
    wanted = [to * min(1, (i + 1) / over) for i in range(len(seen))]
    assert [rate for rate, _ in seen] == pytest.approx(wanted)


def test_the_learning_rate_rises_over_the_first_batches(steps, monkeypatch):
    train(network, blobs(), settings=replace(SETTINGS, warm_up=12), seed=0)
    assert len(steps) == 20
    rises(steps, over=12, to=1e-2)
    steps.clear()
    monkeypatch.setattr(loop, "_warm_up", lambda run, batch: None)
    train(network, blobs(), settings=replace(SETTINGS, warm_up=12), seed=0)
    with pytest.raises(AssertionError):
        rises(steps, over=12, to=1e-2)


def test_a_training_that_is_continued_rises_on(steps, tmp_path):
    settings, path = replace(SETTINGS, warm_up=12), tmp_path / "checkpoint"
    train(network, blobs(), settings=replace(settings, epochs=2), seed=0, checkpoint=path)
    continued = train(network, blobs(), settings=settings, seed=0, checkpoint=path)
    rises(steps, over=12, to=1e-2)
    assert same(continued.model, train(network, blobs(), settings=settings, seed=0).model)


def test_gradients_are_shortened(steps):
    train(network, blobs(), settings=SETTINGS, seed=0)
    free = [norm for _, norm in steps]
    steps.clear()
    limit = sorted(free)[len(free) // 2]
    train(network, blobs(), settings=replace(SETTINGS, clip=limit), seed=0)
    assert max(norm for _, norm in steps) == pytest.approx(limit, rel=1e-4)
    assert max(free) > 1.1 * limit, "the twin, without, has longer ones"


def test_what_is_not_asked_for_changes_no_print_of_a_training():
    assert {"warm_up", "clip"}.isdisjoint(SETTINGS.course())
    assert replace(SETTINGS, warm_up=3, clip=1.0).course()["clip"] == 1.0
    for wrong in ({"warm_up": -1}, {"clip": -0.5}):
        with pytest.raises(SpecError, match="at least 0"):
            replace(SETTINGS, **wrong)

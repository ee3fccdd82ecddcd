import pytest
import torch
from torch import nn

from salsanity.errors import DataError, ModelError
from salsanity.training.evaluate import LabelledImages, accuracy, batch_sizes, evaluating


class Fixed(nn.Module):
    """Logits are the first pixels of the image."""

    def forward(self, x):
        return x.flatten(1)[:, :4]


def data(count=1103):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 3, 3, generator=generator)
    return LabelledImages(images, torch.randint(0, 4, (count,), generator=generator))


def check_accuracy(measured, images):
    rows = zip(images.images, images.labels, strict=True)
    right = sum(int(max(range(4), key=lambda c: x.flatten()[c])) == int(y) for x, y in rows)
    assert measured == right / len(images)


def mean_of_batches(images):
    batches = zip(images.images.split(500), images.labels.split(500), strict=True)
    parts = [accuracy(Fixed(), LabelledImages(*batch)) for batch in batches]
    return sum(parts) / len(parts)


def test_accuracy_counts_images():
    images = data()
    for batch_size in (1, 7, 500, 5000):
        check_accuracy(accuracy(Fixed(), images, batch_size=batch_size), images)
    with pytest.raises(AssertionError):
        check_accuracy(mean_of_batches(images), images)


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (10, 5, [5, 5]),
        (11, 5, [5, 6]),
        (12, 5, [5, 5, 2]),
        (1, 5, [1]),
        (6, 5, [6]),
        (3, 1, [1, 1, 1]),
        (4, 9, [4]),
    ],
)
def test_no_image_is_left_alone(count, size, sizes):
    assert batch_sizes(count, size) == sizes


def test_a_network_that_squeezes_is_evaluated():
    class Squeezing(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4].squeeze()

    images = data(11)
    assert accuracy(Squeezing(), images, batch_size=5) == accuracy(Fixed(), images)


def test_labels_that_are_no_classes_are_never_counted_as_wrong():
    images = data(20)
    wrong = LabelledImages(images.images, images.labels + 1)
    with pytest.raises(DataError, match="labels from 0 to 3"):
        accuracy(Fixed(), wrong)


def fail_inside(model):
    with evaluating(model):
        assert not any(m.training for m in model.modules())
        raise KeyError


def test_every_module_gets_its_own_mode_back():
    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[2].eval()
    with pytest.raises(KeyError):
        fail_inside(model)
    assert [m.training for m in model] == [True, True, False]


@pytest.mark.parametrize(
    "wrap",
    [lambda z: z, lambda z: (z, None), lambda z: {"logits": z}],
)
def test_every_kind_of_output_is_understood(wrap):
    class Wrapped(nn.Module):
        def forward(self, x):
            return wrap(Fixed()(x))

    images = data(20)
    check_accuracy(accuracy(Wrapped(), images), images)


def test_what_gives_no_logits_is_refused():
    with pytest.raises(ModelError, match="logits"):
        accuracy(nn.Flatten(0), data(5))


def test_large_images_are_evaluated_in_small_batches():
    sizes = []

    class Counting(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x.flatten(1)[:, :2]

    large = LabelledImages(torch.zeros(30, 1, 1000, 1000), torch.zeros(30, dtype=torch.int64))
    accuracy(Counting(), large)
    assert sizes == [8, 8, 8, 6]


def check_fingerprint(print_of):
    base = data(10)
    others = [
        LabelledImages(base.images.flip(0), base.labels),
        LabelledImages(base.images, base.labels.flip(0)),
        LabelledImages(base.images.double(), base.labels),
        LabelledImages(base.images.flatten(1), base.labels),
    ]
    assert print_of(base) == print_of(LabelledImages(base.images.clone(), base.labels.clone()))
    assert len({print_of(d) for d in [base, *others]}) == 5


def test_a_fingerprint_says_it_all():
    check_fingerprint(LabelledImages.fingerprint)
    with pytest.raises(AssertionError):
        check_fingerprint(lambda d: float(d.images.double().sum()) + float(d.labels.sum()))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.rand(0, 1, 2, 2), torch.zeros(0, dtype=torch.int64)),
        (torch.rand(3, 1, 2, 2), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
        (torch.rand(3, 1, 2, 2), torch.zeros(3)),
    ],
)
def test_what_cannot_be_trained_on_is_refused(images, labels):
    with pytest.raises(DataError, match="expected"):
        LabelledImages(images, labels)

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from salsanity.data.examples import ImageSource
from salsanity.data.preprocessing import Preprocessing
from salsanity.data.tensors import (
    DatasetSource,
    TensorSource,
    as_source,
    displayable,
    stack,
)
from salsanity.errors import DataError

PIXELS = torch.arange(5 * 3 * 4 * 4).reshape(5, 3, 4, 4).to(torch.uint8)
LABELS = torch.tensor([4, 0, 1, 1, 2])


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item


def test_bytes_become_the_unit_interval():
    example = TensorSource(PIXELS, LABELS, prefix="t")[1]
    assert torch.equal(example.x, PIXELS[1] / 255)
    assert torch.equal(example.display, example.x)
    assert (example.label, example.name) == (0, "t/1")


def test_floats_stay_as_they_are():
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64)
    example = TensorSource(x)[-1]
    assert torch.equal(example.x, x[2])
    assert example.x.dtype == torch.float64
    assert example.name == "item/2"
    assert 0 <= example.display.min() <= example.display.max() <= 1


def test_other_input_shapes_pass():
    assert TensorSource(torch.randn(3, 7))[0].x.shape == (7,)
    with pytest.raises(DataError, match="to preprocess"):
        TensorSource(torch.randn(3, 7), preprocessing=Preprocessing(size=2))[0]


def test_preprocessing_keeps_the_display_unnormalised():
    source = TensorSource(PIXELS, preprocessing=Preprocessing(mean=(0.5,), std=(0.25,)))
    example = source[0]
    assert torch.equal(example.display, PIXELS[0] / 255)
    assert torch.equal(example.x, (PIXELS[0] / 255 - 0.5) / 0.25)


def check_stacked(stacked, source):
    x, y = stacked
    for row, index in enumerate([3, 0, 3]):
        assert torch.equal(x[row], source[index].x)
        assert int(y[row]) == source[index].label


@pytest.mark.parametrize("preprocessing", [None, Preprocessing(size=2, mean=(0.5,), std=(2.0,))])
def test_stacking_equals_one_by_one(preprocessing):
    source = TensorSource(PIXELS, LABELS, preprocessing=preprocessing)
    check_stacked(stack(source, [3, 0, 3]), source)
    items = DatasetSource(
        Items(list(zip(PIXELS, LABELS, strict=True))), preprocessing=preprocessing
    )
    check_stacked(stack(items, [3, 0, 3]), items)
    with pytest.raises(AssertionError):
        check_stacked(stack(source, [3, 1, 3]), source)


def test_stacking_without_labels_or_one_shape():
    assert stack(TensorSource(PIXELS), [0])[1] is None
    items = DatasetSource(Items([(PIXELS[0], 1), (PIXELS[1], None)]))
    assert stack(items, [0, 1])[1] is None
    odd = DatasetSource(Items([PIXELS[0], PIXELS[0][:, :2]]))
    with pytest.raises(DataError, match="one shape"):
        stack(odd, [0, 1])


@pytest.mark.parametrize(
    "item",
    [
        (PIXELS[0], 4),
        [PIXELS[0], torch.tensor(4)],
        (PIXELS[0].numpy(), np.int64(4)),
        {"image": PIXELS[0], "label": 4},
        {"pixel_values": PIXELS[0] / 255, "labels": torch.tensor([4])},
        (Image.fromarray(PIXELS[0].permute(1, 2, 0).contiguous().numpy()), 4),
    ],
)
def test_items_of_all_usual_kinds(item):
    example = DatasetSource(Items([item]), name="d")[0]
    assert torch.equal(example.x, PIXELS[0] / 255)
    assert (example.label, example.name) == (4, "d/0")


@pytest.mark.parametrize(
    "item",
    [
        ValueError("disk"),
        KeyError("x"),
        RuntimeError(),
        "text",
        {"text": 1},
        (),
        (torch.zeros(3, 4, 4), "cat"),
        (torch.zeros(3, 4, 4), 1.5),
        (torch.zeros(3, 4, 4), -1),
        (torch.zeros(3, 4, 4), True),
        torch.full((3, 4, 4), float("nan")),
        torch.zeros(3, 4, 4, dtype=torch.int64),
        np.array(["a"]),
    ],
)
def test_a_bad_item_is_an_error_of_that_item_alone(item):
    source = DatasetSource(Items([PIXELS[0], item]), name="d")
    assert source[0].label is None
    with pytest.raises(DataError, match="d/1"):
        source[1]


def test_a_float_data_set_is_shown_unnormalised():
    preprocessing = Preprocessing(mean=(0.5,), std=(0.25,))
    x = preprocessing.normalise(PIXELS[0] / 255)
    example = DatasetSource(Items([x]), preprocessing=preprocessing)[0]
    assert torch.equal(example.x, x)
    torch.testing.assert_close(example.display, PIXELS[0] / 255)


@pytest.mark.parametrize(
    ("pixels", "labels"),
    [
        (torch.zeros(3), None),
        (torch.zeros(3, 1, 2, 2, dtype=torch.int64), None),
        (PIXELS, LABELS[:2]),
        (PIXELS, LABELS.float()),
        (PIXELS, LABELS - 1),
        (PIXELS, LABELS > 0),
    ],
)
def test_what_does_not_fit_is_refused(pixels, labels):
    with pytest.raises(DataError, match="expected"):
        TensorSource(pixels, labels)


def test_not_finite_pixels_are_refused():
    x = torch.zeros(2, 1, 2, 2)
    x[1, 0, 0, 0] = float("inf")
    source = TensorSource(x)
    assert source[0].x.max() == 0
    with pytest.raises(DataError, match="item/1"):
        source[1]
    with pytest.raises(DataError, match="NaN or infinite"):
        source.stacked([0, 1])


def test_iteration_ends():
    assert [example.label for example in TensorSource(PIXELS, LABELS)] == LABELS.tolist()
    with pytest.raises(IndexError):
        TensorSource(PIXELS)[5]


def test_what_users_have_becomes_a_source():
    source = TensorSource(PIXELS, LABELS)
    assert as_source(source) is source
    assert len(as_source(PIXELS)) == 5
    assert as_source((PIXELS.numpy(), LABELS.numpy()))[0].label == 4
    assert as_source(Items([(PIXELS[0], 3)]), name="mine")[0].name == "mine/0"
    assert isinstance(source, ImageSource)
    with pytest.raises(DataError, match="map-style"):
        as_source(iter([1, 2]))


def test_names_are_known_without_loading():
    for source in (TensorSource(PIXELS), DatasetSource(Items([PIXELS[0], PIXELS[1]]))):
        assert source.names == tuple(source[i].name for i in range(len(source)))


def test_figures_get_the_unit_interval():
    assert torch.equal(displayable(PIXELS[0] / 255), PIXELS[0] / 255)
    scaled = displayable(torch.tensor([-1.0, 0.0, 3.0]))
    assert torch.equal(scaled, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(displayable(torch.full((2,), 7.0)), torch.full((2,), 0.5))

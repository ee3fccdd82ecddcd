import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from salsanity.data.examples import ImageSource, check_repeatable, without_label
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
        (torch.zeros(3, 4, 4, dtype=torch.int16), 1),
        {"image": "cat.png", "label": 1},
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


@pytest.mark.parametrize(
    "label",
    [
        torch.tensor([0, 1, 1]),
        np.array([0.5, 0.5]),
        [0, 1],
        -1,
        -7,
        1.5,
        True,
        float("nan"),
        "cat",
        {"boxes": 1},
        torch.tensor(True),
    ],
    ids=str,
)
def test_a_label_that_is_no_class_index_spoils_no_image(label):
    example = DatasetSource(Items([(PIXELS[0], label)]), name="d")[0]
    assert torch.equal(example.x, PIXELS[0] / 255)
    assert example.label is None
    assert example.why_unlabelled.startswith("its label is")


def test_who_needs_labels_learns_why_there_are_none():
    source = DatasetSource(Items([(PIXELS[0], 1), (PIXELS[1], [0, 1]), PIXELS[2]]), name="d")
    assert without_label(source, [0]) is None
    assert without_label(source, [0, 1]) == "d/1: its label is a list, which is no class index"
    assert without_label(source, [2]) == "d/2: it has no label"


@pytest.mark.parametrize(
    ("label", "index"), [(3.0, 3), (np.float32(2), 2), (torch.tensor([[4.0]]), 4), ("dog", 1)]
)
def test_labels_that_can_only_mean_one_class_are_understood(label, index):
    source = DatasetSource(Items([(PIXELS[0], label)]), class_names=("cat", "dog"))
    assert source[0].label == index


def picture(mode):
    image = Image.new("RGB", (4, 4), (200, 100, 50))
    if mode == "LA":
        image = image.convert("L")
        image.putalpha(255)
        return image
    if mode == "I;16":
        return Image.fromarray(np.full((4, 4), 65535, np.uint16))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("L", 1), ("LA", 1), ("1", 1), ("I;16", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3)],
)
def test_pictures_of_pillow_become_pixels_of_the_unit_interval(mode, shape):
    example = DatasetSource(Items([picture(mode)]))[0]
    assert example.x.shape == (shape, 4, 4)
    assert example.x.dtype == torch.float32
    assert 0 < example.x.max() <= 1
    if mode in ("P", "RGB", "RGBA"):
        wanted = torch.tensor([200, 100, 50]) / 255
        torch.testing.assert_close(example.x[:, 0, 0], wanted, atol=0.02, rtol=0)


def test_pictures_are_preprocessed_like_files():
    preprocessing = Preprocessing(size=2, resize=2, mean=(0.5,), std=(0.25,))
    example = DatasetSource(Items([picture("RGB")]), preprocessing=preprocessing)[0]
    wanted = torch.tensor([200, 100, 50]) / 255
    torch.testing.assert_close(example.display, wanted[:, None, None].expand(3, 2, 2))
    torch.testing.assert_close(example.x, (example.display - 0.5) / 0.25)


def test_a_mapping_without_a_known_key_but_one_picture():
    example = DatasetSource(Items([{"jpg": picture("RGB"), "label": 2, "text": "a"}]))[0]
    assert (example.x.shape, example.label) == ((3, 4, 4), 2)


def test_subclasses_and_gradients_are_left_behind():
    class Meta(torch.Tensor):
        pass

    x = (PIXELS[0] / 255).requires_grad_()
    for item in (x, x.detach().as_subclass(Meta)):
        got = DatasetSource(Items([item]))[0].x
        assert type(got) is torch.Tensor
        assert not got.requires_grad


def test_random_transforms_are_found_out():
    steady, random = Items([PIXELS[0]]), Items([PIXELS[0]])
    check_repeatable(DatasetSource(steady), 0)
    calls = iter(range(10))
    random.__class__ = type(
        "Random", (Items,), {"__getitem__": lambda self, i: PIXELS[0] + next(calls)}
    )
    with pytest.raises(DataError, match="random transforms"):
        check_repeatable(DatasetSource(random, name="d"), 0)


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
        (PIXELS, LABELS - 2),
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


BATCHES = {
    "a list": [PIXELS, LABELS],
    "a list with more": [PIXELS, LABELS, torch.arange(5)],
    "a tuple with more": (PIXELS, LABELS, torch.arange(5)),
    "a mapping": {"pixel_values": PIXELS, "labels": LABELS},
    "arrays in a mapping": {"image": PIXELS.numpy(), "label": LABELS.numpy()},
    "one column": (PIXELS, LABELS[:, None]),
    "real numbers": (PIXELS, LABELS.float()),
    "one-hot rows": (PIXELS, torch.eye(5, dtype=torch.int64)[LABELS]),
    "one-hot truth values": [PIXELS, torch.eye(5)[LABELS] > 0],
    "small numbers": (PIXELS.numpy(), LABELS.numpy().astype("uint16")),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_of_a_loader_is_images_and_labels(name):
    source = as_source(BATCHES[name])
    assert [example.label for example in source] == LABELS.tolist()
    assert torch.equal(source[2].x, PIXELS[2] / 255)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (torch.rand(5, 5), "real numbers of shape"),
        (torch.ones(5, 5), "shape"),
        (LABELS - 3, "5 numbers"),
        (LABELS + 0.5, "5 real numbers"),
        (LABELS > 1, "5 truth values"),
        (np.array(["cat"] * 5), "no numbers"),
        (torch.rand(5, 2, 2), "shape"),
    ],
)
def test_labels_that_are_none_leave_the_images_and_say_why(labels, why):
    source = as_source((PIXELS, labels))
    assert [example.label for example in source] == [None] * 5
    assert why in source.why_unlabelled
    assert why in without_label(source, [0])
    assert stack(source, [0, 1])[1] is None


def test_some_labels_may_be_unknown():
    source = as_source((PIXELS, torch.tensor([4, -1, 1, 1, 2])))
    assert [example.label for example in source] == [4, None, 1, 1, 2]
    assert stack(source, [0, 2])[1].tolist() == [4, 1]
    assert stack(source, [0, 1])[1] is None


def test_a_list_of_images_is_no_pair():
    assert len(as_source([PIXELS[0], PIXELS[1]])) == 2
    assert as_source([PIXELS[0].numpy(), PIXELS[1].numpy()])[1].x.shape == (3, 4, 4)
    assert as_source([(PIXELS[0], 3), (PIXELS[1], 2)])[1].label == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"train": Items([PIXELS[0]]), "test": Items([])}, "test, train; give one of its parts"),
        ((x for x in PIXELS), r"next\(iter\(data\)\)"),
        ((PIXELS, LABELS[:3]), "5 labels"),
        ("photos", "got str"),
    ],
)
def test_what_cannot_be_images_is_said(data, words):
    with pytest.raises(DataError, match=words):
        as_source(data)


def test_names_are_known_without_loading():
    for source in (TensorSource(PIXELS), DatasetSource(Items([PIXELS[0], PIXELS[1]]))):
        assert source.names == tuple(source[i].name for i in range(len(source)))


def test_figures_get_the_unit_interval():
    assert torch.equal(displayable(PIXELS[0] / 255), PIXELS[0] / 255)
    scaled = displayable(torch.tensor([-1.0, 0.0, 3.0]))
    assert torch.equal(scaled, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(displayable(torch.full((2,), 7.0)), torch.full((2,), 0.5))

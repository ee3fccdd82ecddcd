import gzip
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salsanity.data.idx import idx_source, read_idx
from salsanity.errors import DataError


def written(array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


IMAGES = np.arange(3 * 4 * 5).reshape(3, 4, 5)
LABELS = np.array([7, 0, 9])


@pytest.fixture
def files(tmp_path):
    (tmp_path / "images").write_bytes(gzip.compress(written(IMAGES)))
    (tmp_path / "labels").write_bytes(written(LABELS))
    return tmp_path / "images", tmp_path / "labels"


def check_source(source):
    assert len(source) == 3
    for i in range(3):
        assert torch.equal(source[i].x, torch.from_numpy(IMAGES[i][None] / np.float32(255)).float())
        assert source[i].label == LABELS[i]
        assert source[i].name == f"t10k/{i}"


def test_zipped_or_not(files):
    source = idx_source(*files, name="mnist", prefix="t10k")
    check_source(source)
    source.pixels.copy_(source.pixels.flip(2))
    with pytest.raises(AssertionError):
        check_source(source)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.booleans())
def test_any_shape_comes_back(tmp_path_factory, shape, zipped):
    array = np.arange(np.prod(shape)).reshape(shape) % 256
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(gzip.compress(written(array)) if zipped else written(array))
    assert np.array_equal(read_idx(path), array)


GOOD = written(IMAGES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\0\0\x08",
        b"PK\x03\x04",
        GOOD[:-1],
        GOOD + b"x",
        GOOD[:9],
        b"\0\0\x0d" + GOOD[3:],
        b"\0\0\x08\0",
        b"\0\0\x08\xff" + b"\xff" * 2000,
        b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\x08\x01\x7f\xff\xff\xffabc",
        gzip.compress(GOOD, mtime=0)[:-9],
        gzip.compress(GOOD, mtime=0)[:12],
        b"\x1f\x8b",
        b"\x1f\x8b" + b"\0" * 40,
        gzip.compress(GOOD + b"x", mtime=0),
    ],
)
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"expected .*a"):
        read_idx(path)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, headed):
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes((b"\0\0\x08" if headed else b"") + content)
    try:
        read_idx(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(written(np.zeros((100, 100, 100), np.uint8))))
    with pytest.raises(DataError, match="at most 1000 bytes"):
        read_idx(path, max_bytes=1000)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match="cannot read"):
            read_idx(path)


def test_files_that_do_not_belong_together(tmp_path, files):
    images, labels = files
    (tmp_path / "two").write_bytes(written(LABELS[:2]))
    for pair in ((images, tmp_path / "two"), (labels, labels), (images, images)):
        with pytest.raises(DataError, match="expected"):
            idx_source(*pair, name="x", prefix="x")


def test_mnist_is_fed_as_pixels_over_255(shared_data):
    folder = shared_data / "mnist"
    source = idx_source(
        folder / "t10k-images-idx3-ubyte.gz",
        folder / "t10k-labels-idx1-ubyte.gz",
        name="mnist",
        prefix="t10k",
    )
    raw = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    twelfth = np.frombuffer(raw, np.uint8)[16 + 12 * 784 : 16 + 13 * 784].reshape(1, 28, 28)
    assert len(source) == 10_000
    assert torch.equal(source[12].x, torch.from_numpy(twelfth.astype(np.float32) / 255))
    assert source[12].x.min() == 0
    assert source[12].x.max() == 1
    assert source[12].name == "t10k/12"

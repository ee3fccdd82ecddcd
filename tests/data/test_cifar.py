import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from salsanity.data import cifar
from salsanity.data.cifar import CLASS_NAMES, MEMBERS, archive_source, npz_source
from salsanity.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
Y = np.array([3, 8, 0, 9])


def npz(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def check_npz(source):
    assert len(source) == 4
    for i in range(4):
        assert torch.equal(source[i].x, torch.from_numpy(X[i]).permute(2, 0, 1) / 255)
        assert source[i].label == Y[i]
    assert source.class_names == CLASS_NAMES


def test_an_npz(tmp_path):
    check_npz(npz_source(npz(tmp_path / "a.npz", x=X, y=Y)))
    wrong = npz_source(npz(tmp_path / "b.npz", x=X.transpose(0, 2, 1, 3), y=Y))
    with pytest.raises(AssertionError):
        check_npz(wrong)


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (self.target, "w"))


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": X},
        {"y": Y},
        {"x": X, "y": Y[:2]},
        {"x": X, "y": Y.astype(float)},
        {"x": X, "y": Y + 1},
        {"x": X / 255, "y": Y},
        {"x": X[:0], "y": Y[:0]},
        {"x": X[..., 0], "y": Y},
        {"x": X[..., :2], "y": Y},
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays):
    with pytest.raises(DataError, match="expected"):
        npz_source(npz(tmp_path / "a.npz", **arrays))


def test_no_pickle_is_read_from_an_npz(tmp_path):
    target = tmp_path / "exploded"
    objects = np.array([Bomb(str(target))], dtype=object)
    path = npz(tmp_path / "a.npz", x=objects, y=Y)
    with pytest.raises(DataError):
        npz_source(path)
    path.write_bytes(pickle.dumps(Bomb(str(target))))
    with pytest.raises(DataError):
        npz_source(path)
    assert not target.exists()


def test_an_npz_bomb(tmp_path, monkeypatch):
    path = npz(tmp_path / "a.npz", x=np.zeros((400, 32, 32, 3), np.uint8), y=np.zeros(400, int))
    monkeypatch.setattr(cifar, "MAX_BYTES", 1_000_000)
    with pytest.raises(DataError, match="unpacks to"):
        npz_source(path)


def test_a_zip_cut_anywhere(tmp_path):
    whole = npz(tmp_path / "a.npz", x=X, y=Y).read_bytes()
    for length in range(0, len(whole), 501):
        (tmp_path / "b.npz").write_bytes(whole[:length])
        with pytest.raises(DataError, match="cannot read"):
            npz_source(tmp_path / "b.npz")


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
        archive.writestr("y.npy", b"")
    with pytest.raises(DataError, match="cannot read"):
        npz_source(tmp_path / "a.npz")


def archive(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


COUNT = 30
"""Images in a file of the archive here; 10,000 in the real one."""


def records(first_label):
    labels = (np.arange(COUNT) + first_label) % 10
    body = np.zeros((COUNT, 3073), np.uint8)
    body[:, 0] = labels
    body[0, 1:] = np.arange(3072) % 256
    return body.tobytes()


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    assert cifar.RECORDS == 10_000
    monkeypatch.setattr(cifar, "RECORDS", COUNT)


@pytest.fixture
def official(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    names = [*MEMBERS["train"], *MEMBERS["test"]]
    return archive(path, {name: records(i) for i, name in enumerate(names)})


def test_the_archive(official):
    test = archive_source(official, "test")
    train = archive_source(official, "train")
    assert (len(test), len(train)) == (COUNT, 5 * COUNT)
    wanted = (torch.arange(3072) % 256).reshape(3, 32, 32)
    assert torch.equal(train[0].x, wanted / 255)
    assert [train[i * COUNT].label for i in range(5)] == [0, 1, 2, 3, 4]
    assert (test[0].label, test[0].name) == (5, "test/0")


def test_the_pickled_version_is_refused(tmp_path):
    path = archive(tmp_path / "a", {"cifar-10-batches-py/data_batch_1": b"\x80\x04."})
    with pytest.raises(DataError, match="pickles"):
        archive_source(path, "train")


@pytest.mark.parametrize("content", [b"short", records(0) + b"x"])
def test_members_of_another_size(tmp_path, content):
    path = archive(tmp_path / "a", {MEMBERS["test"][0]: content}, mode="w")
    with pytest.raises(DataError, match="expected 92190 bytes"):
        archive_source(path, "test")


def test_a_link_in_the_archive_is_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a", "w") as tar:
        info = tarfile.TarInfo(MEMBERS["test"][0])
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(DataError, match="expected"):
        archive_source(tmp_path / "a", "test")


def test_damaged_archives(tmp_path, official):
    whole = official.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:100]):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(DataError):
            archive_source(tmp_path / "a", "train")


def test_the_real_one(shared_data):
    source = npz_source(shared_data / "cifar10" / "test.npz")
    assert len(source) == 10_000
    assert source[0].x.shape == (3, 32, 32)
    assert torch.bincount(source.labels).tolist() == [1000] * 10

"""Images by paths and URLs, in tar shards, saved by Hugging Face's datasets, from data sets that only iterate; and on S3."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from salsanity.data import tensors
from salsanity.data.decode import Limits
from salsanity.data.examples import ImageSource, image_id
from salsanity.data.preprocessing import Preprocessing
from salsanity.data.shards import ShardSource, expanded, open_shards
from salsanity.data.sources import open_data, open_images
from salsanity.data.tensors import as_source
from salsanity.data.urls import UrlSource, open_list, open_urls
from salsanity.errors import DataError

COUNT = 6
PIXELS = torch.randint(
    0, 256, (COUNT, 5, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
)
X = PIXELS.permute(0, 3, 1, 2) / 255


def png(k: int) -> bytes:
    found = io.BytesIO()
    Image.fromarray(PIXELS[k].numpy()).save(found, "PNG")
    return found.getvalue()


def holds_the_pixels(source: ImageSource, order: list[int] | None = None) -> None:
    asked = order or list(range(COUNT))
    assert len(source) == len(asked)
    again: ImageSource = pickle.loads(pickle.dumps(source))  # as a worker gets it
    for one in (source, again):
        for place, k in reversed([*enumerate(asked)]):
            assert torch.equal(one[place].x, X[k])
    assert len({example.name for example in (source[i] for i in range(len(source)))}) == len(asked)
    assert list(getattr(source, "names", [])) == [source[i].name for i in range(len(source))]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{k}.png" for k in range(COUNT)]
    for k, path in enumerate(paths):
        path.write_bytes(png(k))
    return paths


def in_memory(name: str) -> list[str]:
    urls = [f"memory://{name}/{k}.png" for k in range(COUNT)]
    for k, url in enumerate(urls):
        with fsspec.open(url, "wb") as file:
            file.write(png(k))
    return urls


def shard(path: Path, keys: list[int], *, label: str = "cls", mode: str = "w") -> Path:
    """As WebDataset writes it: the files of an item one after another."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for k in keys:
            told = json.dumps({"label": k % 3}) if label == "json" else str(k % 3)
            for name, content in (
                (f"s/{k:04d}.png", png(k)),
                (f"s/{k:04d}.{label}", told.encode()),
            ):
                about = tarfile.TarInfo(name)
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
    return path


def test_paths_and_urls_of_several_kinds(files: list[Path]) -> None:
    holds_the_pixels(open_urls(files))
    holds_the_pixels(open_urls([f"file://{path}" for path in files]))
    holds_the_pixels(open_urls(in_memory("several")))
    source, odd = open_images([*map(str, files[:3]), *in_memory("several")[3:]])
    assert odd == ()
    holds_the_pixels(source)


def test_a_list_file_has_paths_beside_it_and_labels(files: list[Path]) -> None:
    listed = files[0].parent / "some.txt"
    listed.write_text("".join(f"{path.name}\t{k}\n" for k, path in enumerate(files)) + "\n")
    source = open_data(str(listed))
    assert source.name == "some"
    holds_the_pixels(source)
    assert [source[k].label for k in range(COUNT)] == list(range(COUNT))
    listed.write_text("0.png\tcat\n")
    with pytest.raises(DataError, match=r"class index in line 1 of .*some\.txt, got 'cat'"):
        open_list(listed)


def test_a_folder_at_a_url_is_listed() -> None:
    in_memory("folder/inside")
    holds_the_pixels(open_data("memory://folder"))
    with pytest.raises(DataError, match="expected images below memory://nothing"):
        open_data("memory://nothing")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://lost/1.png", "image 'memory://lost/1.png': it cannot be read: FileNotFound"),
        ("nosuch://a/1.png", "it cannot be read: ValueError: Protocol not known: nosuch"),
        ("/nowhere/1.png", "it cannot be read: No such file"),
    ],
)
def test_what_cannot_be_fetched_is_an_error_of_that_image(url: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_urls([url])[0]


def test_limits_hold_for_urls_and_shards(tmp_path: Path) -> None:
    limits = Limits(max_bytes=20)
    url = UrlSource(tuple(in_memory("limits")), limits=limits)
    found = open_shards([shard(tmp_path / "a.tar", [0])])
    tar = ShardSource(found.shards, found.items, limits=limits)
    for source in (url, tar):
        with pytest.raises(DataError, match="expected at most 20 bytes"):
            source[0]


def test_an_empty_list_and_one_with_an_image_twice_are_refused() -> None:
    with pytest.raises(DataError, match="at least one path or URL"):
        open_urls([])
    with pytest.raises(DataError, match=r"each image once in urls, got 'a\.png' twice"):
        open_urls(["a.png", "b.png", "a.png"])


@pytest.mark.parametrize("label", ["cls", "json"])
def test_shards_are_read_where_they_lie(tmp_path: Path, label: str) -> None:
    order = [3, 0, 5, 1, 2, 4]
    for number in range(2):
        keys = order[3 * number : 3 * number + 3]
        shard(tmp_path / f"part-{number:03d}.tar", keys, label=label)
    by_brace = open_data(f"{tmp_path}/part-{{000..001}}.tar")
    for source in (by_brace, open_data(str(tmp_path)), open_data(f"file://{tmp_path}")):
        holds_the_pixels(source, order)
        assert [source[i].label for i in range(COUNT)] == [k % 3 for k in order]
    assert by_brace[0].name == "part-000.tar/s/0003"


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")  # it leaves its file open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards_that_webdataset_writes_and_reads(tmp_path: Path) -> None:
    library = pytest.importorskip("webdataset", reason="webdataset is not installed")
    path = tmp_path / "its.tar"
    with library.TarWriter(str(path)) as out:
        for k in range(COUNT):
            out.write({"__key__": f"{k:04d}", "png": png(k), "cls": k % 3})
    source = open_shards([path])
    holds_the_pixels(source)
    theirs = (
        library.WebDataset(str(path), shardshuffle=False).decode("torchrgb").to_tuple("png", "cls")
    )
    for k, (x, label) in enumerate(theirs):
        assert torch.equal(source[k].x, x)
        assert source[k].label == label


@pytest.mark.parametrize(
    ("what", "words"), [("gz", "not compressed"), ("cut", "damaged|cannot be")]
)
def test_shards_that_cannot_be_read_in_place_are_refused(
    tmp_path: Path, what: str, words: str
) -> None:
    path = tmp_path / "a.tar"
    shard(path, [0, 1], mode="w:gz" if what == "gz" else "w")
    if what == "cut":
        path.write_bytes(b"\1" * 600)
        words = "tar file"
    with pytest.raises(DataError, match=words):
        open_shards([path])


def test_a_shard_that_became_shorter_is_an_error_of_its_last_images(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", [0, 1])
    source = open_shards([path])
    os.truncate(path, source.items[1].start + 10)
    assert torch.equal(source[0].x, X[0])
    with pytest.raises(DataError, match="shorter than it was"):
        source[1]


def test_braces_stand_for_numbers() -> None:
    assert expanded("a{08..11}b{0..1}") == tuple(
        f"a{n}b{m}" for n in ("08", "09", "10", "11") for m in "01"
    )
    assert expanded("a{x..y}") == ("a{x..y}",)


class Iterated(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return iter([(x, k) for k, x in enumerate(X)])


def test_a_data_set_that_only_iterates_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = as_source(Iterated())
    holds_the_pixels(source)
    assert source[3].label == 3
    monkeypatch.setattr(tensors, "ITERATED", 5)
    with pytest.raises(DataError, match="at most 5 items in data, which only iterates"):
        as_source(Iterated())


def test_hugging_face_data_sets(tmp_path: Path) -> None:
    library = pytest.importorskip("datasets", reason="datasets is not installed")
    items: dict[str, Any] = {
        "image": [Image.fromarray(p.numpy()) for p in PIXELS],
        "label": [k % 3 for k in range(COUNT)],
    }
    kinds = library.Features({"image": library.Image(), "label": library.Value("int64")})
    found = library.Dataset.from_dict(items, features=kinds)
    found.save_to_disk(tmp_path / "saved")
    for source in (
        as_source(found, preprocessing=Preprocessing()),
        as_source(found.to_iterable_dataset(), preprocessing=Preprocessing()),
        open_data(str(tmp_path / "saved"), preprocessing=Preprocessing()),
    ):
        holds_the_pixels(source)
        assert [source[k].label for k in range(COUNT)] == [k % 3 for k in range(COUNT)]


def test_images_on_s3_by_configuration_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto's server is not installed")
    started = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    started.start()
    try:
        host, port = started.get_host_and_port()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        system = fsspec.filesystem("s3")
        system.mkdir("pictures")
        for k in range(COUNT):
            system.pipe(f"pictures/some/{k}.png", png(k))
        source = open_data("s3://pictures/some")
        assert [image_id(source[k].x) for k in range(COUNT)] == [image_id(x) for x in X]
        assert source[0].name == "s3://pictures/some/0.png"
    finally:
        started.stop()

"""`open_data`: from a name such as `mnist` or `file.py:function` to images."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from salsanity.data import cifar
from salsanity.data.decode import DEFAULT_LIMITS, Limits
from salsanity.data.digits import CLASS_NAMES as DIGITS
from salsanity.data.digits import digits_source
from salsanity.data.examples import ImageSource
from salsanity.data.fetch import find_or_fetch
from salsanity.data.idx import PREFIXES, idx_source
from salsanity.data.images import FolderSource, of_one_size, open_folder
from salsanity.data.preprocessing import Preprocessing
from salsanity.data.shards import TAR, open_shards
from salsanity.data.tensors import TensorSource, as_source
from salsanity.data.urls import LIST, listed, open_list, open_url_folder, open_urls
from salsanity.errors import DataError, UsageError
from salsanity.symbols import at_home, home_of, load_symbol

Split = Literal["train", "test"]

SAVED: Final = ("state.json", "dataset_info.json")
"""What a folder holds that Hugging Face's `save_to_disk` wrote."""

NAMES: Final = ("digits", "mnist", "fashion_mnist", "cifar10")

FASHION: Final = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def open_data(
    spec: str,
    *,
    data_dir: Path | None = None,
    split: str = "test",
    preprocessing: Preprocessing | None = None,
) -> ImageSource:
    """Open the data set that `spec` names.

    `spec`: one of `NAMES`; a folder of images, of WebDataset shards or of Hugging Face's `save_to_disk` (its subfolder `train` or
    `test` where it has one); shards (`a-{000..012}.tar`); a .txt of paths or URLs; a folder at a URL; or
    `file.py:function`, which runs that code: the function returns what `as_source` takes, and is
    told the split if it has a parameter `split`. The files of `NAMES` come from `data_dir`,
    SALSANITY_DATA or the web. Pixels are x / 255; without `preprocessing` they are not normalised.
    Raises `DataError` where anything is missing or damaged.
    """
    part = _split(split)
    if spec == "digits":
        return digits_source(part, preprocessing=preprocessing)
    if spec == "cifar10":
        return _cifar(part, data_dir, preprocessing)
    if spec in NAMES:
        return _idx(spec, part, data_dir, preprocessing)
    if ".py:" in spec:
        return _from_function(spec, part, preprocessing)
    elsewhere = _by_url(spec, preprocessing)
    if elsewhere is not None:
        return elsewhere
    folder = Path(spec).expanduser()
    if spec and folder.is_dir():
        inside = folder / part
        return _in_folder(inside if inside.is_dir() else folder, preprocessing)
    raise DataError(_unknown(spec))


def _by_url(spec: str, preprocessing: Preprocessing | None) -> ImageSource | None:
    """Open shards, a list of paths or URLs, or a folder at a URL; None where `spec` is none of them."""
    if spec.endswith(TAR):
        name = Path(spec).name.partition(".")[0]
        return open_shards([spec], name=name, preprocessing=preprocessing)
    path = Path(spec).expanduser()
    if spec.endswith(LIST) and path.is_file():
        return open_list(path, preprocessing=preprocessing)
    if "://" not in spec:
        return None
    shards = listed(spec, [TAR])
    if shards:
        return open_shards(
            shards, name=spec.rstrip("/").rpartition("/")[2], preprocessing=preprocessing
        )
    return open_url_folder(spec, preprocessing=preprocessing)


def _in_folder(folder: Path, preprocessing: Preprocessing | None) -> ImageSource:
    """Open a folder of images, of shards, or one that Hugging Face's `save_to_disk` wrote."""
    if all((folder / name).is_file() for name in SAVED):
        return as_source(_saved(folder), name=folder.resolve().name, preprocessing=preprocessing)
    shards = sorted(folder.glob(f"*{TAR}"))
    if shards:
        name = folder.resolve().name
        return open_shards(shards, name=name, preprocessing=preprocessing)
    return open_folder(folder, preprocessing=preprocessing)


def _saved(folder: Path) -> Any:
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise DataError(
            f"expected Hugging Face datasets for {folder}, got {error}; pip install datasets"
        ) from error
    return load_from_disk(str(folder))


def open_images(
    images: Any,
    *,
    name: str = "data",
    class_names: tuple[str, ...] | None = None,
    preprocessing: Preprocessing | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[ImageSource, tuple[str, ...]]:
    """Take what a user has: a folder, paths or URLs, or whatever `as_source` takes; return it, and what is to be said of it.

    A folder whose images differ in size is brought to one, as on the command line, if `preprocessing` names none.
    """
    if isinstance(images, str) and ("://" in images or images.endswith((TAR, LIST))):
        return open_data(images, preprocessing=preprocessing), ()
    if (
        isinstance(images, list | tuple)
        and images
        and all(isinstance(i, str | Path) for i in images)
    ):
        return open_urls(images, name=name, preprocessing=preprocessing), ()
    if isinstance(images, str | Path):
        folder = Path(images).expanduser()
        source, note = of_one_size(
            open_folder(folder, preprocessing=preprocessing, class_names=class_names, limits=limits)
        )
        return source, (*oddities(source), *([note] if note else []))
    found = as_source(images, name=name, class_names=class_names, preprocessing=preprocessing)
    return found, oddities(found)


def oddities(source: ImageSource) -> tuple[str, ...]:
    """Say what is odd about images: files that are none, labels that fit no file or are no class indices."""
    if isinstance(source, FolderSource):
        return source.notes
    why = source.why_unlabelled if isinstance(source, TensorSource) else None
    return () if why is None else (f"The labels of {source.name} are not used: {why}.",)


def _split(split: str) -> Split:
    if split == "train":
        return "train"
    if split == "test":
        return "test"
    raise DataError(f"expected the split train or test, got {split!r}")


def _idx(
    name: str, split: Split, data_dir: Path | None, preprocessing: Preprocessing | None
) -> ImageSource:
    prefix = PREFIXES[split]
    images, labels = (
        find_or_fetch(
            name, (f"{prefix}-{part}-ubyte.gz", f"{prefix}-{part}-ubyte"), data_dir=data_dir
        )
        for part in ("images-idx3", "labels-idx1")
    )
    return idx_source(
        images,
        labels,
        name=name,
        prefix=prefix,
        class_names=DIGITS if name == "mnist" else FASHION,
        preprocessing=preprocessing,
    )


def _cifar(split: Split, data_dir: Path | None, preprocessing: Preprocessing | None) -> ImageSource:
    arrays = ("test.npz",) if split == "test" else ("train.npz", "train_10000.npz")
    path = find_or_fetch("cifar10", (*arrays, "cifar-10-binary.tar.gz"), data_dir=data_dir)
    if path.suffix == ".npz":
        return cifar.npz_source(path, prefix=split, preprocessing=preprocessing)
    return cifar.archive_source(path, split, preprocessing=preprocessing)


def _from_function(spec: str, split: Split, preprocessing: Preprocessing | None) -> ImageSource:
    function = _function(spec)
    try:
        told = {"split": split} if "split" in inspect.signature(function).parameters else {}
        with at_home(home_of(spec)):  # what it imports only now lies there
            data = function(**told)
    except Exception as error:  # user code may raise anything
        raise DataError(f"{spec} failed: {type(error).__name__}: {error}") from error
    name = spec.rpartition(":")[2]
    return as_source(data, name=name, preprocessing=preprocessing)


def _function(spec: str) -> Callable[..., Any]:
    try:
        function = load_symbol(spec)
    except UsageError as error:
        raise DataError(str(error)) from error
    if not callable(function):
        raise DataError(f"expected a function as {spec}, got {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def _unknown(spec: str) -> str:
    close = difflib.get_close_matches(spec, NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    known = ", ".join(NAMES)
    return f"expected a data set ({known}), a folder, shards (.tar), a list (.txt), a URL or file.py:function, got {spec!r}{hint}"

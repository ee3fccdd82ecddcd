"""Finding a data set's files: in a folder of the user's, else fetched once into the user's cache.

Downloads go over https, to a temporary name, and count only if their checksum is the published one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from salsanity.errors import DataError

DATA_VARIABLE: Final = "SALSANITY_DATA"
TIMEOUT: Final = 30
"""Seconds without an answer after which a download is given up."""


@final
@dataclass(frozen=True)
class Remote:
    """A file that can be fetched: its name, https address and checksum (`algorithm:hex`)."""

    name: str
    url: str
    checksum: str


def _family(base: str, checksums: dict[str, str]) -> dict[str, Remote]:
    return {name: Remote(name, base + name, f"md5:{md5}") for name, md5 in checksums.items()}


REMOTES: Final[dict[str, dict[str, Remote]]] = {
    "mnist": _family(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": _family(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar10": _family(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
}


def find_or_fetch(dataset: str, names: Sequence[str], *, data_dir: Path | None) -> Path:
    """Return the first of the files `names` in a folder of the user's, or fetch one.

    Looks in `data_dir`, then in the folder that SALSANITY_DATA names: in a subfolder called like
    the data set, then directly. Raises `DataError` if the file is neither there nor to be had.
    """
    places = _places(dataset, data_dir)
    for place in places:
        for name in names:
            if (place / name).is_file():
                return place / name
    remote = next((REMOTES[dataset][name] for name in names if name in REMOTES[dataset]), None)
    if remote is None:
        raise DataError(f"expected one of {', '.join(names)} in {_listed(places)}; found none")
    return _fetched(dataset, remote, places)


def _places(dataset: str, data_dir: Path | None) -> tuple[Path, ...]:
    variable = os.environ.get(DATA_VARIABLE)
    tops = [data_dir, Path(variable) if variable else None]
    return tuple(place for top in tops if top is not None for place in (top / dataset, top))


def _fetched(dataset: str, remote: Remote, places: Sequence[Path]) -> Path:
    import pooch  # only where something has to be fetched

    cache = Path(pooch.os_cache("salsanity")) / dataset
    try:
        with _quiet(pooch.get_logger()):
            found = pooch.retrieve(
                remote.url,
                remote.checksum,
                fname=remote.name,
                path=cache,
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
            )
    except (
        OSError,
        ValueError,
    ) as error:  # requests' errors are OSErrors; a wrong checksum a ValueError
        looked = f"it is not in {_listed(places)}, and " if places else ""
        raise DataError(
            f"cannot get {remote.name} of {dataset}: {looked}fetching {remote.url} failed "
            f"({error}); put the file into a folder DIR/{dataset} and give --data-dir DIR, or set "
            f"{DATA_VARIABLE}=DIR"
        ) from error
    return Path(found)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Pooch reports each download on stderr; progress is the caller's to show."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _listed(places: Sequence[Path]) -> str:
    return " or ".join(str(place) for place in places) or "no folder (no --data-dir was given)"

"""Images by a list of paths or URLs, read one by one by whoever needs them (fsspec: file, memory, http, s3, gs, ...).

Accounts and endpoints are fsspec's own configuration (FSSPEC_S3_ENDPOINT_URL, ~/.config/fsspec, ...).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import fsspec
from torch import Tensor

from salsanity.data.decode import DEFAULT_LIMITS, SUFFIXES, Limits, decode, decode_stream
from salsanity.data.examples import Example
from salsanity.data.images import printable
from salsanity.data.preprocessing import Preprocessing
from salsanity.errors import DataError

LIST: Final = ".txt"


@final
@dataclass(frozen=True, eq=False)
class UrlSource:
    """Images by their paths or URLs, in the order given; `labels`: class index by URL."""

    urls: tuple[str, ...]
    name: str = "urls"
    labels: Mapping[str, int] = field(default_factory=dict)
    preprocessing: Preprocessing = Preprocessing()
    class_names: tuple[str, ...] | None = None
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        """Refuse a list without images, and one that names an image twice."""
        if not self.urls:
            raise DataError(f"expected at least one path or URL of an image in {self.name}")
        if len(set(self.urls)) < len(self.urls):
            twice = next(url for url in self.urls if self.urls.count(url) > 1)
            raise DataError(f"expected each image once in {self.name}, got {twice!r} twice")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the items, without loading them."""
        return tuple(map(printable, self.urls))

    def looks(self, index: int) -> tuple[int, int] | None:
        """Return size and time of change of a local file; None elsewhere."""
        url = self.urls[index]
        try:
            found = Path(url.removeprefix("file://")).stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def __len__(self) -> int:
        """How many are listed."""
        return len(self.urls)

    def __getitem__(self, index: int) -> Example:
        """Fetch and decode image `index`; every failure is a `DataError` with its URL."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        url = self.urls[index]
        try:
            display = self._decoded(url)
        except DataError as error:
            raise DataError(f"image {printable(url)!r}: {error}") from error
        x = self.preprocessing.normalise(display)
        return Example(x, self.labels.get(url), printable(url), display)

    def _decoded(self, url: str) -> Tensor:
        if "://" not in url:
            return decode(Path(url), self.preprocessing, limits=self.limits)
        content = io.BytesIO(fetched(url, self.limits))
        return decode_stream(content, self.preprocessing, limits=self.limits)


def fetched(url: str, limits: Limits) -> bytes:
    """Return the content of a file, up to the limit of bytes."""
    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read(limits.max_bytes + 1)
    except ImportError as error:  # the package for this kind of URL
        raise DataError(f"it cannot be read: {error}") from error
    except Exception as error:  # each file system has errors of its own
        raise DataError(f"it cannot be read: {_line(error)}") from error
    if len(content) > limits.max_bytes:
        raise DataError(
            f"expected at most {limits.max_bytes} bytes, it has more; raise --max-bytes if it is meant"
        )
    return content


def open_list(path: Path, *, preprocessing: Preprocessing | None = None) -> UrlSource:
    """Read a text file with a path or URL a line, and after a tab a class index where it is known.

    Paths that are not absolute are those beside the file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"expected a text file at {path}, but it cannot be read: {error}"
        ) from error
    urls, labels = [], {}
    for number, line in enumerate(lines, 1):
        url, tab, label = line.strip().partition("\t")
        if not url:
            continue
        url = url if "://" in url or Path(url).is_absolute() else str(path.parent / url)
        urls.append(url)
        if tab:
            labels[url] = _label(label, path, number)
    return UrlSource(tuple(urls), printable(path.stem), labels, preprocessing or Preprocessing())


def open_urls(
    urls: Sequence[str | Path], *, name: str = "urls", preprocessing: Preprocessing | None = None
) -> UrlSource:
    """Take a list of paths or URLs."""
    return UrlSource(tuple(map(str, urls)), name, {}, preprocessing or Preprocessing())


def open_url_folder(url: str, *, preprocessing: Preprocessing | None = None) -> UrlSource:
    """List the images below a URL, such as s3://bucket/folder."""
    found = listed(url, SUFFIXES)
    if not found:
        raise DataError(
            f"expected images below {url}, found none (looked for {', '.join(SUFFIXES)})"
        )
    name = url.rstrip("/").rpartition("/")[2] or "urls"
    return UrlSource(found, printable(name), {}, preprocessing or Preprocessing())


def listed(url: str, suffixes: Sequence[str]) -> tuple[str, ...]:
    """List the files with certain suffixes below a URL, sorted."""
    try:
        files: Any = fsspec.core.url_to_fs(url)
        system, top = files
        found = [path for path in system.find(top) if path.lower().endswith(tuple(suffixes))]
        return tuple(sorted(str(system.unstrip_protocol(path)) for path in found))
    except Exception as error:  # each file system has errors of its own
        raise DataError(f"expected to list {url}, but: {_line(error)}") from error


def _label(text: str, path: Path, number: int) -> int:
    if not text.strip().isdigit():
        raise DataError(f"expected a class index in line {number} of {path}, got {text!r}")
    return int(text)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]

"""A folder of images, flat or with one subfolder per class, read one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

from torch import Tensor

from salsanity.data.decode import DEFAULT_LIMITS, SUFFIXES, Limits, decode
from salsanity.data.examples import Example, image_id, seeded_order
from salsanity.data.preprocessing import Preprocessing
from salsanity.errors import DataError

__all__ = ["FolderSource", "Limits", "image_id", "of_one_size", "open_folder", "seeded_order"]

LABELS_FILE: Final = "labels.json"
MAX_LABELS_BYTES: Final = 64_000_000

USUAL_SIDE: Final = 224
"""Side of the crop where images differ in size, or are large, and nobody said which."""

LARGEST_AS_IS: Final = 256
"""Images of one size with no longer side were made for a network, and stay as they are; larger ones are photographs."""

SAMPLED: Final = 64
"""Images whose sizes are looked at, about."""

SHOWN: Final = 4


@final
@dataclass(frozen=True, eq=False)
class FolderSource:
    """Images of a folder; nothing is read before it is asked for.

    `files`: paths inside `folder`, sorted. `labels`: class index by path; `numbered`: the class
    subfolders in the order of the indices that their images were given, unless labels.json gives
    them. `ignored`: what lies there and has no image's suffix. `unmatched`: what labels.json names and is not there. A file
    that is broken, or a link out of the folder, is a `DataError` of that item alone.
    """

    folder: Path
    files: tuple[str, ...]
    labels: Mapping[str, int]
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None = None
    limits: Limits = DEFAULT_LIMITS
    ignored: tuple[str, ...] = ()
    numbered: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Say which files are no images, and which names in labels.json fit none."""
        found = []
        if self.ignored:
            found.append(
                f"{_counted(len(self.ignored), 'entry', 'entries')} of {self.name} without an image's suffix were left out: "
                f"{_some(self.ignored)}."
            )
        if self.unmatched:
            bare = sum(file not in self.labels for file in self.files)
            found.append(
                f"{_counted(len(self.unmatched), 'name', 'names')} in {LABELS_FILE} fit no file of {self.name}: "
                f"{_some(self.unmatched)}; {bare} of {len(self)} images have no label."
            )
        return tuple(found)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return printable(self.folder.resolve().name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the items, without loading them."""
        return tuple(printable(file) for file in self.files)

    def __len__(self) -> int:
        """How many files look like images."""
        return len(self.files)

    def looks(self, index: int) -> tuple[int, int] | None:
        """Return size and time of change of the file of image `index`, without reading it; None where it is gone."""
        try:
            found = (self.folder / self.files[index]).stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def __getitem__(self, index: int) -> Example:
        """Decode image `index`; every failure is a `DataError` with the file's name."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        file = self.files[index]
        try:
            path = _inside(self.folder, self.folder / file)
            display = decode(path, self.preprocessing, limits=self.limits)
        except DataError as error:
            raise DataError(f"image {printable(file)!r}: {error}") from error
        x = self.preprocessing.normalise(display)
        return Example(x, self.labels.get(file), printable(file), display)


@final
@dataclass(frozen=True, eq=False)
class ByClass(Mapping[str, int]):
    """The labels of files whose subfolders are classes; other files have none. They are not written down file by file."""

    files: tuple[str, ...]
    numbers: Mapping[str, int]
    """Class index by subfolder."""

    def __getitem__(self, file: str) -> int:
        """Return the number of the file's subfolder."""
        return self.numbers[file.partition("/")[0]]

    def __iter__(self) -> Iterator[str]:
        """Yield the files that have labels."""
        return iter(self.files if self.numbers else ())

    def __len__(self) -> int:
        """How many files have labels."""
        return len(self.files) if self.numbers else 0


def open_folder(
    folder: Path | str,
    *,
    preprocessing: Preprocessing | None = None,
    class_names: tuple[str, ...] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> FolderSource:
    """List a folder's images.

    Images at the top make it flat; else every subfolder is a class, numbered by sorted names. A
    labels.json at the top (path inside the folder -> class index) has the last word. Raises
    `DataError` if there is no such folder, no image in it, or the labels cannot be read.
    """
    top = Path(folder)
    found, others = _listed(top)
    classes: tuple[str, ...] | None = None
    if not found:
        classes = tuple(sorted(other for other in others if (top / other).is_dir()))
        for name in classes:
            inside, rest = _listed(_inside(top, top / name))
            found += [f"{name}/{file}" for file in inside]
            others += [f"{name}/{file}" for file in rest]
        others = [other for other in others if other not in classes]
    if not found:
        raise DataError(
            f"expected images in {printable(str(top))} or in its subfolders, found none "
            f"(looked for {', '.join(SUFFIXES)})"
        )
    files, named = tuple(sorted(found)), _read_labels(top)
    present = set(files) if named else ()
    given = {file: label for file, label in named.items() if file in present}
    by_class = ByClass(files, {name: number for number, name in enumerate(classes or ())})
    return FolderSource(
        folder=top,
        files=files,
        labels={**by_class, **given} if given else by_class,
        preprocessing=preprocessing or Preprocessing(),
        class_names=class_names or (classes and tuple(printable(name) for name in classes)),
        limits=limits,
        ignored=tuple(sorted(printable(other) for other in others if other != LABELS_FILE)),
        numbered=() if named else classes or (),
        unmatched=tuple(sorted(printable(file) for file in named.keys() - given.keys())),
    )


def for_classes(source: FolderSource, classes: int) -> tuple[FolderSource, str | None]:
    """Take subfolders for classes only where a network has as many; else say that they are not."""
    if len(source.numbered) in (0, classes):
        return source, None
    note = (
        f"{source.name} has {len(source.numbered)} subfolders and the network {classes} classes, so the subfolders are not "
        f"taken for its classes; a {LABELS_FILE} there (path -> class index) says what each image shows."
    )
    return replace(source, labels={}, class_names=None, numbered=()), note


def of_one_size(source: FolderSource) -> tuple[FolderSource, str | None]:
    """Bring images of several sizes, or large ones, to one size where none was asked for, and say so.

    Images of one size that are small enough to have been made for a network stay as they are.
    """
    asked = source.preprocessing
    why = None if asked.size is not None else _why_not_as_they_are(source)
    if why is None:
        return source, None
    size = min(USUAL_SIDE, asked.resize or USUAL_SIDE)
    note = (
        f"The images of {source.name} {why}, and no size was given: the centre {size} x {size} pixels are taken, "
        "after resizing; give the size (and mean and std) that the network was trained with."
    )
    return replace(source, preprocessing=replace(asked, size=size)), note


def _why_not_as_they_are(source: FolderSource) -> str | None:
    """Say what is wrong with the images' sizes; None where they can stay."""
    shapes: set[tuple[int, ...]] = set()
    for x in _sampled(source):
        shapes.add(tuple(x.shape[1:]))
        height, width = x.shape[1:]
        if len(shapes) > 1:
            return "have several sizes"
        if source.preprocessing.resize is None and max(height, width) > LARGEST_AS_IS:
            return f"are large (the first has {width} x {height} pixels)"
    return None


def _sampled(source: FolderSource) -> Iterator[Tensor]:
    """Read some images, evenly over the folder; broken ones are left for later."""
    for index in range(0, len(source), max(1, len(source) // SAMPLED)):
        with suppress(DataError):
            yield source[index].x


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def printable(name: str) -> str:
    r"""Return a file name with everything unprintable escaped; different names stay different.

    Bytes that are no UTF-8 become `\xff`, newlines `\n`, a backslash `\\`.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(_escaped(character) for character in name)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if character == "\\" or not character.isprintable():
        return character.encode("unicode_escape").decode("ascii")
    return character


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of images, and of everything else that is not hidden."""
    try:
        names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"expected a folder of images, cannot read {printable(str(folder))}: {error.strerror}"
        ) from error
    images = [n for n in names if Path(n).suffix.lower() in SUFFIXES and not (folder / n).is_dir()]
    chosen = set(images)
    return images, [name for name in names if name not in chosen]


def _inside(top: Path, path: Path) -> Path:
    """Follow links; raise `DataError` where they lead out of `top` (which may be a link itself)."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before Python 3.13
        raise DataError("it cannot be read: a link leads nowhere, or it is gone") from error
    if not real.is_relative_to(top.resolve()):
        raise DataError(
            f"{printable(path.name)!r} is a link that leads out of the folder; "
            "copy the file into the folder if it is meant"
        )
    return real


def _read_labels(top: Path) -> dict[str, int]:
    path = top / LABELS_FILE
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > MAX_LABELS_BYTES:
            raise DataError(f"expected at most {MAX_LABELS_BYTES} bytes in {LABELS_FILE}")
        labels = json.loads(_inside(top, path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {printable(str(path))}: {error}") from error
    if not isinstance(labels, dict) or not all(_is_class(value) for value in labels.values()):
        raise DataError(
            f"expected an object of file names and class indices (from 0) in {printable(str(path))}"
        )
    return {_plain(top, file): label for file, label in labels.items()}


def _plain(top: Path, file: str) -> str:
    """Return a path inside the folder as it is listed: without `./`, and with `/` where no file is named with a backslash."""
    if "\\" in file and not (top / file).exists():
        file = file.replace("\\", "/")
    return file.removeprefix("./")


def _is_class(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31

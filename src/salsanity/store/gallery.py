"""A few images and their maps on disk, for the figures: one file an image."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from salsanity.store.directory import replacing


@final
@dataclass(frozen=True)
class Gallery:
    """Adds the pictures of finished units to the files in `folder`.

    `facts`: per image id, the metadata of its file (name, target, label). `photo`: gives the picture of an image, (C, H,
    W) in [0, 1].
    """

    folder: Path
    facts: Mapping[str, Mapping[str, str]]
    photo: Callable[[str], Any]

    def add(self, pictures: Mapping[str, Mapping[str, Any]]) -> None:
        """Write pictures (image id -> name -> array) beside what the files already hold."""
        for image, arrays in pictures.items():
            if image not in self.facts:
                continue
            path = self.path(image)
            held = _held(path) or {"photo": self._photo(image)}
            content = save(
                {**held, **{name: np.ascontiguousarray(a) for name, a in arrays.items()}},
                metadata={"image": image, **self.facts[image]},
            )
            with replacing(path) as temporary:
                temporary.write_bytes(content)

    def _photo(self, image: str) -> np.ndarray:
        """Return a picture as it lies in a file: safetensors writes the memory, whatever its strides."""
        return np.ascontiguousarray(self.photo(image), dtype=np.float32)

    def damaged(self) -> frozenset[str]:
        """Return the ids of images whose file is there and cannot be read: their units are computed again."""
        return frozenset(image for image in self.facts if is_damaged(self.path(image)))

    def path(self, image: str) -> Path:
        """Where an image's file lies or would lie."""
        return self.folder / f"{image[:16]}.safetensors"


def marks_of(folder: Path) -> dict[str, dict[str, int]]:
    """Return a checksum of each array of each file of a gallery, so that a reader knows later whether it is still the same."""
    paths = sorted(folder.glob("*.safetensors"))
    return {
        path.name: {name: mark_of(array) for name, array in _held(path).items()} for path in paths
    }


def mark_of(array: np.ndarray) -> int:
    """Return the checksum of an array."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def is_damaged(path: Path) -> bool:
    """Whether a file of the gallery is there but cut or overwritten."""
    return path.exists() and not _held(path)


def _held(path: Path) -> dict[str, Any]:
    """Read the arrays of a file; a damaged file counts as absent."""
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="np") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError):
        return {}

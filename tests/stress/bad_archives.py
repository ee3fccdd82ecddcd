"""Bad idx files and archives, each as a case for `check`."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attempts import SUBJECT, Case
from bad_files import Bomb, made_folder, zipped


def bad_data_sets(top: Path) -> Iterator[Case]:
    """Yield idx files and archives: cut, lying about their size, bombs, of other types."""
    labels = b"\0\0\x08\x01" + struct.pack(">I", 4) + bytes([0, 1, 2, 3])
    images = b"\0\0\x08\x03" + struct.pack(">III", 4, 16, 16) + bytes(range(256)) * 4
    contents: dict[str, tuple[bytes, bytes]] = {
        **{
            f"images cut at {k}": (images[:k], labels)
            for k in (0, 1, 3, 4, 8, 15, 16, 100, len(images) - 1)
        },
        **{f"labels cut at {k}": (images, labels[:k]) for k in (0, 2, 4, 7, 8, 11)},
        "other type": (b"\0\0\x0d" + images[3:], labels),
        "other magic": (b"ab" + images[2:], labels),
        "no dimension": (b"\0\0\x08\0", labels),
        "200 dimensions": (b"\0\0\x08\xc8" + bytes(800), labels),
        "lies": (b"\0\0\x08\x03" + struct.pack(">III", 2**31, 2**31, 2**31), labels),
        "claims a gigabyte": (b"\0\0\x08\x03" + struct.pack(">III", 2**10, 2**10, 2**10), labels),
        "too long": (images + b"x", labels),
        "no image": (b"\0\0\x08\x03" + bytes(12), labels),
        "other count": (images, labels[:7] + b"\x03" + labels[8:11]),
        "gzip cut": (gzip.compress(images)[:-9], labels),
        "gzip bomb": (
            gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 4, 16, 16) + bytes(2**26)),
            labels,
        ),
        "gzip of gzip": (gzip.compress(gzip.compress(images)), labels),
        "large labels": (images, labels[:8] + b"\xff\xff\xff\xff"),
    }
    for name, (one, two) in contents.items():
        folder = made_folder(
            top / f"idx {name}", {"t10k-images-idx3-ubyte": one, "t10k-labels-idx1-ubyte": two}
        )
        options = ("--model", f"{SUBJECT}:honest", "--data", "mnist", "--channels", "3")
        target = ("--target", "label") if name == "large labels" else ()
        yield Case(f"idx {name}", (*options, *target, "--data-dir", str(folder)))
    for name, content in {
        "npz of objects": _npz(x=np.array([{"a": 1}]), y=np.array([1])),
        "npz of floats": _npz(x=np.zeros((2, 4, 4, 3)), y=np.zeros(2)),
        "npz without y": _npz(x=np.zeros((2, 4, 4, 3), np.uint8)),
        "npz bomb": zipped({"x.npy": bytes(2**20), "y.npy": bytes(2**20)}),
        "npz cut": _npz(x=np.zeros((2, 4, 4, 3), np.uint8), y=np.zeros(2, np.int64))[:200],
        "npz with paths": zipped({"../../x.npy": b"1", "/etc/y.npy": b"1"}),
        "npz pickle": pickle.dumps(Bomb(top / "exploded")),
    }.items():
        folder = made_folder(top / name, {"test.npz": content})
        options = ("--model", f"{SUBJECT}:honest", "--data", "cifar10", "--data-dir", str(folder))
        yield Case(name, options)


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()

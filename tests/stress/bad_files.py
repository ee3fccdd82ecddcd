"""Bad images, bad names of images, bad weights and bad data sets, each as a case for `check`."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from attempts import SUBJECT, Case
from PIL import Image
from safetensors.torch import save

HONEST = ("--model", f"{SUBJECT}:honest", "--size", "16")


def picture(form: str = "PNG", mode: str = "RGB", side: int = 24, **options: object) -> bytes:
    """Return an image file of random pixels."""
    pixels = np.random.default_rng(1).integers(0, 255, (side, side, 4), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def huge_png(width: int, height: int, body: bytes = b"") -> bytes:
    """Return a PNG whose header claims a size, and whose data is short or a bomb of zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", body or zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def animated() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=10)
    return buffer.getvalue()


def grey16() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 65535, (20, 20), dtype=np.uint16)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def negative_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 20), -5.0, dtype=np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def nan_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 20), np.nan, dtype=np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def _contents() -> Iterator[tuple[str, bytes, bool]]:
    """Yield (file name, content, whether it is readable all the same)."""
    for form, suffix in (
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("WEBP", "webp"),
        ("TIFF", "tif"),
    ):
        whole = picture(form)
        for cut in (1, 8, 30, len(whole) // 2, len(whole) - 5):
            yield f"cut-{cut}.{suffix}", whole[:cut], False
        flipped = bytearray(whole)
        for place in range(20, len(flipped), 37):
            flipped[place] ^= 0xFF
        yield f"flipped.{suffix}", bytes(flipped), False
    yield "empty.png", b"", False
    yield "zero.png", huge_png(0, 0), False
    yield "wide0.png", huge_png(0, 10), False
    yield "huge.png", huge_png(100_000, 100_000), False
    yield "bomb.png", huge_png(7_000, 7_000, zlib.compress(bytes(7_000 * (3 * 7_000 + 1)), 9)), True
    yield "strip.png", picture(side=1), True
    yield "long.png", huge_png(1, 40_000_000), False
    yield "animated.gif", animated(), True
    yield "grey16.png", grey16(), True
    yield "cmyk.jpg", picture("JPEG", "CMYK"), True
    yield "palette.png", picture("PNG", "P"), True
    yield "bits.png", picture("PNG", "1"), True
    yield "alpha.png", picture("PNG", "RGBA"), True
    yield "negative.tif", negative_tiff(), False
    yield "nan.tif", nan_tiff(), False
    yield "text.png", b"this is no image\n" * 40, False
    yield "html.jpg", b"<html><script>alert(1)</script></html>", False
    yield (
        "vector.png",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        False,
    )
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n", False
    yield "pickle.png", pickle.dumps({"a": 1}), False
    yield "zip.png", b"PK\x03\x04" + bytes(60), False
    yield "zeros.png", bytes(4096), False
    yield "ones.jpg", b"\xff" * 4096, False


def bad_images(top: Path) -> Iterator[Case]:
    """Yield folders with a bad image alone, and beside four good ones."""
    for name, content, is_readable in _contents():
        alone = made_folder(top / f"alone-{name}", {name: content})
        beside = made_folder(top / f"beside-{name}", {name: content, **_good(2)})
        yield Case(f"image {name} alone", (*HONEST, "--images", str(alone)), "either")
        says = "" if is_readable else "could not be used"
        lenient = name.startswith(("cut", "flipped", "animated", "bomb", "strip"))
        yield Case(
            f"image {name} beside others",
            (*HONEST, "--images", str(beside)),
            "finish",
            "" if lenient else says,
        )


def _good(count: int) -> dict[str, bytes]:
    generator = np.random.default_rng(5)
    found = {}
    for i in range(count):
        buffer = io.BytesIO()
        Image.fromarray(generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(buffer, "PNG")
        found[f"good{i}.png"] = buffer.getvalue()
    return found


def made_folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


NAMES: tuple[bytes, ...] = (
    b"new\nline.png",
    b"return\rback.png",
    b"tab\tstop.png",
    b"quote'single.png",
    b'quote"double.png',
    b"<script>alert(1)<&>.png",
    b"<img src=x onerror=alert(1)>.png",
    b"{{ 7 * 7 }}{% raw %}.png",
    b"[bold red]markup.png",
    b"[bold][.png",
    b"\x1b[31mred\x1b[0m.png",
    b"\x07bell.png",
    b"bytes\xff\xfe\x80.png",
    b"n" * 251 + b".png",
    "画像ünïcode🦊.png".encode(),
    "‮gnp.exe.png".encode(),
    b"$(touch hacked).png",
    b"; rm -rf x .png",
    b"`id`.png",
    b"..png",
    b"-rf.png",
    b"--out.png",
    b"%s%n%d.png",
    b"back\\slash.png",
    b" lead and trail .png",
    b"CON.png",
)


def bad_names(top: Path) -> Iterator[Case]:
    """Yield folders whose images, class folders, and own names are hostile."""
    content = _good(3)
    for k, name in enumerate(NAMES):
        folder = top / f"name{k}"
        folder.mkdir(parents=True)
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content["good0.png"])
        (folder / "z.png").write_bytes(content["good1.png"])
        yield Case(f"image name {name[:20]!r}", (*HONEST, "--images", str(folder)), "finish")
        if name == b"..png":
            continue  # the folder itself
        classes = Path(
            os.fsdecode(os.fsencode(top / f"class{k}") + b"/" + name.removesuffix(b".png"))
        )
        classes.mkdir(parents=True)
        for i, file in enumerate(content.values()):
            (classes / f"{i}.png").write_bytes(file)
        options = (*HONEST, "--images", str(classes.parent), "--target", "label")
        yield Case(f"class name {name[:20]!r}", options, "finish")


def bad_places(top: Path) -> Iterator[Case]:
    """Yield links, pipes, unreadable files and missing folders."""
    content = _good(3)
    secret = top / "secret.png"
    secret.write_bytes(content["good2.png"])
    makers: dict[str, Callable[[Path], object]] = {
        "link out": lambda p: p.symlink_to(secret),
        "link in a loop": lambda p: p.symlink_to(p),
        "link to nothing": lambda p: p.symlink_to(top / "absent"),
        "link to a device": lambda p: p.symlink_to("/dev/zero"),
        "pipe": os.mkfifo,
        "folder called .png": lambda p: p.mkdir(),
    }
    for name, make in makers.items():
        folder = made_folder(top / name, dict(list(content.items())[:2]))
        make(folder / "bad.png")
        yield Case(f"image that is a {name}", (*HONEST, "--images", str(folder)), "finish")
        alone = top / f"{name} alone"
        alone.mkdir()
        make(alone / "bad.png")
        yield Case(f"only a {name}", (*HONEST, "--images", str(alone)))
    linked = top / "linked classes"
    linked.mkdir()
    (linked / "class").symlink_to(made_folder(top / "elsewhere", content))
    yield Case("class folder that is a link out", (*HONEST, "--images", str(linked)))
    for name, place in {
        "missing": str(top / "absent"),
        "a file": str(secret),
        "empty": str(made_folder(top / "empty", {})),
        "without images": str(made_folder(top / "texts", {"a.txt": b"a"})),
        "with a null": "a\0b",
        "nothing": "",
        "too long": "x" * 5000,
    }.items():
        yield Case(f"folder of images: {name}", (*HONEST, "--images", place))
    for k, text in enumerate(
        (
            b"{",
            b"[]",
            b'{"good0.png": -1}',
            b'{"good0.png": "0"}',
            b'{"good0.png": 1e400}',
            b"\xff",
            b"[" * 100_000,
            b'{"good0.png": 99}',
        )
    ):
        folder = made_folder(top / f"labels{k}", {**content, "labels.json": text})
        options = (*HONEST, "--images", str(folder), "--target", "label")
        yield Case(f"labels.json {text[:20]!r}", options)


class Bomb:
    """A pickle that creates a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path, ...]]:
        return Path.touch, (self.target,)


def _torch_bytes(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def bad_weights(top: Path) -> Iterator[Case]:
    """Yield files of weights: cut, of other networks, with NaN, with code, bombs."""
    from subject import honest

    options = ("--model", f"{SUBJECT}:honest", "--data", f"{SUBJECT}:plain_images", "--weights")
    state = honest().state_dict()
    whole, torch_whole = save(state), _torch_bytes(state)
    files: dict[str, bytes] = {}
    for k in range(16):
        files[f"cut{k}.safetensors"] = whole[: len(whole) * k // 16]
        files[f"cut{k}.pt"] = torch_whole[: len(torch_whole) * k // 16]
    other = {name: tensor.flatten() for name, tensor in state.items()}
    nan = {name: tensor * torch.nan for name, tensor in state.items()}
    files |= {
        "other.safetensors": save(other),
        "nan.safetensors": save(nan),
        "half.safetensors": save(dict(list(state.items())[:2])),
        "renamed.safetensors": save({f"x{name}": tensor for name, tensor in state.items()}),
        "integers.safetensors": save(
            {name: tensor.long() for name, tensor in list(state.items())[:1]}
        ),
        "none.safetensors": save({}),
        "giant header.safetensors": struct.pack("<Q", 2**62) + whole[8:],
        "header.safetensors": struct.pack("<Q", 10) + b"{" * 10,
        "offsets.safetensors": _with_header(
            whole, lambda h: h["fc.bias"].update(data_offsets=[0, 10**12])
        ),
        "shape.safetensors": _with_header(
            whole, lambda h: h["fc.bias"].update(shape=[10**9, 10**9])
        ),
        "dtype.safetensors": _with_header(whole, lambda h: h["fc.bias"].update(dtype="F128")),
        "other.pt": _torch_bytes(other),
        "nan.pt": _torch_bytes(nan),
        "list.pt": _torch_bytes([1, 2, 3]),
        "number.pt": _torch_bytes(3),
        "module.pt": _torch_bytes(honest()),
        "nested.pt": _torch_bytes({"state_dict": {"state_dict": {"model": 3}}}),
        "strided.pt": _torch_bytes(
            {name: t.flatten()[:1].expand(10**6) for name, t in state.items()}
        ),
        "pickle.pt": pickle.dumps(Bomb(top / "exploded")),
        "pickle in zip.pt": _torch_bytes({"fc.bias": Bomb(top / "exploded")}),
        "pickle.pth": pickle.dumps({"state_dict": Bomb(top / "exploded")}, protocol=0),
        "pickle.bin": pickle.dumps(Bomb(top / "exploded"), protocol=4),
        "pickle.safetensors": pickle.dumps(Bomb(top / "exploded")),
        "text.pt": b"weights",
        "empty.pt": b"",
        "empty.safetensors": b"",
        "bomb.pt": _zip_bomb(),
        "paths.pt": zipped({"../../escaped": b"x", "archive/data.pkl": b"\x80\x02."}),
        "weights.onnx": b"onnx",
        "name\n\x1b[31m.pt": b"x",
    }
    for name, content in files.items():
        path = top / name
        path.write_bytes(content)
        yield Case(f"weights {name[:30]!r}", (*options, str(path)))
    (top / "loop.pt").symlink_to(top / "loop.pt")
    os.mkfifo(top / "pipe.pt")
    for place in ("absent.pt", "loop.pt", "pipe.pt", ".", "a\0b.pt", "x" * 300 + ".pt"):
        yield Case(
            f"weights at {place[:20]!r}",
            (*options, str(top / place) if place != "a\0b.pt" else place),
        )


def _with_header(whole: bytes, change: Callable[[dict[str, dict[str, object]]], object]) -> bytes:
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + whole[8 + length :]


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _zip_bomb() -> bytes:
    return zipped({"archive/data.pkl": b"\x80\x02.", "archive/data/0": bytes(2**26)})

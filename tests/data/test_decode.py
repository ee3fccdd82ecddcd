import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from salsanity.data.decode import Limits, decode
from salsanity.data.preprocessing import Preprocessing
from salsanity.errors import DataError

GREY = Preprocessing(channels=1)
RGB = Preprocessing()
RAMP = np.arange(6 * 8).reshape(6, 8).astype(np.uint8) * 5
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)


def png(array, mode=None):
    out = io.BytesIO()
    Image.fromarray(array, mode).save(out, "PNG") if mode else Image.fromarray(array).save(
        out, "PNG"
    )
    return out.getvalue()


def saved(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def equal(x, array):
    wanted = torch.from_numpy(np.ascontiguousarray(array.astype(np.float64)))
    wanted = wanted[None] if wanted.ndim == 2 else wanted.permute(2, 0, 1)
    torch.testing.assert_close(x.double(), wanted, rtol=0, atol=1e-6)


def test_colour_and_grey(tmp_path):
    colour = saved(tmp_path, Image.fromarray(COLOUR), "c.png")
    grey = saved(tmp_path, Image.fromarray(RAMP), "g.png")
    equal(decode(colour, RGB), COLOUR / 255)
    equal(decode(grey, RGB), np.stack([RAMP] * 3, 2) / 255)
    equal(decode(grey, GREY), RAMP / 255)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(colour, GREY)[0].numpy() * 255 - luma).max() <= 1


def check_orientation(decoder, path, upright):
    equal(decoder(path), upright / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, orientation):
    image = Image.fromarray(COLOUR)
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path, image, "o.png", exif=exif)
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a),
    }
    check_orientation(lambda p: decode(p, RGB), path, turns[orientation](COLOUR))


def test_twin_an_ignored_orientation_is_noticed(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[274] = 6
    path = saved(tmp_path, Image.fromarray(COLOUR), "o.png", exif=exif)
    monkeypatch.setattr(ImageOps, "exif_transpose", lambda image: image)
    with pytest.raises(AssertionError):
        check_orientation(lambda p: decode(p, RGB), path, np.rot90(COLOUR, -1))


def test_transparent_parts_lie_on_white(tmp_path):
    layer = np.dstack([COLOUR, np.full((6, 8), 255, np.uint8)])
    layer[0, 0, 3], layer[1, 1, 3] = 0, 51
    path = saved(tmp_path, Image.fromarray(layer, "RGBA"))
    x = decode(path, RGB)
    assert torch.equal(x[:, 0, 0], torch.ones(3))
    wanted = COLOUR[1, 1] * 0.2 + 255 * 0.8
    assert np.abs(x[:, 1, 1].numpy() * 255 - wanted).max() <= 1
    equal(x[:, 2:], COLOUR[2:] / 255)
    assert decode(path, GREY)[0, 0, 0] == 1


def test_transparent_grey_and_palette(tmp_path):
    la = np.dstack([RAMP, np.where(RAMP > 100, 255, 0).astype(np.uint8)])
    x = decode(saved(tmp_path, Image.fromarray(la, "LA"), "la.png"), GREY)
    equal(x, np.where(RAMP > 100, RAMP, 255) / 255)
    indexed = Image.fromarray((RAMP % 4).astype(np.uint8), "P")
    indexed.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    x = decode(saved(tmp_path, indexed, "p.png"), RGB)
    assert torch.equal(x[:, 0, 0], torch.tensor([1.0, 0.0, 0.0]))
    x = decode(saved(tmp_path, indexed, "pt.png", transparency=0), RGB)
    assert torch.equal(x[:, 0, 0], torch.ones(3))


def test_one_bit(tmp_path):
    image = Image.fromarray(RAMP).convert("1", dither=Image.Dither.NONE)
    x = decode(saved(tmp_path, image), GREY)
    assert set(x.unique().tolist()) == {0.0, 1.0}


def test_cmyk(tmp_path):
    image = Image.new("CMYK", (5, 4), (0, 255, 255, 0))  # red ink
    x = decode(saved(tmp_path, image, "c.jpg", quality=100), RGB)
    torch.testing.assert_close(x[:, 2, 2], torch.tensor([1.0, 0.0, 0.0]), rtol=0, atol=0.03)


def sixteen_bits(tmp_path, values):
    path = tmp_path / "s.png"
    Image.fromarray(values.astype(np.uint16)).save(path)
    return path


def check_sixteen(x, values):
    assert x.shape[0] == 3
    equal(x, np.stack([values] * 3, 2) / 65535)


def test_sixteen_bits_of_grey(tmp_path):
    values = np.arange(48).reshape(6, 8) * 1000
    path = sixteen_bits(tmp_path, values)
    check_sixteen(decode(path, RGB), values)
    with Image.open(path) as image:  # Pillow's own conversion does not scale
        clipped = torch.from_numpy(np.array(image.convert("RGB")) / 255).permute(2, 0, 1)
    with pytest.raises(AssertionError):
        check_sixteen(clipped, values)


def test_sixteen_bits_are_resized(tmp_path):
    values = np.full((40, 60), 30000)
    x = decode(sixteen_bits(tmp_path, values), Preprocessing(size=14, resize=16))
    torch.testing.assert_close(x, torch.full((3, 14, 14), 30000 / 65535))


def test_floats(tmp_path):
    good = saved(tmp_path, Image.fromarray(RAMP.astype(np.float32) / 255), "f.tif")
    equal(decode(good, GREY), RAMP / 255)
    for bad in (-1.0, 2.0, np.nan):
        path = saved(tmp_path, Image.fromarray(np.full((3, 3), bad, np.float32)), "b.tif")
        with pytest.raises(DataError, match="grey values"):
            decode(path, GREY)


def test_the_first_frame_counts(tmp_path):
    frames = [Image.new("L", (4, 4), grey) for grey in (10, 200)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    equal(decode(path, GREY), np.full((4, 4), 10) / 255)


def test_resize_and_crop_are_pillows(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (90, 130, 3)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(array))
    x = decode(path, Preprocessing(size=56))
    wide = Image.fromarray(array).resize((64 * 130 // 90, 64), Image.Resampling.BILINEAR)
    left = round((wide.width - 56) / 2)
    equal(x, np.array(wide)[4:60, left : left + 56] / 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_usual_formats(tmp_path, kind):
    path = tmp_path / "a"
    Image.fromarray(RAMP).save(path, kind)
    assert decode(path, RGB).shape == (3, 6, 8)


def bomb(width, height):
    """A PNG that claims width x height pixels in a few bytes."""

    def chunk(kind, body):
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (10_000, 9_000), (8_000, 7_000)])
def test_decompression_bombs(tmp_path, width, height):
    path = tmp_path / "a.png"
    path.write_bytes(bomb(width, height))
    with pytest.raises(DataError, match=r"pixels|bomb"):
        decode(path, RGB)


def test_limits_are_options(tmp_path):
    path = saved(tmp_path, Image.fromarray(COLOUR))
    with pytest.raises(DataError, match="at most 47 pixels, it has 8 x 6"):
        decode(path, RGB, limits=Limits(max_pixels=47))
    with pytest.raises(DataError, match="at most 20 bytes"):
        decode(path, RGB, limits=Limits(max_bytes=20))


def test_a_strip_may_not_grow_without_bound(tmp_path):
    path = saved(tmp_path, Image.new("L", (60_000, 1)))
    with pytest.raises(DataError, match="pixels"):
        decode(path, Preprocessing(size=224))


PNG = png(COLOUR)


def jpeg():
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(
        out, "JPEG"
    )
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        PNG[:8],
        PNG[:30],
        PNG[:-30],
        PNG[:40] + b"\0\0\0\0" + PNG[44:],
        jpeg()[:200],
        jpeg()[: len(jpeg()) // 2],
        bomb(0, 5),
        b"P5 0 0 255\n",
        b"P5 4 4 255\n",
        b"GIF89a",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"II*\0\x08\0\0\0\xff\xff",
        b"\x80\x04\x95pickle",
    ],
)
def test_broken_files_end_in_a_sentence(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        decode(path, RGB)
    assert len(str(caught.value)) > 15


def test_files_cut_anywhere_end_in_a_sentence_or_an_image(tmp_path):
    path = tmp_path / "a"
    whole = jpeg()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        try:
            decode(path, RGB)
        except DataError:
            continue


def test_pipes_folders_and_missing_files_do_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, tmp_path / "none"):
        with pytest.raises(DataError):
            decode(path, RGB)


def test_warnings_of_decoders_stay_inside(tmp_path, recwarn):
    path = tmp_path / "a.png"
    path.write_bytes(bomb(10_000, 10_000))
    with pytest.raises(DataError):
        decode(path, RGB)
    assert not recwarn.list

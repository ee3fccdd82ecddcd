import json
import os
import tracemalloc

import pytest
import torch
from PIL import Image

from salsanity.data.images import Limits, image_id, of_one_size, open_folder, printable
from salsanity.data.preprocessing import Preprocessing
from salsanity.errors import DataError


def put(path, grey=100, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path, "PNG")


def test_a_flat_folder(tmp_path):
    for name in ("b.png", "A.PNG", "c.jpeg"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_text("x")
    source = open_folder(tmp_path)
    assert source.files == ("A.PNG", "b.png", "c.jpeg")
    assert source.ignored == ("notes.txt",)
    assert source.class_names is None
    assert source.name == tmp_path.name
    assert [e.name for e in source] == list(source.names)
    assert source[0].label is None
    assert source.labels == {}
    assert source[0].x.shape == (3, 6, 8)


def test_class_subfolders(tmp_path):
    put(tmp_path / "dog" / "1.png")
    put(tmp_path / "cat" / "2.png")
    put(tmp_path / "cat" / "1.png")
    (tmp_path / "eel").mkdir()
    (tmp_path / "readme.md").write_text("x")
    source = open_folder(tmp_path)
    assert source.class_names == ("cat", "dog", "eel")
    assert [(e.name, e.label) for e in source] == [
        ("cat/1.png", 0),
        ("cat/2.png", 0),
        ("dog/1.png", 1),
    ]
    assert source.labels == {"cat/1.png": 0, "cat/2.png": 0, "dog/1.png": 1}
    assert source.ignored == ("readme.md",)


def test_labels_json_has_the_last_word(tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / "b.png")
    (tmp_path / "labels.json").write_text(json.dumps({"a.png": 7, "gone.png": 1}))
    source = open_folder(tmp_path, class_names=("x",) * 8)
    assert [e.label for e in source] == [7, None]
    assert source.class_names == ("x",) * 8
    assert source.ignored == ()


def test_names_in_labels_json_that_fit_no_file_are_counted_and_named(tmp_path):
    for name in ("cat/a.png", "cat/b.png", "dog/a.png"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    labels = {"./cat/a.png": 7, "dog\\a.png": 3, **{f"gone{i}.png": 1 for i in range(6)}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    source = open_folder(tmp_path)
    assert [example.label for example in source] == [7, 0, 3]
    assert len(source.unmatched) == 6
    assert source.numbered == ()
    ignored, unmatched = source.notes
    assert "1 entry" in ignored
    assert "notes.txt" in ignored
    assert "6 names in labels.json fit no file" in unmatched
    assert "gone0.png, gone1.png, gone2.png, gone3.png and 2 more; 0 of 3 images" in unmatched


def test_labels_that_all_fit_need_no_word(tmp_path):
    put(tmp_path / "a.png")
    (tmp_path / "labels.json").write_text('{"a.png": 7}')
    assert open_folder(tmp_path).notes == ()


def test_images_of_several_sizes_are_brought_to_one_and_it_is_said(tmp_path):
    for number, size in enumerate(((230, 200), (180, 250), (90, 60))):
        put(tmp_path / f"{number}.png", size=size)
    (tmp_path / "broken.png").write_bytes(b"broken")
    source, note = of_one_size(open_folder(tmp_path))
    assert {tuple(source[i].x.shape) for i in range(3)} == {(3, 224, 224)}
    assert "several sizes" in note
    assert "224 x 224" in note
    small, note = of_one_size(open_folder(tmp_path, preprocessing=Preprocessing(resize=40)))
    assert {tuple(small[i].x.shape) for i in range(3)} == {(3, 40, 40)}


def test_images_of_one_size_or_a_size_that_was_asked_for_stay(tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / "b.png")
    source = open_folder(tmp_path)
    assert of_one_size(source) == (source, None)
    put(tmp_path / "c.png", size=(30, 40))
    asked = open_folder(tmp_path, preprocessing=Preprocessing(size=4))
    assert of_one_size(asked) == (asked, None)


def test_photographs_of_one_size_are_brought_to_what_networks_take_and_it_is_said(tmp_path):
    for name in ("a.png", "b.png"):
        put(tmp_path / name, size=(400, 300))
    source, note = of_one_size(open_folder(tmp_path))
    assert source[1].x.shape == (3, 224, 224)
    assert "large (the first has 400 x 300 pixels)" in note
    asked = open_folder(tmp_path, preprocessing=Preprocessing(resize=280))
    assert of_one_size(asked) == (asked, None)


@pytest.mark.parametrize(
    "content",
    ["", "[1]", '{"a.png": "cat"}', '{"a.png": -1}', '{"a.png": true}', "{", "[" * 100_000, "\xff"],
)
def test_bad_labels_are_refused(tmp_path, content):
    put(tmp_path / "a.png")
    (tmp_path / "labels.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.json"):
        open_folder(tmp_path)


def test_preprocessing_and_display(tmp_path):
    put(tmp_path / "a.png", grey=51)
    preprocessing = Preprocessing(size=4, mean=(0.5,), std=(0.5,))
    example = open_folder(tmp_path, preprocessing=preprocessing)[0]
    torch.testing.assert_close(example.display, torch.full((3, 4, 4), 0.2))
    torch.testing.assert_close(example.x, torch.full((3, 4, 4), -0.6))


def test_one_broken_file_spoils_nothing_else(tmp_path):
    put(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    put(tmp_path / "c.png")
    source = open_folder(tmp_path)
    assert source[0].x.shape == source[2].x.shape
    with pytest.raises(DataError, match=r"image 'b\.png': expected an image"):
        source[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path):
    put(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(DataError, match=r"a\.png"):
        open_folder(tmp_path)[0]


def links(tmp_path):
    folder, outside = tmp_path / "in", tmp_path / "out"
    put(folder / "a.png", 10)
    put(outside / "secret.png", 20)
    return folder, outside


def test_links_out_of_the_folder_are_refused(tmp_path):
    folder, outside = links(tmp_path)
    (folder / "b.png").symlink_to(outside / "secret.png")
    (folder / "c.png").symlink_to("a.png")
    (folder / "d.png").symlink_to("nowhere")
    (folder / "e.png").symlink_to("e.png")
    (folder / "f.png").symlink_to("/dev/zero")
    source = open_folder(folder)
    assert torch.equal(source[0].x, source[2].x)
    for index, reason in ((1, "out of the folder"), (3, "nowhere"), (4, "nowhere"), (5, "out of")):
        with pytest.raises(DataError, match=reason):
            source[index]


def test_the_top_folder_may_be_a_link(tmp_path):
    folder, _ = links(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    assert open_folder(tmp_path / "link")[0].name == "a.png"


def test_a_class_folder_may_not_lead_out(tmp_path):
    folder, outside = links(tmp_path)
    (folder / "a.png").unlink()
    put(folder / "cat" / "a.png")
    (folder / "dog").symlink_to(outside)
    with pytest.raises(DataError, match="'dog' is a link"):
        open_folder(folder)


HOSTILE = [
    b"line\nbreak.png",
    b"quote'\".png",
    b"<script>alert(1)</script>.png".replace(b"/", b"_"),
    b"\xff\xfe.png",
    b"back\\slash.png",
    b"\\xff\\xfe.png",
    "снег\u202e.png".encode(),
    b"n" * 251 + b".png",
    b" .png",
    b"-rf.png",
]


def test_hostile_names(tmp_path):
    put(tmp_path / "plain.png")
    content = (tmp_path / "plain.png").read_bytes()
    for name in HOSTILE:
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    source = open_folder(tmp_path)
    names = [example.name for example in source]
    assert names == list(source.names)
    assert len(set(names)) == len(HOSTILE) + 1
    for name in names:
        assert name.isprintable()
        name.encode("utf-8")


def test_an_error_message_is_printable(tmp_path):
    (tmp_path / os.fsdecode(b"\xff\n.png")).write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        open_folder(tmp_path)[0]
    assert str(caught.value).isprintable()


def test_printable_keeps_names_apart():
    names = ["a\n", "a\\n", "\udcff", "\\xff", "ÿ", "é", "a b"]
    assert len({printable(name) for name in names}) == len(names)
    assert printable("é b.png") == "é b.png"


def test_no_folder_and_no_images(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for path in ("empty", "file", "none"):
        with pytest.raises(DataError, match="expected"):
            open_folder(tmp_path / path)


def test_limits_reach_the_decoder(tmp_path):
    put(tmp_path / "a.png")
    with pytest.raises(DataError, match="at most 10 pixels"):
        open_folder(tmp_path, limits=Limits(max_pixels=10))[0]


def peak(folder, read):
    source = open_folder(folder)
    tracemalloc.start()
    try:
        read(source)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def read_all(source):
    for i in range(len(source)):
        source[i]


def check_memory(tmp_path, read):
    few, many = tmp_path / "few", tmp_path / "many"
    for folder, count in ((few, 5), (many, 50)):
        for i in range(count):
            put(folder / f"{i}.png", size=(200, 200))
    peak(few, read)  # imports and caches
    assert peak(many, read) < 1.3 * peak(few, read)


def test_memory_does_not_grow_with_the_number(tmp_path):
    check_memory(tmp_path, read_all)


def test_twin_keeping_the_pixels_is_noticed(tmp_path):
    kept = []
    keep = lambda s: kept.append([s[i].x.numpy().copy() for i in range(len(s))])  # noqa: E731
    with pytest.raises(AssertionError):
        check_memory(tmp_path, keep)


def test_the_photographs(shared_data):
    preprocessing = Preprocessing(size=224)
    source = open_folder(shared_data / "imagenet" / "photographs", preprocessing=preprocessing)
    assert len(source) == 98
    assert len({source.labels[file] for file in source.files}) == 98
    examples = [source[i] for i in range(5)]
    assert len({image_id(e.x) for e in examples}) == 5
    assert all(e.x.shape == (3, 224, 224) for e in examples)
    demo = open_folder(shared_data / "imagenet" / "paper_demo_images", preprocessing=preprocessing)
    assert all(example.x.shape == (3, 224, 224) for example in demo)

"""Class names from a file, in the three forms that people have."""

from __future__ import annotations

from pathlib import Path

import pytest

from salsanity.data.class_names import read_class_names
from salsanity.errors import DataError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "cat\nsled dog\n"),
        ("names.json", '["cat", "sled dog"]'),
        ("names.json", '{"0": "cat", "1": "sled dog"}'),
        ("index.json", '{"1": ["n02", "sled dog"], "0": ["n01", "cat"]}'),
    ],
)
def test_names_are_read_by_index(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_class_names(tmp_path / name) == ("cat", "sled dog")


@pytest.mark.parametrize("text", ["", "{", "[]", "[1]", '{"1": "cat"}', '"cat"[', "[[]]", "3"])
def test_anything_else_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(DataError, match=r"names\.json"):
        read_class_names(tmp_path / "names.json")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing here"):
        read_class_names(tmp_path / "nothing here")


def test_line_breaks_and_markup_in_names_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('["<b>a</b>\\n", "b\\u0000c"]')
    assert read_class_names(tmp_path / "names.json") == ("<b>a</b>", "b\\x00c")

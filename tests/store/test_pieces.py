"""JSON that is written piece by piece is the text that is written as a whole."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salsanity.errors import StoreError
from salsanity.store.pieces import pieces, plain
from salsanity.store.remembered import Listed

VALUES = [
    *(None, True, 3, 0.1, float("nan"), float("-inf"), 'é\n"', "", Path("a/b")),
    *(np.float32(0.5), np.int64(7), np.bool_(True), np.array([2.5])),
    *([], {}, (), set(), [[]], [{}], {"a": {}}, [1, [2, "x"], {"b": (None, 1.5)}]),
    {1: {"c": [float("inf")]}, "d": frozenset({"e"}), "é": [np.float64(0.25)]},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_pieces_are_the_text_of_the_whole(value: Any) -> None:
    assert "".join(pieces(value)) == json.dumps(plain(value), indent=1, allow_nan=False)


def test_twin_pieces_are_not_the_text_of_another_depth() -> None:
    assert "".join(pieces([[1]])) != json.dumps([[1]], indent=2)


def test_images_are_listed_from_their_lines(tmp_path: Path) -> None:
    told = [{"id": c, "name": f"{c}.png", "label": None, "target": k} for k, c in enumerate("abc")]
    lines = [json.dumps({**one, "predicted": 1, "looks": None}) + "\n" for one in told]
    path = tmp_path / "images.jsonl"
    path.write_text("".join(lines))
    found = Listed(told[:1], path, array("q", [len(lines[0]), len(lines[0] + lines[1])]))
    assert (len(found), list(found)) == (3, told)
    assert told[2] in found
    assert "".join(pieces({"images": found})) == json.dumps({"images": told}, indent=1)
    path.unlink()
    with pytest.raises(StoreError, match=r"images\.jsonl as this run wrote it"):
        list(found)

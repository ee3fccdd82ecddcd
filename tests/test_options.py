"""Options as metadata: kinds are read off annotations, values are checked once, and words stand for values."""

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from salsanity.errors import SpecError
from salsanity.options import (
    as_identified,
    checked,
    described,
    from_mapping,
    identity_of,
    option,
    options_of,
)
from salsanity.units.spec import RunSpec


@dataclass(frozen=True)
class Plain:
    """Annotations as types: this file has no postponed ones."""

    needed: str = option(MISSING, "Must be given.")
    count: Optional[int] = option(None, "A count.", least=1, most=9, unset="auto")  # noqa: UP045
    share: float = option(0.5, "A share.", least=0, most=1, is_open=True)
    names: str | tuple[str, ...] = option("all", "Names.", words=("all",))
    kind: Literal["a", "b"] = option("a", "A kind.", choices=("a", "b"), is_identity=False)
    place: Path | None = option(None, "A place.")
    flag: bool = option(False, "A flag.")
    other: int = 3

    def __post_init__(self) -> None:
        checked(self)


KINDS = {
    "needed": {"text"},
    "count": {"int", "none"},
    "share": {"float"},
    "names": {"text", "texts"},
    "kind": {"text"},
    "place": {"path", "none"},
    "flag": {"bool"},
}


def made(**values: Any) -> Plain:
    found: Plain = from_mapping(Plain, {"needed": "x", **values})
    return found


def test_kinds_of_annotations_that_are_types() -> None:
    assert {known.name: known.kinds for known in described(Plain)} == KINDS


def test_kinds_of_annotations_that_are_texts() -> None:
    kinds = {known.name: known.kinds for known in described(RunSpec)}
    assert (kinds["draws"], kinds["batch_size"]) == ({"int"}, {"int", "none"})
    assert (kinds["replay"], kinds["endpoints"]) == ({"text"}, {"bool"})


def test_what_has_no_metadata_is_no_option() -> None:
    assert "other" not in options_of(Plain)
    with pytest.raises(SpecError, match="unknown key 'other'"):
        made(other=4)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"count": "auto"}, {"count": None}),
        ({"count": "7"}, {"count": 7}),
        ({"names": ["all"]}, {"names": "all"}),
        ({"names": ["a", "all"]}, {"names": ("a", "all")}),
        ({"names": ["a"]}, {"names": ("a",)}),
        ({"place": "a/b"}, {"place": Path("a/b")}),
        ({"share": 0.25, "flag": True, "kind": "b"}, {"share": 0.25, "flag": True, "kind": "b"}),
    ],
)
def test_what_files_and_command_lines_give_becomes_values(
    values: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = made(**values)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"needed": 1}, "expected needed as text, got 1"),
        ({"count": 0}, "expected count as auto or a whole number from 1 to 9, got 0"),
        ({"count": True}, "got True"),
        ({"count": "many"}, "got 'many'"),
        ({"count": 1.0}, "got 1.0"),
        ({"share": 0}, "expected share as a number between 0 and 1, got 0"),
        ({"share": 1.0}, "got 1.0"),
        ({"share": float("nan")}, "got nan"),
        ({"share": None}, "got None"),
        ({"share": "0.5"}, "got '0.5'"),
        ({"names": ["a", 1]}, "expected names as text or texts"),
        ({"names": 3}, "got 3"),
        ({"kind": "c"}, "expected kind to be one of a, b, got 'c'"),
        ({"kind": ["a"]}, "got \\('a',\\)"),
        ({"place": 3}, "expected place as the path of a file or folder, got 3"),
        ({"flag": "yes"}, "expected flag as true or false, got 'yes'"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        made(**values)


@pytest.mark.parametrize("share", [1e-12, 0.5, 1 - 1e-12])
def test_twin_values_within_the_range_are_taken(share: float) -> None:
    assert made(share=share).share == share


def test_identity_leaves_out_what_may_change() -> None:
    assert set(identity_of(made())) == set(KINDS) - {"kind"}


def test_values_that_differ_in_what_may_change_are_identified_alike() -> None:
    assert made(kind="b") != made()
    assert as_identified(made(kind="b")) == made()
    assert as_identified(made(share=0.25)) == made(share=0.25)
    assert as_identified("plain") == "plain"


def test_an_option_that_must_be_given_has_no_default() -> None:
    known = {one.name: one for one in described(Plain)}
    assert known["needed"].is_required
    assert not known["count"].is_required
    with pytest.raises(TypeError):
        from_mapping(Plain, {})

"""Groups, partners, and what is missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from salsanity.records import UnitKey
from salsanity.units.plan import chunked, grouped, missing_units, partners


@given(st.integers(1, 400))
def test_groups_partition_the_images_and_none_is_alone(count: int) -> None:
    groups = grouped(count)
    assert [i for group in groups for i in group] == list(range(count))
    assert all(len(group) == 8 for group in groups[:-1])
    assert count == 1 or all(2 <= len(group) <= 9 for group in groups)


@given(st.integers(1, 200), st.integers(0, 40), st.integers(1, 5))
def test_chunks_keep_every_partner(count: int, gallery: int, groups: int) -> None:
    """Which images meet for chance must not depend on how groups are joined into units."""
    ids = [f"image {i}" for i in range(count)]
    met = {}
    for chunk in chunked(count, gallery=gallery, groups_per_chunk=groups):
        for i, j in zip(chunk, partners([ids[k] for k in chunk]), strict=True):
            met[i] = tuple(chunk.start + k for k in j)
    assert met == dict(enumerate(partners(ids)))


def test_partners_are_the_next_of_the_group_cyclically() -> None:
    ids = list("abcdefghijk")
    assert [row[0] for row in partners(ids)] == [1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 8]
    assert partners(ids)[5] == (6, 7, 0, 1, 2, 3, 4)
    assert partners(ids)[9] == (10, 8)
    assert partners(list("abcdefghi"))[8] == (0, 1, 2, 3, 4, 5, 6, 7)
    assert partners(["a"]) == [()]


def test_equal_pixels_never_pair() -> None:
    assert partners(["a", "a", "b"]) == [(2,), (2,), (0, 1)]
    assert partners(["a", "b", "a", "b"]) == [(1, 3), (2, 0), (3, 1), (0, 2)]
    assert partners(["a", "a"]) == [(), ()]


def unit(draw: int, methods: tuple[str, ...], similarities: tuple[str, ...]) -> UnitKey:
    return UnitKey("c", draw, ("x",), ("s",), methods, similarities, "base")


def test_only_what_is_missing_is_planned() -> None:
    wanted = [unit(d, ("a", "b", "c"), ("s", "t")) for d in (0, 1)]
    have = [unit(0, ("a", "b"), ("s",)), unit(0, ("a",), ("t",))]
    assert missing_units(wanted, have) == [
        unit(0, ("b",), ("t",)),
        unit(0, ("c",), ("s", "t")),
        wanted[1],
    ]
    assert missing_units(wanted, wanted) == []


def test_another_base_is_other_work() -> None:
    wanted = unit(0, ("a",), ("s",))
    other = UnitKey("c", 0, ("x",), ("s",), ("a",), ("s",), "other base")
    assert missing_units([wanted], [other]) == [wanted]

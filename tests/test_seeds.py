from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from salsanity.seeds import seed_for

names = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4)


def test_seeds_are_the_same_on_every_machine() -> None:
    assert seed_for(0, "noise", 1, "a", 2) == 6838367298999246269


@given(st.integers(0, 5), names, names)
def test_different_paths_give_different_seeds(root: int, a: list, b: list) -> None:
    assert (seed_for(root, *a) == seed_for(root, *b)) == (
        [(type(x), x) for x in a] == [(type(x), x) for x in b]
    )


@given(st.integers(0, 5), names)
def test_seeds_fit_torch_generators(root: int, path: list) -> None:
    assert 0 <= seed_for(root, *path) < 2**63

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salsanity.errors import DataError
from salsanity.randomizers.labels import permuted_labels

LABELS = torch.arange(1000) % 10


def check_permutation(before, after):
    assert torch.equal(before.sort().values, after.sort().values), "the class balance stays"
    share = (before == after).double().mean()
    assert 0.05 < share < 0.15, "about a tenth of ten classes stays where it was"


def test_labels_are_permuted():
    check_permutation(LABELS, permuted_labels(LABELS, 0))
    with pytest.raises(AssertionError):
        check_permutation(LABELS, LABELS)
    with pytest.raises(AssertionError):  # new draws are not a permutation
        check_permutation(LABELS, torch.randint(0, 10, (1000,)))


def test_a_seed_is_a_permutation():
    assert torch.equal(permuted_labels(LABELS, 1), permuted_labels(LABELS, 1))
    assert not torch.equal(permuted_labels(LABELS, 1), permuted_labels(LABELS, 2))


def test_the_global_random_state_is_untouched():
    before = torch.get_rng_state()
    permuted_labels(LABELS, 0)
    assert torch.equal(before, torch.get_rng_state())


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.integers(0, 2**31))
def test_the_class_balance_stays(labels, seed):
    tensor = torch.tensor(labels)
    if len(set(labels)) < 2:
        with pytest.raises(DataError, match="two classes"):
            permuted_labels(tensor, seed)
    else:
        assert sorted(permuted_labels(tensor, seed).tolist()) == sorted(labels)


def test_a_table_is_refused():
    with pytest.raises(DataError, match="shape"):
        permuted_labels(torch.zeros(3, 2, dtype=torch.int64), 0)

"""A `DataLoader` given as images: its items, one by one, in the order of its data set."""

import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from salsanity.data.tensors import as_source
from salsanity.errors import DataError

X = torch.rand(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10)
PAIRS = TensorDataset(X, Y)


class Mappings(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {"image": X[index], "label": int(Y[index])}


class Endless(IterableDataset):
    def __iter__(self):
        return iter(X)


def doubled(items):
    """A collation that does the preprocessing, as image processors do."""
    return {
        "pixel_values": torch.stack([x for x, _ in items]) * 2,
        "labels": torch.tensor([int(y) for _, y in items]),
        "paths": ["somewhere"],
    }


@pytest.mark.parametrize("data", [PAIRS, Mappings()])
@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 4},
        {"batch_size": 4, "shuffle": True},
        {"drop_last": True},
        {"batch_size": None},
    ],
    ids=str,
)
def test_all_items_in_order_whatever_is_shuffled(data, options):
    state = torch.get_rng_state()
    source = as_source(DataLoader(data, **options))
    assert [example.label for example in source] == Y.tolist()
    assert all(torch.equal(example.x, x) for example, x in zip(source, X, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_collation_is_part_of_the_item():
    source = as_source(DataLoader(PAIRS, batch_size=4, collate_fn=doubled))
    assert torch.equal(source[7].x, X[7] * 2)
    assert source[7].label == 7


def test_twin_items_without_their_collation_are_others():
    source = as_source(DataLoader(PAIRS, batch_size=4))
    assert not torch.equal(source[7].x, X[7] * 2)


def test_a_sampler_that_lists_items_is_kept_to():
    source = as_source(DataLoader(PAIRS, sampler=SubsetRandomSampler([7, 2, 5])))
    assert [example.label for example in source] == [2, 5, 7]


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (DataLoader(Endless()), "next\\(iter\\(loader\\)\\)"),
        (DataLoader(PAIRS, sampler=WeightedRandomSampler([1.0] * 10, 10)), "WeightedRandomSampler"),
        (DataLoader(PAIRS, sampler=DistributedSampler(PAIRS, 2, 0)), "Subset"),
    ],
)
def test_what_does_not_say_its_items_is_refused(loader, words):
    with pytest.raises(DataError, match=words):
        as_source(loader)

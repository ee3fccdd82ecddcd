import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salsanity.data.examples import image_id, seeded_order
from salsanity.seeds import seed_for


def literal_id(x):
    """SHA-256 over "(shape) dtype newline" and the bytes of every element in row-major order."""
    whole = hashlib.sha256(f"{tuple(x.shape)} {x.dtype}\n".encode())
    for value in x.flatten():
        whole.update(value.numpy().tobytes())
    return whole.hexdigest()


def check_ids(ids_of):
    x = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7
    others = [
        x.double(),
        x.reshape(3, 2, 4),
        x.flip(0),
        x.clone().index_put_(
            (torch.tensor(0), torch.tensor(0), torch.tensor(0)), torch.tensor(-0.0)
        ),
    ]
    assert ids_of(x) == literal_id(x)
    assert ids_of(x.transpose(0, 2)) == literal_id(x.transpose(0, 2).contiguous())
    assert len({ids_of(value) for value in [x, *others]}) == 1 + len(others)


def test_an_id_says_shape_dtype_and_every_bit():
    check_ids(image_id)
    with pytest.raises(AssertionError):
        check_ids(lambda x: hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest())


def test_odd_dtypes_and_empty_tensors_have_ids():
    ids = {image_id(torch.zeros(4, dtype=d)) for d in (torch.bfloat16, torch.uint8, torch.float16)}
    assert len(ids | {image_id(torch.zeros(0)), image_id(torch.tensor(1.0))}) == 5


@given(st.lists(st.text(max_size=3), unique=True, max_size=12), st.integers(0, 10**6))
def test_the_order_of_two_names_does_not_depend_on_the_others(names, seed):
    order = [names[i] for i in seeded_order(names, seed)]
    assert sorted(order) == sorted(names)
    assert order == sorted(names, key=lambda name: seed_for(seed, "order", name))
    some = names[::2]
    assert [some[i] for i in seeded_order(some, seed)] == [n for n in order if n in some]


def test_equal_names_keep_their_places():
    assert seeded_order(["a", "a", "a"], 0) == (0, 1, 2)


def test_seeds_give_orders():
    names = [str(i) for i in range(50)]
    assert seeded_order(names, 0) == seeded_order(names, 0)
    assert seeded_order(names, 0) != seeded_order(names, 1)

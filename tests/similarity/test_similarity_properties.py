"""What holds for every similarity: itself, symmetry, and no word from the neighbours in a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salsanity.similarity import HOG, SSIM, Cosine, Pearson, Scores, Spearman, View, view

EVERY = [
    Spearman(),
    Pearson(),
    Cosine(),
    SSIM(),
    SSIM.paper(),
    HOG(),
    HOG(correlation="spearman"),
]
NAMES = [similarity.name for similarity in EVERY]


def image(seed, levels, zeros):
    """Three maps of multiples of 1/8, few or many of them, a share of them zero."""
    random = np.random.default_rng(seed)
    values = random.integers(-levels, levels + 1, (3, 12, 14)).astype(np.float32) / 8
    return values * (random.random(values.shape) >= zeros)


images = st.builds(
    image, st.integers(0, 2**32), st.integers(0, 40), st.sampled_from([0.0, 0.5, 0.97, 1.0])
)
quick = settings(max_examples=25, deadline=None)


@pytest.fixture
def threads_restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def view_of(array, signed=True):
    return view(torch.from_numpy(np.array(array))[:, None], signed=signed)


def check_ranks_unmoved(similarity, array):
    wide = array.astype(np.float64)
    original = similarity.prepare(view_of(wide))
    other = similarity.prepare(view_of(wide[::-1]))
    wanted = similarity.compare(original, other).values
    for monotone in (np.exp, np.arctan, lambda v: v**3, lambda v: 7 * v - 2):
        moved = similarity.prepare(view_of(monotone(wide)))
        torch.testing.assert_close(
            similarity.compare(moved, other).values, wanted, rtol=0, atol=0, equal_nan=True
        )


@quick
@given(array=images)
def test_strictly_monotone_maps_do_not_move_spearman(array):
    check_ranks_unmoved(Spearman(), array)


def test_strictly_monotone_maps_move_pearson():
    array = np.random.default_rng(0).integers(-40, 40, (3, 12, 14)) / 8
    with pytest.raises(AssertionError):
        check_ranks_unmoved(Pearson(), array)


@pytest.mark.parametrize("similarity", EVERY, ids=NAMES)
@quick
@given(array=images, signed=st.booleans())
def test_a_map_with_itself_is_exactly_one(similarity, array, signed):
    features = similarity.prepare(view_of(array, signed))
    scores = similarity.compare(features, features)
    for value, reason in zip(scores.values.tolist(), scores.reasons, strict=True):
        assert value == 1.0 or (reason is not None and np.isnan(value))


@pytest.mark.parametrize("similarity", EVERY, ids=NAMES)
@quick
@given(array=images, other=images, signed=st.booleans())
def test_symmetric_and_bounded(similarity, array, other, signed):
    a, b = (similarity.prepare(view_of(m, signed)) for m in (array, other))
    one, two = similarity.compare(a, b).values, similarity.compare(b, a).values
    assert torch.equal(one.nan_to_num(7.0), two.nan_to_num(7.0))
    assert (one.nan_to_num(0.0).abs() <= 1.0 + 1e-6).all()


def check_alone_as_in_company(similarity, first, second, signed):
    a, b = (similarity.prepare(view(m, signed=signed)) for m in (first, second))
    together = similarity.compare(a, b).values
    for i in (*range(4), len(first) // 2, len(first) - 1):
        alone = [similarity.prepare(view(m[i : i + 1], signed=signed)) for m in (first, second)]
        assert torch.equal(similarity.compare(*alone).values, together[i : i + 1])
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(1)).tolist()
    shuffled = [similarity.prepare(view(m[order], signed=signed)) for m in (first, second)]
    assert torch.equal(similarity.compare(*shuffled).values, together[order])
    assert torch.equal(similarity.compare(a.take(order), b.take(order)).values, together[order])


def company(side, count, dtype):
    random = torch.Generator().manual_seed(side)
    first = torch.randn(count, 3, side, side, generator=random, dtype=dtype)
    second = first + torch.randn(count, 3, side, side, generator=random, dtype=dtype)
    first[1] = first[1].round()
    second[2] *= 1e6
    first[3, :, : side // 2] = 0
    return first, second


@pytest.mark.parametrize(
    ("side", "count", "dtype"),
    [
        (13, 40, torch.float32),
        (61, 37, torch.float32),
        (61, 37, torch.float64),
        (224, 5, torch.float32),
    ],
)
@pytest.mark.parametrize("similarity", EVERY, ids=NAMES)
def test_bit_for_bit_independent_of_the_batch(similarity, side, count, dtype):
    maps = company(side, count, dtype)
    for signed in (True, False):
        check_alone_as_in_company(similarity, *maps, signed)


class Standardised:
    """Pearson that takes one mean over the whole batch: the mistake that the check is for."""

    def prepare(self, made: View):
        return Cosine().prepare(View(made.values - made.values.mean(), made.signed))

    def compare(self, a, b) -> Scores:
        return Cosine().compare(a, b)


def test_a_mean_over_the_batch_is_found_out():
    with pytest.raises(AssertionError):
        check_alone_as_in_company(Standardised(), *company(28, 9, torch.float64), True)


@pytest.mark.parametrize("similarity", EVERY, ids=NAMES)
def test_features_taken_twice_or_shifted(similarity):
    first, second = company(28, 6, torch.float32)
    a, b = (similarity.prepare(view(m, signed=True)) for m in (first, second))
    shifted = similarity.compare(a, b.take([1, 2, 3, 4, 5, 0])).values
    other = similarity.prepare(view(second.roll(-1, dims=0), signed=True))
    assert torch.equal(shifted, similarity.compare(a, other).values)
    assert similarity.compare(a.take([2, 2]), b.take([4, 4])).values.unique().numel() == 1
    assert a.take([]).undefined == ()


@pytest.mark.usefixtures("threads_restored")
@pytest.mark.parametrize("similarity", EVERY, ids=NAMES)
def test_the_number_of_threads_changes_nothing(similarity):
    first, second = company(224, 5, torch.float32)

    def run(threads, count):
        torch.set_num_threads(threads)
        pair = [similarity.prepare(view(m[:count], signed=True)) for m in (first, second)]
        return similarity.compare(*pair).values

    together = run(1, 5)
    assert torch.equal(run(2, 5), together)
    assert torch.equal(run(2, 1), together[:1])

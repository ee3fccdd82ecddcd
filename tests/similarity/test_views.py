"""Views, their scaling, and why a map has no similarity."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.similarity_literal import literal_scaled, literal_view
from salsanity.errors import SimilarityError
from salsanity.similarity import HOG, SSIM, Cosine, Pearson, Spearman, View, scaled, view, views

EVERY = [Spearman(), Pearson(), Cosine(), SSIM(), HOG()]


def maps(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("signed", [True, False])
def test_views_are_sums_over_channels(signed):
    batch = maps(2, 3, 5, 4)
    made = view(batch, signed=signed)
    assert made.signed is signed
    np.testing.assert_allclose(made.values, literal_view(batch.numpy(), signed), rtol=1e-14)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(made.values, literal_view(batch.numpy(), not signed))


@pytest.mark.parametrize("shape", [(2, 7), (2, 3, 7), (2, 1, 4, 5), (2, 3, 4, 5, 6), (0, 3, 4, 4)])
def test_views_of_any_input(shape):
    made = view(maps(*shape), signed=False)
    assert made.values.shape == (shape if len(shape) == 2 else (shape[0], *shape[2:]))
    assert (made.values >= 0).all()


def test_views_take_any_memory_format_and_dtype_and_leave_the_maps_alone():
    batch = maps(2, 3, 8, 8, dtype=torch.float32).requires_grad_()
    copy = batch.detach().clone()
    made = view(batch.to(memory_format=torch.channels_last), signed=True)
    assert torch.equal(made.values, view(batch, signed=True).values)
    assert made.values.is_contiguous()
    assert not made.values.requires_grad
    for similarity in EVERY:
        if similarity.name != "ssim":
            similarity.prepare(View(batch[:, 0], True))
    assert torch.equal(batch.detach(), copy)
    assert view(batch.half(), signed=True).values.dtype == torch.float32
    assert view(torch.arange(8).view(1, 1, 8), signed=True).values.dtype == torch.float32


def test_scaling_none_returns_values_that_are_not_the_callers():
    made = view(maps(2, 1, 8, 8), signed=True)
    before = made.values.clone()
    scaled(made, scaling="none").values.zero_()
    assert torch.equal(made.values, before)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 0), (2, 0, 4, 4)])
def test_a_batch_without_pixels_is_refused(shape):
    with pytest.raises(SimilarityError, match="expected maps of shape"):
        view(torch.zeros(shape), signed=True)


def check_scaled(batch, signed, **changes):
    made = view(batch, signed=signed)
    values = scaled(made, **changes).values
    for got, one in zip(values, made.values, strict=True):
        np.testing.assert_allclose(got, literal_scaled(one.numpy(), signed), atol=1e-14)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("side", [6, 10, 28])
def test_scaling_by_the_99th_percentile(signed, side):
    batch = maps(4, 1, side, side)
    batch[1, :, 1:] = 0
    batch[2] = batch[2].round()
    batch[3] = 0
    batch[3, 0, 2, 3] = -7.0
    check_scaled(batch, signed)
    for broken in ("maximum", "minmax"):
        with pytest.raises(AssertionError):
            check_scaled(batch, signed, scaling=broken)


def test_scaling_equals_numpy_at_real_sizes():
    for side in (224, 299):
        made = view(maps(2, 3, side, side), signed=True)
        divisor = np.percentile(np.abs(made.values.numpy()), 99, axis=(1, 2), keepdims=True)
        expected = np.clip(made.values.numpy() / divisor, -1, 1)
        np.testing.assert_allclose(scaled(made).values, expected, rtol=1e-13, atol=0)


def test_other_scalings():
    signed, absolute = (view(maps(2, 1, 9, 9), signed=s) for s in (True, False))
    largest = signed.values.abs().amax((1, 2), keepdim=True)
    assert torch.equal(scaled(signed, scaling="maximum").values, signed.values / largest)
    assert torch.equal(scaled(absolute, scaling="maximum").values, absolute.values / largest)
    squeezed = scaled(signed, scaling="minmax")
    assert squeezed.span == 1.0
    assert (squeezed.values.amin((1, 2)) == 0).all()
    assert (squeezed.values.amax((1, 2)) == 1).all()
    assert torch.equal(scaled(signed, scaling="none").values, signed.values)
    assert (scaled(signed).span, scaled(absolute).span) == (2.0, 1.0)
    with pytest.raises(SimilarityError, match="expected a scaling of"):
        scaled(signed, scaling="softmax")


@pytest.mark.parametrize("n", [1, 2, 3, 100, 101, 784])
def test_percentiles_are_the_same_on_both_paths(n):
    rows = maps(3, n)
    expected = np.percentile(np.abs(rows.numpy()), 99, axis=1)
    np.testing.assert_allclose(views.magnitude_percentile(rows), expected, rtol=1e-14)
    below = int(0.99 * (n - 1))
    assert torch.equal(views._neighbours(rows, below), views._neighbours_on_device(rows, below))


def test_subnormal_and_enormous_maps_scale_without_overflow():
    batch = maps(3, 1, 16, 16, dtype=torch.float32)
    batch[0] *= 1e-44
    batch[1] *= 1e37
    batch[2] = 0
    batch[2, 0, 0, 0], batch[2, 0, 1, 1] = 1e-45, 3e38
    made = scaled(view(batch, signed=True))
    assert made.values.isfinite().all()
    assert made.codes.tolist() == [0, 0, 0]
    assert made.values.abs().amax((1, 2)).tolist() == [1.0, 1.0, 1.0]


def bad_batch():
    batch = maps(6, 1, 28, 28)
    batch[1, 0, 3, 4] = torch.nan
    batch[2, 0, 0, 0] = torch.inf
    batch[3] = 0
    batch[4] = 2.5
    return batch


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("similarity", EVERY, ids=lambda s: s.name)
def test_undefined_maps_score_nan_with_a_reason_and_spoil_no_other(similarity, signed):
    batch, other = bad_batch(), maps(6, 1, 28, 28, seed=1)
    other[5] = -1.0
    a, b = (similarity.prepare(view(m, signed=signed)) for m in (batch, other))
    finite, constant = "map with NaN or infinite values", "constant map"
    assert a.undefined == (None, finite, finite, constant, constant, None)
    for scores in (similarity.compare(a, b), similarity.compare(b, a)):
        assert scores.reasons == (None, finite, finite, constant, constant, constant)
        assert scores.values.isnan().tolist() == [reason is not None for reason in scores.reasons]
    alone = similarity.compare(a.take([0]), b.take([0]))
    assert torch.equal(alone.values, similarity.compare(a, b).values[:1])


@pytest.mark.parametrize("similarity", [SSIM(), HOG()], ids=lambda s: s.name)
def test_maps_that_clipping_makes_constant_are_undefined(similarity):
    batch = torch.ones(1, 1, 28, 28)
    batch[0, 0, 3, 3] = 9.0
    features = similarity.prepare(view(batch, signed=True))
    assert features.undefined == ("map constant after clipping at its 99th percentile",)
    assert Spearman().prepare(view(batch, signed=True)).undefined == (None,)


@pytest.mark.parametrize("similarity", EVERY, ids=lambda s: s.name)
def test_shapes_that_cannot_be_compared_are_refused(similarity):
    one = similarity.prepare(view(maps(2, 1, 28, 28), signed=True))
    for shape in ((2, 1, 28, 30), (3, 1, 28, 28)):
        with pytest.raises(SimilarityError, match=r"same shape on both sides, got \(2, 28, 28\)"):
            similarity.compare(one, similarity.prepare(view(maps(*shape), signed=True)))
    with pytest.raises(SimilarityError, match="expected"):
        similarity.prepare(View(torch.zeros(3), True))


@pytest.mark.parametrize("similarity", EVERY, ids=lambda s: s.name)
def test_an_empty_batch_has_no_scores(similarity):
    empty = similarity.prepare(view(maps(0, 3, 28, 28), signed=True))
    scores = similarity.compare(empty, empty)
    assert scores.values.shape == (0,)
    assert scores.reasons == ()

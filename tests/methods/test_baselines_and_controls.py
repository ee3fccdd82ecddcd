"""Baselines against scipy and closed forms; controls against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from networks import images
from salsanity.errors import MethodError
from salsanity.methods import Baselines, Inputs
from salsanity.methods.baselines import blurred
from salsanity.methods.controls import Edge, InputMagnitude, Noise, NoiseXInput, sobel_magnitude
from salsanity.passes.request import Baseline

X = images(count=2, channels=3, size=20)
IDS = ("a", "b")


def drawn(name: str, *, draw: int = 0, stream: int = 0, pool: Tensor | None = X) -> Tensor:
    return Baselines(0, pool)(Baseline(name), X, IDS, draw, stream)


def test_blur_is_scipy_s_gaussian_filter() -> None:
    for sd in (0.7, 2.0, 9.0):
        ours = blurred(X, sd).numpy()
        theirs = np.stack(
            [
                [ndimage.gaussian_filter(c, sd, mode="reflect", truncate=4) for c in image]
                for image in X.numpy()
            ]
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(ours, np.roll(theirs, 1, -1), atol=1e-12)


def test_blur_s_sd_is_20_pixels_at_width_224() -> None:
    torch.testing.assert_close(drawn("blur"), blurred(X, 20 * 20 / 224))


def test_edges_are_scipy_s_sobel() -> None:
    ours = sobel_magnitude(X).numpy()
    grey = X.mean(1).numpy()
    theirs = np.stack([np.hypot(ndimage.sobel(g, 0), ndimage.sobel(g, 1)) for g in grey])[:, None]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ours, theirs * 1.001, atol=1e-12)


def test_fixed_baselines() -> None:
    assert not drawn("zeros").any()
    assert (Baselines(0)(Baseline("constant", 0.5), X, IDS, 0, 0) == 0.5).all()
    torch.testing.assert_close(drawn("data_mean")[0], X.mean(0))
    far = drawn("max_distance")
    low, high = X.amin(), X.amax()
    assert set(far.unique().tolist()) <= {float(low), float(high)}
    assert ((far - X).abs() >= (high - low) / 2 - 1e-12).all()


@pytest.mark.parametrize("name", ["uniform", "gaussian", "data"])
def test_drawn_baselines_belong_to_image_draw_and_stream(name: str) -> None:
    pool = images(count=50, channels=3, size=20, seed=9)
    first = drawn(name, pool=pool)
    assert torch.equal(first, drawn(name, pool=pool))
    assert not torch.equal(first, drawn(name, pool=pool, draw=1))
    assert not torch.equal(first, drawn(name, pool=pool, stream=1))
    assert first.min() >= pool.min() - 1e-6
    assert first.max() <= pool.max() + 1e-6


def test_baselines_of_the_data_need_data() -> None:
    for name in ("data", "data_mean"):
        with pytest.raises(MethodError, match="needs images"):
            drawn(name, pool=None)


def control(method: object, state: str) -> Tensor:
    steps = method.steps(Inputs(X, torch.zeros(2, dtype=torch.long), IDS, 0, state))
    assert next(steps) == ()
    with pytest.raises(StopIteration) as end:
        steps.send(())
    return end.value.value


def test_controls_ignore_the_network_and_noise_depends_on_its_state() -> None:
    for method in (Edge(), InputMagnitude()):
        assert torch.equal(control(method, "trained"), control(method, "draw 0/fc"))
    assert torch.equal(control(InputMagnitude(), ""), X.abs())
    assert not torch.allclose(control(Noise(), "trained"), control(Noise(), "draw 0/fc"))
    torch.testing.assert_close(control(NoiseXInput(), "s"), control(Noise(), "s") * X)

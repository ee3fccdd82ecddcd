"""The conditional patch model against a literal one, and what its draws promise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from networks import chain, images
from reference.patches_literal import filled, windows
from salsanity import registry
from salsanity.errors import MethodError
from salsanity.methods import Baselines
from salsanity.methods.patches import RIDGE, RING, PatchModel, usual_side
from salsanity.models.network import prepare
from salsanity.passes.points import gaussian
from salsanity.passes.request import Baseline, Fold, Pass, Path, Points
from salsanity.passes.run import Batch, Setting, run
from salsanity.passes.schedule import Demand, State
from salsanity.testing import MethodContract


def scenes(count: int, *, channels: int = 2, height: int = 11, width: int = 13) -> Tensor:
    """Smooth random images: each pixel says something of its neighbours."""
    generator = torch.Generator().manual_seed(3)
    rough = torch.randn(count, channels, height, width, generator=generator, dtype=torch.float64)
    return torch.nn.functional.avg_pool2d(rough, 3, stride=1, padding=1) * 3


POOL = scenes(40)


def literal(
    image: Tensor, seed: int, side: int, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    noise = gaussian(image.shape, seed, torch.float64).numpy()
    pool = POOL.numpy()
    return filled(
        image.numpy(),
        change(noise),
        windows(pool, side + 2 * RING, 1),
        side=side,
        ring=RING,
        ridge=RIDGE,
        low=pool.min(axis=(0, 2, 3)),
        high=pool.max(axis=(0, 2, 3)),
    )


@pytest.mark.parametrize("side", [2, 3, 4])
def test_draws_are_the_literal_ones_also_at_borders(side: int) -> None:
    model = PatchModel.fitted(POOL, side)
    for seed in range(2):
        ours = model.drawn(POOL[seed], seed).numpy()
        np.testing.assert_allclose(ours, literal(POOL[seed], seed, side, lambda z: z), atol=1e-9)


def test_twin_another_noise_and_another_ring_are_not_the_literal_ones() -> None:
    ours = PatchModel.fitted(POOL, 3).drawn(POOL[0], 0).numpy()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ours, literal(POOL[0], 0, 3, np.negative), atol=1e-9)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ours, literal(POOL[1], 0, 3, lambda z: z), atol=1e-9)


def test_what_a_patch_held_does_not_matter_but_its_ring_does() -> None:
    model = PatchModel.fitted(POOL, 3)
    changed = POOL[0].clone()
    changed[:, 4, 4] += 5  # the middle of the patch at (3, 3)
    before, after = model.drawn(POOL[0], 1), model.drawn(changed, 1)
    torch.testing.assert_close(before[:, 3:6, 3:6], after[:, 3:6, 3:6])
    changed[:, 4, 4] -= 5
    changed[:, 2, 4] += 2
    assert not torch.allclose(before[:, 3:6, 3:6], model.drawn(changed, 1)[:, 3:6, 3:6])


def test_the_ring_tells_of_the_patch() -> None:
    """Draws given the ring lie nearer to the image than draws of the data do."""
    model = PatchModel.fitted(POOL, 2)
    drawn = torch.stack([model.drawn(image, seed) for seed, image in enumerate(POOL)])
    assert (drawn - POOL).square().mean() < 0.9 * (POOL.roll(1, 0) - POOL).square().mean()
    assert drawn.amin() >= POOL.amin()
    assert drawn.amax() <= POOL.amax()


def test_pixels_that_never_change_stay_what_they_are() -> None:
    pool = POOL.clone()
    pool[:, :, :, :] = 0
    pool[:, 0, 5, 5] = torch.linspace(0, 1, len(pool), dtype=torch.float64)
    found = PatchModel.fitted(pool, 2).drawn(pool[3], 0)
    assert bool(found.isfinite().all())
    assert not found[1].any()


def test_the_side_follows_the_image() -> None:
    assert [usual_side(n, n) for n in (12, 28, 32, 224, 299)] == [2, 4, 4, 8, 8]


def test_too_small_images_and_other_inputs_are_refused() -> None:
    with pytest.raises(MethodError, match="at least"):
        PatchModel.fitted(scenes(3, height=5, width=5))
    with pytest.raises(MethodError, match="needs images"):
        PatchModel.fitted(torch.zeros(4, 10))
    with pytest.raises(MethodError, match="needs images"):
        Baselines(0)(Baseline("conditional_patches"), POOL[:2], ("a", "b"), 0, 0)


def drawn(
    x: Tensor, ids: tuple[str, ...], *, draw: int = 0, stream: int = 0, seed: int = 0
) -> Tensor:
    return Baselines(seed, POOL)(Baseline("conditional_patches"), x, ids, draw, stream)


def test_draws_belong_to_image_draw_and_stream_and_never_to_the_batch() -> None:
    both = drawn(POOL[:2], ("a", "b"))
    assert torch.equal(both[1:], drawn(POOL[1:2], ("b",)))
    assert torch.equal(both, drawn(POOL[:2], ("a", "b")))
    for other in ({"draw": 1}, {"stream": 1}, {"seed": 1}):
        assert not torch.equal(both, drawn(POOL[:2], ("a", "b"), **other))
    assert drawn(POOL[:2].float(), ("a", "b")).dtype == torch.float32


def test_the_model_is_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[int] = []
    fitted = PatchModel.fitted.__func__
    monkeypatch.setattr(
        PatchModel, "fitted", classmethod(lambda cls, *a: (fits.append(1), fitted(cls, *a))[1])
    )
    baselines = Baselines(0, POOL)
    for draw in range(3):
        baselines(Baseline("conditional_patches"), POOL[:2], ("a", "b"), draw, 0)
    assert len(fits) == 1


def test_integrated_gradients_take_it_by_name() -> None:
    method = registry.method(
        "integrated_gradients(baseline='conditional_patches', baseline_draws=3, baseline_value=2)"
    )
    assert method.stochastic
    assert method.baseline == Baseline("conditional_patches", 2, 3)


def test_a_path_starts_at_the_draw() -> None:
    x = images()
    network = prepare(chain(), x[:1])
    request = Pass(Points(path=Path(3, Baseline("conditional_patches", draws=2))), fold=Fold.PATH)
    state = State("trained", {}, torch.tensor([0, 1, 2]))
    results = [
        run(
            network,
            Batch(x, ("a", "b", "c")),
            [Demand(state, (request,))],
            setting=Setting(0, 0, size, Baselines(0, x)),
        )[0].results[request]
        for size in (1, 16)
    ]
    torch.testing.assert_close(results[0].gradient, results[1].gradient, rtol=1e-9, atol=1e-12)


class TestConditionalPatchesKeepTheContract(MethodContract):
    def method(self) -> str:
        return "integrated_gradients(baseline='conditional_patches', baseline_value=2)"

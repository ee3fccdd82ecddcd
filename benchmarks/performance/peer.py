"""The same work by Quantus 0.6 with Captum 0.9 at its default batching, and by salsanity, measured whole."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.feature import hog
from subject import SIDE, Row, cpu_seconds, images, resnet18, seconds
from torch import nn

SEVEN = (
    "gradient",
    "input_x_gradient",
    "smoothgrad",
    "integrated_gradients",
    "guided_backprop",
    "gradcam",
    "guided_gradcam",
)
EFFORT = 5
"""Samples and steps."""
MORE, PROJECTED = 4, 50
"""Images that ours is measured on too, and images to which both are projected."""


def captum_maps(method: str, effort: int) -> Callable[..., np.ndarray]:
    """Return Captum's method as an explain_func of Quantus: (B, 1, H, W), summed over channels."""
    from captum import attr

    makers: dict[str, Callable[[nn.Module], Any]] = {
        "gradient": lambda m: (attr.Saliency(m), {"abs": False}),
        "input_x_gradient": lambda m: (attr.InputXGradient(m), {}),
        "smoothgrad": lambda m: (
            attr.NoiseTunnel(attr.Saliency(m)),
            {"nt_samples": effort, "stdevs": 0.15, "abs": False},
        ),
        "integrated_gradients": lambda m: (attr.IntegratedGradients(m), {"n_steps": effort}),
        "guided_backprop": lambda m: (attr.GuidedBackprop(m), {}),
        "gradcam": lambda m: (attr.LayerGradCam(m, m.layer4), {"relu_attributions": True}),
        "guided_gradcam": lambda m: (attr.GuidedGradCam(m, m.layer4), {}),
    }

    def explain(model: nn.Module, inputs: Any, targets: Any, **_: object) -> np.ndarray:
        method_of, options = makers[method](model)
        at = next(model.parameters()).device
        x, wanted = (torch.as_tensor(given).to(at) for given in (inputs, targets))
        maps = method_of.attribute(x.requires_grad_(), target=wanted, **options).detach()
        if maps.shape[-1] != SIDE:
            maps = torch.nn.functional.interpolate(maps, (SIDE, SIDE), mode="bilinear")
        found: np.ndarray = maps.sum(1, keepdim=True).cpu().numpy()
        # Quantus stops where a map is flat, as GradCAM's are under random weights.
        slope = np.linspace(0, 1e-9, found[0].size, dtype=np.float32).reshape(found[0].shape)
        flat = np.ptp(found, axis=(1, 2, 3)) == 0
        found[flat] += slope
        return found

    return explain


def hog_correlation(a: np.ndarray, b: np.ndarray, **_: object) -> np.ndarray:
    """Correlate scikit-image's HOG, which Quantus lacks; the arguments come flattened (B, n)."""

    def features(row: np.ndarray) -> np.ndarray:
        return hog(row.reshape(SIDE, SIDE), pixels_per_cell=(16, 16), cells_per_block=(3, 3))

    pairs = zip(a, b, strict=True)
    return np.array([np.corrcoef(features(x), features(y))[0, 1] for x, y in pairs])


def quantus_run(
    folder: Path,
    count: int,
    methods: tuple[str, ...],
    names: tuple[str, ...],
    views: tuple[bool, ...],
    *,
    device: str = "cpu",
) -> Callable[[], object]:
    """Return the model parameter randomisation test by Quantus, once per method, similarity and view."""
    import quantus

    def ssim(a: np.ndarray, b: np.ndarray, **options: Any) -> np.ndarray:
        """Quantus's own, whose list of a batch Quantus's own test cannot take."""
        return np.asarray(quantus.similarity_func.ssim(a, b, **options))

    similar = {
        "spearman": quantus.similarity_func.correlation_spearman,
        "ssim": ssim,
        "hog": hog_correlation,
    }
    model, x = resnet18(folder).to(device), images(count).numpy()
    y = np.zeros(count, dtype=np.int64)

    def one(method: str, name: str, is_absolute: bool) -> object:
        metric = quantus.MPRT(
            similarity_func=similar[name],
            layer_order="top_down",
            abs=is_absolute,
            normalise=True,
            disable_warnings=True,
        )
        return metric(model, x, y, explain_func=captum_maps(method, EFFORT), device=device)

    def job() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [one(m, s, v) for m in methods for s in names for v in views]

    return job


def our_run(
    folder: Path,
    count: int,
    methods: tuple[str, ...],
    names: tuple[str, ...],
    *,
    device: str = "cpu",
) -> Callable[[], object]:
    """Return the same by salsanity: from the model to the report, without the imports, as for Quantus."""
    import salsanity.report.figures
    import salsanity.suite.running

    model, x = resnet18(folder).to(device), images(count)

    def job() -> object:
        with tempfile.TemporaryDirectory() as out:
            return salsanity.model_randomization_test(
                model,
                x,
                methods=methods,
                similarities=names,
                blocks="layer",
                stages="all",
                draws=1,
                samples=EFFORT,
                steps=EFFORT,
                gallery=0,
                init="module",
                device=device,
                out=Path(out) / "run",
            )

    return job


def peer(folder: Path) -> Iterator[Row]:
    """Measure one method with one similarity on 8 images, then everything on one image; always both views."""
    one, three = (("gradient",), ("spearman",)), (SEVEN, ("spearman", "ssim", "hog"))
    views = [seconds(quantus_run(folder, 8, *one, (signed,))) for signed in (False, True)]
    ours = seconds(our_run(folder, 8, *one))
    what = "gradient, Spearman, two views, 41 layers, 8 images"
    note = f"Quantus, one view: {views[1]:.1f} s. Ours includes four controls, intervals and the report"
    yield _row(what, ours, sum(views), 1.5, note)
    theirs = seconds(quantus_run(folder, 1, *three, (False, True)))
    ours = seconds(our_run(folder, 1, *three))
    what = f"seven methods, three similarities, two views, 41 layers, {EFFORT} samples and steps"
    yield _row(f"{what}, 1 image", ours, theirs, 10, "measured whole")
    # Batches of more images are all that makes Quantus faster; what they bring is seen on the gradient.
    alone = seconds(quantus_run(folder, 1, *one, (True,)))
    gain = max(1.0, 8 * alone / views[1])
    each = (seconds(our_run(folder, MORE, *three)) - ours) / (MORE - 1)
    projected = ours + (PROJECTED - 1) * each
    note = (
        f"PROJECTED: ours from 1 and {MORE} images ({each:.1f} s for each more), Quantus from 1 image, divided by "
        f"{gain:.2f}, by which 8 images are faster than 8 times one for the gradient"
    )
    yield _row(f"{what}, {PROJECTED} images", projected, PROJECTED * theirs / gain, 10, note)


def whole(folder: Path, count: int = 8) -> Iterator[Row]:
    """Measure everything on `count` images, an hour and more, in CPU seconds, since no machine stays quiet for so long.

    Ours is measured before and after, at both ends of what else the machine does meanwhile.
    """
    three = (SEVEN, ("spearman", "ssim", "hog"))
    before = cpu_seconds(our_run(folder, count, *three))
    theirs = cpu_seconds(quantus_run(folder, count, *three, (False, True)))
    after = cpu_seconds(our_run(folder, count, *three))
    what = f"seven methods, three similarities, two views, 41 layers, {EFFORT} samples and steps, {count} images; CPU seconds"
    note = f"measured whole; ours {before:.0f} s before and {after:.0f} s after"
    yield _row(what, (before + after) / 2, theirs, 12, note)


def _row(what: str, ours: float, theirs: float, target: float, note: str) -> Row:
    ratio = theirs / ours
    return Row(
        f"against Quantus + Captum: {what}",
        f"{ours:.1f} s",
        "",
        f"{theirs:.1f} s",
        ratio,
        f"at least {target:g} times",
        ratio >= target,
        note,
    )

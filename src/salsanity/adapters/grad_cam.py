"""pytorch-grad-cam's classes as methods: `grad_cam:EigenCAM(layer="layer4")`.

The library scales every map to [0, 1] by its own smallest and largest value, which would hide how a map's height and
zero change. Here the map is taken before that, after the library's own cut at 0; where scaling happens inside a method
and cannot be left out, a note says so. `layer` names a module (default: GradCAM's layer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor, nn

from salsanity.adapters.activations import calls_of
from salsanity.adapters.library import Arguments, LibraryMethod, Scene, chosen, imported, layer_of
from salsanity.errors import MethodError
from salsanity.registry import spelled

CLASSES: Final = (
    "GradCAM",
    "GradCAMPlusPlus",
    "GradCAMElementWise",
    "HiResCAM",
    "XGradCAM",
    "LayerCAM",
    "EigenCAM",
    "EigenGradCAM",
    "SegEigenCAM",
    "KPCA_CAM",
    "FEM",
    "ShapleyCAM",
    "FinerCAM",
    "RandomCAM",
    "FullGrad",
    "ScoreCAM",
    "AblationCAM",
    "RefineCAM",
    "SESS",
)

SCALED_INSIDE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "FullGrad": "it adds maps that are each scaled to [0, 1]; its last scaling is left out",
        "RefineCAM": "it multiplies maps that are each scaled to [0, 1], and scales the product",
        "SESS": "it joins maps of windows that are each scaled to [0, 1], and scales the whole",
    }
)
"""Classes in which the library's min-max scaling is part of the method, or cannot be taken out."""

_WRAPPERS: Final = ("FinerCAM", "RefineCAM", "SESS")
_NOT_FOR_USERS: Final = (
    "model",
    "target_layers",
    "reshape_transform",
    "ablation_layer",
    "base_method",
    "compute_input_gradient",
    "uses_gradients",
    "tta_transforms",
    "detach",
    "kwargs",
)
_NOT_ASKED: Final = ("input_tensor", "targets", "target_idx", "comparison_categories")


def method(target: str, arguments: Mapping[str, Any]) -> LibraryMethod:
    """Return pytorch-grad-cam's class as a method; the entry point `grad_cam` of `salsanity.libraries`.

    Raises `MethodError` where the library is missing, or for a class or argument that does not exist.
    """
    name = spelled(f"grad_cam:{target}", arguments)
    library = imported("pytorch_grad_cam", method=name, extra="grad-cam")
    kind = chosen(library, target, CLASSES, library="grad_cam")
    given = Arguments(arguments, name)
    layer = given.one("layer", None, str, "the name of a module") if target != "FullGrad" else None
    made = given.of(kind.__init__, without=_NOT_FOR_USERS)
    asked = given.of(kind.forward, without=_NOT_ASKED)
    given.check()
    return LibraryMethod(
        name, f"grad-cam {_version()}", ClassActivation(name, kind, made, asked, layer)
    )


@final
@dataclass(frozen=True)
class ClassActivation:
    """One of the library's classes with its settings: `made_with` for the class, `asked_with` for the call."""

    name: str
    kind: Callable[..., Any]
    made_with: Mapping[str, Any]
    asked_with: Mapping[str, Any]
    layer: str | None = None

    @property
    def title(self) -> str:
        """The name of the class."""
        return self.kind.__name__

    def maps(self, scene: Scene) -> Tensor:
        """Return the map before it is scaled, (1, 1, h, w) at the layer's size; scaled ones at the image's."""
        explainer = self._explainer(scene)
        heard: list[Any] = []
        _listen(explainer, self.title, heard)
        x = scene.x.requires_grad_()  # parameters want no gradients here, so the input must
        if self.title == "SESS":  # it detaches the input; `swapped` undoes this
            scene.module.requires_grad_(True)
        try:
            scaled = explainer(x, **self._target(scene), **self.asked_with)
        finally:
            _release(explainer)
        found = torch.from_numpy(np.asarray(heard[-1] if heard else scaled, dtype=np.float32))
        return found.clamp(min=0)[:, None] if found.dim() == 3 else found.clamp(min=0)

    def admit(self, scene: Scene) -> Sequence[str]:
        """Check the layer; say which it is, and where the library's scaling stays."""
        if scene.x.dim() not in (4, 5):
            raise MethodError(
                f"{self.name} needs images or volumes, got inputs of {tuple(scene.x.shape)}"
            )
        notes = []
        if self.title == "FullGrad":
            _check_biases(scene, self.name)
        else:
            name, _ = layer_of(scene, self.layer, self.name)
            notes.append(f"looks at layer {name!r}")
        if self.title in SCALED_INSIDE:
            notes.append(SCALED_INSIDE[self.title])
        return notes

    def _explainer(self, scene: Scene) -> Any:
        settings = dict(self.made_with)
        if self.title == "AblationCAM":  # its default is one object for all
            library = imported("pytorch_grad_cam", method=self.name, extra="grad-cam")
            settings["ablation_layer"] = library.AblationLayer()
        if self.title == "FullGrad":
            return self.kind(scene.module, [], **settings)
        name, layer = layer_of(scene, self.layer, self.name)
        spatial = scene.spatial if scene.spatial and scene.spatial.name == name else None
        if spatial is not None and spatial.kind != "nchw":
            settings["reshape_transform"] = spatial.laid_out
        return self.kind(scene.module, [layer], **settings)

    def _target(self, scene: Scene) -> dict[str, Any]:
        if self.title == "FinerCAM":  # it builds its own target from the class and its rivals
            return {"target_idx": int(scene.target)}
        targets = imported(
            "pytorch_grad_cam.utils.model_targets", method=self.name, extra="grad-cam"
        )
        return {"targets": [targets.ClassifierOutputTarget(int(scene.target))]}


def _check_biases(scene: Scene, name: str) -> None:
    """Raise `MethodError` unless every layer whose bias FullGrad takes runs once: it pairs biases and gradients by order."""
    runs = calls_of(scene.module, scene.x).modules
    biased = [
        part_name
        for part_name, part in scene.module.named_modules()
        if type(part) in (nn.Conv2d, nn.BatchNorm2d) and part.bias is not None
    ]
    odd = [part_name for part_name in biased if runs[part_name] != 1]
    if odd:
        raise MethodError(
            f"{name} pairs the biases of convolutions and batch norms with their gradients, so each must run once, but "
            f"{odd[0]} runs {runs[odd[0]]} times; leave it out"
        )


def _version() -> str:
    try:
        return version("grad-cam")
    except PackageNotFoundError:
        return ""


def _listen(explainer: Any, title: str, heard: list[Any]) -> None:
    """Keep what the explainer computes before it scales it."""
    if title in ("RefineCAM", "SESS"):
        return
    if title == "FullGrad":
        _overhear(explainer, "compute_cam_per_layer", lambda found: heard.append(found.sum(1)))
        return
    _overhear(getattr(explainer, "base_cam", explainer), "get_cam_image", heard.append)


def _overhear(explainer: Any, name: str, tell: Callable[[Any], None]) -> None:
    """Let one object's method also tell what it returns."""
    inner = getattr(explainer, name)

    def telling(*args: Any, **kwargs: Any) -> Any:
        found = inner(*args, **kwargs)
        tell(found)
        return found

    setattr(explainer, name, telling)


def _release(explainer: Any) -> None:
    several = getattr(explainer, "base_cam_per_layer", None)
    for one in several or [getattr(explainer, "base_cam", explainer)]:
        one.activations_and_grads.release()

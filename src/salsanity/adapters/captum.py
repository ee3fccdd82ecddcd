"""Captum's attribution classes as methods: `captum:Occlusion(sliding_window_shapes=(3, 16, 16))`.

Arguments go by their names to the class or to its `attribute`. Of our own are `layer` (the name of a module; default:
GradCAM's layer), `feature_size` (side in pixels of the squares that count as one feature; default an eighth of the
image), `baselines` (a number; default 0) and, for `NoiseTunnel`, `method` (a class, with its arguments).
Where Captum's default would spoil the check, another stands here: see `DEFAULTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from salsanity.adapters.activations import ACTIVATIONS, OTHERS, calls_of, refuse_hidden, unshare
from salsanity.adapters.library import (
    Arguments,
    LibraryMethod,
    Scene,
    chosen,
    imported,
    layer_of,
    nested,
    side_of,
    squares,
)
from salsanity.errors import MethodError
from salsanity.registry import spelled

CLASSES: Final = (
    "Saliency",
    "InputXGradient",
    "IntegratedGradients",
    "DeepLift",
    "DeepLiftShap",
    "GradientShap",
    "GuidedBackprop",
    "GuidedGradCam",
    "Deconvolution",
    "LayerGradCam",
    "LRP",
    "Occlusion",
    "FeatureAblation",
    "ShapleyValueSampling",
    "KernelShap",
    "Lime",
    "NoiseTunnel",
)

REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "FeaturePermutation": "it permutes features among the images of a batch, so that a map would depend on the others",
        "ShapleyValues": "it visits every order of the features; take ShapleyValueSampling",
    }
)

AT_ONCE: Final = 16
"""Evaluations that go through the network together; Captum's own defaults are all at once, or one."""

DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "Saliency": {"abs": False},  # Captum's True would leave no sign to judge
        "IntegratedGradients": {"internal_batch_size": AT_ONCE},
        "Occlusion": {"perturbations_per_eval": AT_ONCE},
        "FeatureAblation": {"perturbations_per_eval": AT_ONCE},
        "ShapleyValueSampling": {"perturbations_per_eval": AT_ONCE},
        "KernelShap": {"perturbations_per_eval": AT_ONCE},
        "Lime": {"perturbations_per_eval": AT_ONCE},
    }
)

BASELINE_DRAWS: Final = 5
"""Drawn baselines of GradientShap and DeepLiftShap: uniform noise between the image's smallest and largest value."""

NOISE_SD: Final = 0.15
"""NoiseTunnel's `stdevs` as a share of the image's range, as in SmoothGrad; Captum's 1.0 knows no preprocessing."""

_LAYERED: Final = ("GuidedGradCam", "LayerGradCam")
_DRAWN_BASELINES: Final = ("DeepLiftShap", "GradientShap")
_OWN: Final = (
    "inputs",
    "target",
    "baselines",
    "feature_mask",
    "additional_forward_args",
    "return_convergence_delta",
    "custom_attribution_func",
    "return_input_shape",
    "show_progress",
    "verbose",
    "kwargs",
    "grad_kwargs",
)
_NOT_FOR_USERS: Final = (
    "forward_func",
    "model",
    "layer",
    "device_ids",
    "attribution_method",
    "interpretable_model",
    "similarity_func",
    "perturb_func",
)


def method(target: str, arguments: Mapping[str, Any]) -> LibraryMethod:
    """Return Captum's class `target` as a method; the entry point `captum` of `salsanity.libraries`.

    Raises `MethodError` where Captum is missing, or for a class or argument that does not exist.
    """
    name = spelled(f"captum:{target}", arguments)
    attr = imported("captum.attr", method=name, extra="captum")
    version = getattr(imported("captum", method=name, extra="captum"), "__version__", "")
    return LibraryMethod(name, f"captum {version}", _attribution(attr, target, arguments, name))


@final
@dataclass(frozen=True)
class Attribution:
    """One of Captum's classes with its settings.

    `made_with` goes to the class, `asked_with` to its `attribute`. `kind` and `inside` are classes of Captum.
    """

    name: str
    kind: Callable[..., Any]
    made_with: Mapping[str, Any]
    asked_with: Mapping[str, Any]
    layer: str | None = None
    feature_size: int | None = None
    baseline: float = 0.0
    inside: Attribution | None = None

    @property
    def multiplied(self) -> bool:
        """Whether attributions are multiplied by the input (Captum's `multiply_by_inputs`)."""
        family = _family(self)
        return family == "InputXGradient" or (
            "multiply_by_inputs" in _names(self._innermost().kind)
            and bool(self._innermost().made_with.get("multiply_by_inputs", True))
        )

    @property
    def title(self) -> str:
        """The name of Captum's class."""
        return self.kind.__name__

    def maps(self, scene: Scene) -> Tensor:
        """Return the map of the scene, (1, C, *spatial), or (1, 1, h, w) of a layer."""
        if _family(self) in ("DeepLift", "DeepLiftShap", "LRP"):
            unshare(scene.module, scene.x)
        if _family(self) == "LRP":
            _let_through(scene.module, self.name)
        found: Tensor = self._explainer(scene).attribute(
            scene.x, target=scene.target, **self._asked(scene)
        )
        return found

    def admit(self, scene: Scene) -> Sequence[str]:
        """Check layers, and that no rule misses an activation; say which defaults are ours."""
        notes = []
        if _family(self) in _LAYERED:
            layer, _ = layer_of(scene, self._innermost().layer, self.name)
            _check_channels_first(scene, layer, self.name)
            notes.append(f"looks at layer {layer!r}")
        _check_rules(scene, _family(self), self.name)
        return notes + self._defaults(scene)

    def _innermost(self) -> Attribution:
        return self if self.inside is None else self.inside._innermost()

    def _explainer(self, scene: Scene) -> Any:
        if self.inside is not None:
            return self.kind(self.inside._explainer(scene))
        made = dict(self.made_with)
        if self.title in _LAYERED:
            made["layer"] = layer_of(scene, self.layer, self.name)[1]
        return self.kind(scene.module, **made)

    def _asked(self, scene: Scene) -> dict[str, Any]:
        x, asked = scene.x, dict(self.asked_with)
        if self.inside is not None:
            spread = float(x.max() - x.min())
            return {**self.inside._asked(scene), "stdevs": NOISE_SD * spread, **asked}
        if self.title in _DRAWN_BASELINES:
            asked["baselines"] = _uniform(x)
        elif "baselines" in _names(self.kind):
            asked["baselines"] = self.baseline
        if self.title == "Occlusion":
            asked = {**_window(x, self.feature_size, asked), **asked}
        elif "feature_mask" in _names(self.kind):
            asked["feature_mask"] = squares(x, side_of(x, self.feature_size))
        return asked

    def _defaults(self, scene: Scene) -> list[str]:
        """Say which of our defaults matter to what the map shows."""
        if self.inside is not None:
            stated = (
                []
                if "stdevs" in self.asked_with
                else [f"noise of sd {NOISE_SD} x the image's range"]
            )
            return stated + self.inside._defaults(scene)
        if self.title in _DRAWN_BASELINES:
            return [f"baselines are {BASELINE_DRAWS} draws of uniform noise in the image's range"]
        if self.title == "Occlusion":
            window = {**_window(scene.x, self.feature_size, self.asked_with), **self.asked_with}
            return [
                f"windows of {window['sliding_window_shapes']} at strides of {window['strides']}"
            ]
        if "feature_mask" in _names(self.kind):
            return [f"features are squares of {side_of(scene.x, self.feature_size)} pixels"]
        return []


def _attribution(
    attr: ModuleType, target: str, arguments: Mapping[str, Any], name: str
) -> Attribution:
    if target in REFUSED:
        raise MethodError(f"captum:{target} is not offered: {REFUSED[target]}")
    kind = chosen(attr, target, CLASSES, library="captum")
    if target == "NoiseTunnel":
        return _tunnel(attr, kind, arguments, name)
    given = Arguments(arguments, name)
    made = given.of(kind.__init__, without=_NOT_FOR_USERS)
    asked = given.of(kind.attribute, without=_OWN)
    found = Attribution(
        name,
        kind,
        made,
        {**DEFAULTS.get(target, {}), **asked},
        given.one("layer", None, str, "the name of a module") if target in _LAYERED else None,
        given.one("feature_size", None, int, "a whole number of pixels")
        if {"feature_mask", "sliding_window_shapes"} & set(_names(kind))
        else None,
        given.one("baselines", 0.0, (int, float), "a number") if _has_baseline(kind) else 0.0,
    )
    given.check()
    return found


def _tunnel(
    attr: ModuleType, kind: Callable[..., Any], arguments: Mapping[str, Any], name: str
) -> Attribution:
    given = Arguments(arguments, name)
    of_tunnel = tuple(_names(kind))
    asked = given.named(
        *(n for n in of_tunnel if n not in {"self", "draw_baseline_from_distrib", *_OWN})
    )
    wrapped = given.named("method").get("method", "Saliency")
    target, inner = nested(wrapped, method=name, argument="method")
    given.check()
    if target == "NoiseTunnel":
        raise MethodError(f"{name} expects another class than NoiseTunnel in method=")
    return Attribution(name, kind, {}, asked, inside=_attribution(attr, target, inner, name))


def _names(kind: Any) -> list[str]:
    """The arguments of a class's `attribute`."""
    code = getattr(kind.attribute, "__wrapped__", kind.attribute).__code__
    return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def _has_baseline(kind: Any) -> bool:
    return "baselines" in _names(kind) and kind.__name__ not in _DRAWN_BASELINES


def _family(attribution: Attribution) -> str:
    return attribution._innermost().title


def _uniform(x: Tensor) -> Tensor:
    share = torch.rand(BASELINE_DRAWS, *x.shape[1:]).to(x)
    return x.min() + share * (x.max() - x.min())


def _window(x: Tensor, side: int | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the window of Occlusion, a square of all channels, and strides of half of it."""
    places = tuple(min(side_of(x, side), size) for size in x.shape[2:])
    usual = (x.shape[1], *places) if x.dim() > 2 else (1,)
    window = asked.get("sliding_window_shapes", usual)
    halves = tuple(max(1, -(-int(n) // 2)) for n in window[1:])
    return {"sliding_window_shapes": window, "strides": (window[0], *halves)}


def _check_channels_first(scene: Scene, layer: str, name: str) -> None:
    kind = scene.spatial.kind if scene.spatial and scene.spatial.name == layer else "nchw"
    if kind != "nchw":
        raise MethodError(
            f"{name} takes layers of shape (N, C, h, w), but {layer!r} gives {kind}; name another, or use gradcam"
        )


def _check_rules(scene: Scene, family: str, name: str) -> None:
    """Raise `MethodError` where a rule that Captum puts on modules would miss an activation."""
    if family in ("GuidedBackprop", "GuidedGradCam", "Deconvolution"):
        calls = calls_of(scene.module, scene.x)
        refuse_hidden(calls.hidden_from(_is_relu, ACTIVATIONS), method=name, what="nn.ReLU")
        if not any(_is_relu(c.kind) for c in calls.nonlinear):
            raise MethodError(
                f"{name} needs a network with nn.ReLU modules, but this one runs none; leave it out"
            )
    if family in ("DeepLift", "DeepLiftShap"):
        known = imported(
            "captum.attr._core.deep_lift", method=name, extra="captum"
        ).SUPPORTED_NON_LINEAR
        hidden = calls_of(scene.module, scene.x).hidden_from(
            known.__contains__, ACTIVATIONS | OTHERS
        )
        what = ", ".join(f"nn.{kind.__name__}" for kind in known)
        refuse_hidden(hidden, method=name, what=what)
    if family == "LRP":
        _check_lrp(scene, name)


def _is_relu(kind: type) -> bool:
    return issubclass(kind, nn.ReLU)


_RESHAPING: Final = (
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
)


def _let_through(module: nn.Module, name: str) -> None:
    """Give layers that change no value (in eval mode) Captum's rule for those that do: it passes relevance through."""
    rules = imported("captum.attr._utils.lrp_rules", method=name, extra="captum")
    for part in module.modules():
        if isinstance(part, _RESHAPING):
            part.rule = rules.EpsilonRule()


def _check_lrp(scene: Scene, name: str) -> None:
    lrp = imported("captum.attr._core.lrp", method=name, extra="captum")
    known = (*lrp.SUPPORTED_LAYERS_WITH_RULES, *lrp.SUPPORTED_NON_LINEAR_LAYERS, *_RESHAPING)
    leaves = [(n, type(m)) for n, m in scene.module.named_modules() if not list(m.children())]
    foreign = [f"{n} ({kind.__name__})" for n, kind in leaves if kind not in known]
    if foreign:
        raise MethodError(
            f"{name} has no rule for {', '.join(foreign[:3])}; it knows {', '.join(k.__name__ for k in known)}"
        )
    calls = calls_of(scene.module, scene.x)
    hidden = calls.hidden_from(known.__contains__, ACTIVATIONS | OTHERS)
    refuse_hidden(hidden, method=name, what="nn.ReLU, nn.Tanh, pooling")
    if calls.sums:
        raise MethodError(
            f"{name} has no rule for sums in forward passes (x + y in {next(iter(calls.sums)) or 'the network itself'}): "
            "it would pass the whole relevance to both summands; take zennit, or write sums as modules that Captum knows"
        )

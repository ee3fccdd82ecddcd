"""zennit's composites and attributors as methods: `zennit:EpsilonPlusFlat`, `zennit:SmoothGrad(composite="EpsilonPlus")`.

A composite alone is its modified gradient. An attributor (Gradient, SmoothGrad, IntegratedGradients) takes a composite
with its arguments in `composite`, or none. Of our own are `low` and `high` of EpsilonGammaBox (numbers, or one per
channel; default the image's own extremes) and `canonizer` (`auto`, `none`, or a class of zennit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from salsanity.adapters.activations import ACTIVATIONS, ATTENTION, Calls, calls_of, refuse_hidden
from salsanity.adapters.library import Arguments, LibraryMethod, Scene, chosen, imported, nested
from salsanity.errors import MethodError
from salsanity.registry import spelled

ATTRIBUTORS: Final = ("Gradient", "SmoothGrad", "IntegratedGradients")

COMPOSITES: Final = (
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "ExcitationBackprop",
    "GuidedBackprop",
    "DeconvNet",
    "BetaSmooth",
)

ON_RECTIFIERS: Final = ("GuidedBackprop", "DeconvNet", "BetaSmooth")
"""Composites whose only rule is one for `nn.ReLU`; the others follow relevance through every layer."""

CANONIZERS: Final = ("SequentialMergeBatchNorm", "ResNetCanonizer", "VGGCanonizer")

_NOT_FOR_USERS: Final = ("layer_map", "first_map", "zero_params", "canonizers", "low", "high")
_NOT_OF_ATTRIBUTORS: Final = (
    "model",
    "composite",
    "attr_output",
    "create_graph",
    "retain_graph",
    "baseline_fn",
)


def method(target: str, arguments: Mapping[str, Any]) -> LibraryMethod:
    """Return zennit's composite or attributor `target` as a method; the entry point `zennit` of `salsanity.libraries`.

    Raises `MethodError` where zennit is missing, or for a name or argument that does not exist.
    """
    name = spelled(f"zennit:{target}", arguments)
    for part in ("composites", "attribution", "canonizers"):
        _part(part, name)
    given = Arguments(arguments, name)
    if target in ATTRIBUTORS:
        explanation = _attributor(target, given)
    elif target in COMPOSITES:
        explanation = Relevance(name, "Gradient", {}, _composite(target, given))
    else:
        both = (*COMPOSITES, *ATTRIBUTORS)
        raise MethodError(f"expected zennit:NAME with one of {', '.join(both)}, got {target!r}")
    given.check()
    return LibraryMethod(name, f"zennit {_version()}", explanation)


@final
@dataclass(frozen=True)
class Composite:
    """One of zennit's composites with its settings."""

    title: str
    settings: Mapping[str, Any]
    low: Any = None
    high: Any = None
    canonizer: str = "auto"

    def made(self, scene: Scene, name: str) -> Any:
        """Return zennit's object for this image and network."""
        settings = dict(self.settings)
        if self.title == "EpsilonGammaBox":
            settings["low"] = _bound(scene.x, self.low, name, torch.amin)
            settings["high"] = _bound(scene.x, self.high, name, torch.amax)
        canonizers = _canonizers(scene.module, self, name)
        return getattr(_part("composites", name), self.title)(**settings, canonizers=canonizers)


@final
@dataclass(frozen=True)
class Relevance:
    """An attributor over a composite, or over none."""

    name: str
    attributor: str
    settings: Mapping[str, Any]
    composite: Composite | None = None

    def maps(self, scene: Scene) -> Tensor:
        """Return the attribution of the class's logit, started with 1, (1, C, *spatial)."""
        composite = None if self.composite is None else self.composite.made(scene, self.name)
        kind = getattr(_part("attribution", self.name), self.attributor)
        attributor = kind(model=scene.module, composite=composite, **self.settings)
        with attributor:
            _, found = attributor(scene.x, lambda output: _one_hot(output, scene.target))
        attributed: Tensor = found
        return attributed

    def admit(self, scene: Scene) -> Sequence[str]:
        """Check that the composite's rules meet the network's activations, and that a canonizer changes no logit."""
        if self.composite is None:
            return []
        calls = calls_of(scene.module, scene.x)
        _check_rules(calls, self.composite, self.name)
        made = self.composite.made(scene, self.name)
        _check_registered(made, scene, self.name)
        return _notes(calls, made, self.composite)


def _attributor(target: str, given: Arguments) -> Relevance:
    kind = chosen(_part("attribution", given.method), target, ATTRIBUTORS, library="zennit")
    settings = given.of(kind.__init__, without=_NOT_OF_ATTRIBUTORS)
    text = given.named("composite").get("composite")
    if text is None:
        return Relevance(given.method, target, settings)
    title, inner = nested(text, method=given.method, argument="composite")
    of_composite = Arguments(inner, given.method)
    composite = _composite(title, of_composite)
    of_composite.check()
    return Relevance(given.method, target, settings, composite)


def _composite(title: str, given: Arguments) -> Composite:
    kind = chosen(_part("composites", given.method), title, COMPOSITES, library="zennit")
    settings = given.of(kind.__init__, without=_NOT_FOR_USERS)
    canonizer = given.one("canonizer", "auto", str, f"auto, none, {', '.join(CANONIZERS)}")
    if canonizer not in ("auto", "none", *CANONIZERS):
        options = ", ".join(("auto", "none", *CANONIZERS))
        raise MethodError(
            f"{given.method} expects canonizer as one of {options}, got {canonizer!r}"
        )
    bounds: dict[str, Any] = {}
    if title == "EpsilonGammaBox":
        kinds, meaning = (int, float, tuple, list), "a number, or one per channel"
        bounds = {n: given.one(n, None, kinds, meaning) for n in ("low", "high")}
    return Composite(title, settings, **bounds, canonizer=canonizer)


def _part(name: str, method_name: str) -> Any:
    return imported(f"zennit.{name}", method=method_name, extra="zennit")


def _version() -> str:
    from importlib.metadata import version

    return version("zennit")


def _one_hot(output: Tensor, target: Tensor) -> Tensor:
    return torch.zeros_like(output).scatter_(1, target[:, None], 1.0)


def _bound(x: Tensor, value: Any, name: str, extreme: Any) -> Tensor:
    """Return a bound of the pixels in the shape of x: the value for all, one per channel, or the image's own."""
    channels = (1, -1, *[1] * (x.dim() - 2))
    if value is None:
        own: Tensor = extreme(x.detach(), dim=tuple(range(2, x.dim())), keepdim=True)
        return own.expand_as(x)
    values = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    if values.dim() > 1 or (values.dim() == 1 and len(values) != x.shape[1]):
        raise MethodError(
            f"{name} expects low and high as numbers, or as {x.shape[1]} numbers, got {value!r}"
        )
    return values.view(channels if values.dim() else ()).expand_as(x)


def _canonizers(module: nn.Module, composite: Composite, name: str) -> list[Any]:
    """Return what brings the network into the form that the rules suppose: batch norms merged, sums as modules."""
    wanted = composite.canonizer
    if wanted == "none" or (wanted == "auto" and composite.title in ON_RECTIFIERS):
        return []
    if wanted == "auto":
        wanted = _suiting(module)
    if not wanted:
        return []
    where = "canonizers" if wanted == "SequentialMergeBatchNorm" else "torchvision"
    return [getattr(_part(where, name), wanted)()]


def _suiting(module: nn.Module) -> str:
    kinds = {f"{type(m).__module__}.{type(m).__name__}" for m in module.modules()}
    if kinds & {f"torchvision.models.resnet.{n}" for n in ("BasicBlock", "Bottleneck")}:
        return "ResNetCanonizer"
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return "SequentialMergeBatchNorm" if any(isinstance(m, norms) for m in module.modules()) else ""


def _check_rules(calls: Calls, composite: Composite, name: str) -> None:
    if composite.title in ON_RECTIFIERS:
        hidden = calls.hidden_from(lambda kind: issubclass(kind, nn.ReLU), ACTIVATIONS)
        refuse_hidden(hidden, method=name, what="nn.ReLU")
        return
    known = imported("zennit.types", method=name, extra="zennit").Activation
    hidden = calls.hidden_from(lambda kind: issubclass(kind, known), ACTIVATIONS)
    refuse_hidden(hidden, method=name, what="nn.ReLU and its kin")
    refuse_hidden(
        calls.hidden_from(lambda _: False, ATTENTION), method=name, what="none for attention"
    )


def _check_registered(made: Any, scene: Scene, name: str) -> None:
    """Raise `MethodError` where no module gets a rule, or where the canonizer changes what the network says."""
    with torch.no_grad():
        before = scene.module(scene.x)
    try:
        made.register(scene.module)
    except RuntimeError as error:
        raise MethodError(_wrong_canonizer(name, f"cannot be applied ({error})")) from error
    try:
        if not [h for h in made.handles if h is not None]:
            raise MethodError(
                f"{name} finds no layer that it has a rule for, and would silently be the gradient; leave it out"
            )
        with torch.no_grad():
            after = scene.module(scene.x)
    finally:
        made.remove()
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
        raise MethodError(_wrong_canonizer(name, "changes the network's logits"))


def _wrong_canonizer(name: str, what: str) -> str:
    return (
        f"{name} has a canonizer that {what}: it supposes batch norms to be registered right after their convolutions; "
        "give canonizer='none'"
    )


def _notes(calls: Calls, made: Any, composite: Composite) -> list[str]:
    titles = [type(c).__name__ for c in made.canonizers]
    notes = [f"canonised by {title}" for title in titles]
    if calls.sums and "ResNetCanonizer" not in titles and composite.title not in ON_RECTIFIERS:
        where = next(iter(calls.sums)) or "the network itself"
        notes.append(
            f"sums in forward passes (x + y in {where}) are hidden from zennit: each summand gets the whole relevance"
        )
    return notes

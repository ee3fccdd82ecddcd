"""Names to objects: what is built in, what plug-ins add, and what a user points at.

A method is named as `gradient`, `smoothgrad(samples=20)`, `captum:Occlusion(sliding_window_shapes=(3, 16, 16))` or
`file.py:function`. Arguments are Python literals, read with `ast.literal_eval`: nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final

from salsanity.errors import MethodError, SimilarityError, UsageError
from salsanity.methods import (
    CallableMethod,
    Edge,
    GradCAM,
    Gradient,
    GuidedBackprop,
    GuidedGradCAM,
    InputMagnitude,
    InputXGradient,
    IntegratedGradients,
    IntegratedGradientsSmoothGrad,
    Method,
    Noise,
    NoiseXInput,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from salsanity.methods.baselines import BASELINES
from salsanity.passes.request import Baseline
from salsanity.plugins import DRAWS, LIBRARIES, METHODS, SIMILARITIES, Plugin, plugin, plugin_names
from salsanity.randomizers.brought import BroughtDraw
from salsanity.randomizers.draw import INITIALISERS, Draw
from salsanity.similarity import HOG, SSIM, Cosine, Pearson, Similarity, Spearman
from salsanity.symbols import Call, load_symbol, parse_call


@dataclass(frozen=True)
class Effort:
    """How many noisy samples and path steps a method takes unless its name says otherwise.

    `endpoints` spaces path steps as the paper's released code did.
    """

    samples: int = 50
    steps: int = 50
    endpoints: bool = False


BUILT_IN_METHODS: Final[Mapping[str, Callable[[Effort], Method]]] = {
    "gradient": lambda effort: Gradient(),
    "input_x_gradient": lambda effort: InputXGradient(),
    "smoothgrad": lambda effort: SmoothGrad(effort.samples),
    "smoothgrad_squared": lambda effort: SmoothGradSquared(effort.samples),
    "vargrad": lambda effort: VarGrad(min(25, effort.samples)),
    "integrated_gradients": lambda effort: IntegratedGradients(
        effort.steps, spacing="endpoints" if effort.endpoints else "midpoint"
    ),
    "integrated_gradients_smoothgrad": lambda effort: IntegratedGradientsSmoothGrad(
        min(25, effort.samples),
        steps_on_path=effort.steps,
        spacing="endpoints" if effort.endpoints else "midpoint",
    ),
    "guided_backprop": lambda effort: GuidedBackprop(),
    "gradcam": lambda effort: GradCAM(),
    "guided_gradcam": lambda effort: GuidedGradCAM(),
}

CONTROLS: Final[Mapping[str, Callable[[], Method]]] = {
    "edge": Edge,
    "input": InputMagnitude,
    "noise": Noise,
    "noise_x_input": NoiseXInput,
}

BUILT_IN_SIMILARITIES: Final[Mapping[str, Callable[..., Similarity[Any]]]] = {
    "spearman": Spearman,
    "ssim": SSIM,
    "hog": HOG,
    "pearson": Pearson,
    "cosine": Cosine,
}

DEFAULT_SIMILARITIES: Final = ("spearman", "ssim", "hog")
DEFAULT_METHODS: Final = tuple(
    name for name in BUILT_IN_METHODS if name != "integrated_gradients_smoothgrad"
)


def method(spec: str | Method | Callable[..., Any], *, effort: Effort = Effort()) -> Method:
    """Return the method that `spec` names or is; a bare callable is taken as an explainer.

    Raises `MethodError` for an unknown name, a bad argument, or a plug-in that fails to load.
    """
    if not isinstance(spec, str):
        return _as_method(spec, getattr(spec, "__name__", type(spec).__name__))
    call = parse_call(spec)
    if call.target in BUILT_IN_METHODS:
        return _built_in(call, spec, effort)
    if call.target in CONTROLS:
        raise MethodError(
            f"{call.target!r} is a control, which always runs; name methods such as gradient"
        )
    added = plugin(METHODS, call.target)
    if added is not None:
        return _added_method(added, call, spec)
    if ":" in call.target:
        return _from_library(call, spec)
    raise MethodError(
        f"expected a saliency method, got {call.target!r}; known are {', '.join(BUILT_IN_METHODS)}, "
        "captum:Class(...), file.py:function, and plug-ins (see `salsanity methods`)"
    )


def _built_in(call: Call, spec: str, effort: Effort) -> Method:
    made = BUILT_IN_METHODS[call.target](effort)
    if not call.arguments:
        return made
    renamed = {"steps": "steps_on_path"}
    changes = {renamed.get(key, key): value for key, value in call.arguments.items()}
    if "baseline" in changes:
        changes["baseline"] = _baseline(changes)
    changes.pop("baseline_draws", None)
    changes.pop("baseline_value", None)
    known = _arguments_of(made)
    unknown = sorted(set(changes) - known)
    if unknown:
        options = ", ".join(sorted(known)).replace("steps_on_path", "steps") or "none"
        raise MethodError(f"{call.target} has no argument {unknown[0]!r}; it takes: {options}")
    _check_numbers(call)
    return replace(made, **changes, name=canonical(spec))  # type: ignore[type-var]


def _arguments_of(made: Method) -> set[str]:
    if not is_dataclass(made):
        return set()
    return {f.name for f in fields(made)} - {"name", "stochastic"}


def _check_numbers(call: Call) -> None:
    for key in ("samples", "steps", "baseline_draws"):
        value = call.arguments.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 100_000:
            raise MethodError(
                f"{call.target} expects {key} as a whole number from 1 to 100000, got {value!r}"
            )
    spacing = call.arguments.get("spacing", "midpoint")
    if spacing not in ("midpoint", "endpoints"):
        raise MethodError(f"{call.target} expects spacing midpoint or endpoints, got {spacing!r}")
    sd = call.arguments.get("sd", 0.15)
    if not isinstance(sd, int | float) or not 0 < sd <= 100:
        raise MethodError(f"{call.target} expects sd as a number above 0, got {sd!r}")


def _baseline(changes: Mapping[str, Any]) -> Baseline:
    name, value = changes["baseline"], changes.get("baseline_value")
    if name not in BASELINES:
        raise MethodError(f"unknown baseline {name!r}; use one of {', '.join(BASELINES)}")
    if value is not None and not isinstance(value, int | float):
        raise MethodError(f"expected baseline_value as a number, got {value!r}")
    return Baseline(name, value, changes.get("baseline_draws", 1))


def canonical(spec: str) -> str:
    """Return the spec with its arguments in a fixed order and spelling, as the name in scores."""
    call = parse_call(spec)
    return spelled(call.target, call.arguments)


def spelled(target: str, arguments: Mapping[str, Any]) -> str:
    """Write a name with its arguments as `canonical` does."""
    if not arguments:
        return target
    inner = ", ".join(f"{key}={value!r}" for key, value in sorted(arguments.items()))
    return f"{target}({inner})"


def _as_method(value: Any, name: str) -> Method:
    if hasattr(value, "steps") and hasattr(value, "name") and hasattr(value, "stochastic"):
        return value  # type: ignore[no-any-return]
    if callable(value):
        return CallableMethod(value, name)
    raise MethodError(
        f"expected a method or a callable (model, inputs, targets) -> maps, got {type(value).__name__}"
    )


def _added_method(added: Plugin, call: Call, spec: str) -> Method:
    try:
        return _as_method(added.made(**call.arguments), canonical(spec))
    except MethodError as error:
        raise added.broken(str(error)) from error


def _from_library(call: Call, spec: str) -> Method:
    library, _, target = call.target.partition(":")
    adapter = plugin(LIBRARIES, library)
    if adapter is not None:
        made = adapter.value(target, dict(call.arguments))
        return _as_method(made, canonical(spec))
    if call.arguments:
        raise MethodError(
            f"{call.target!r} is a function of your own and takes no arguments here; bind them in the file"
        )
    return _as_method(load_symbol(call.target), call.target)


def similarity(spec: str | Similarity[Any]) -> Similarity[Any]:
    """Return the similarity that `spec` names or is; raise `SimilarityError` for an unknown name."""
    if not isinstance(spec, str):
        return spec
    call = parse_call(spec)
    if call.target in BUILT_IN_SIMILARITIES:
        try:
            return BUILT_IN_SIMILARITIES[call.target](**call.arguments)
        except TypeError as error:
            raise SimilarityError(f"similarity {spec!r} cannot be made: {error}") from error
    added = plugin(SIMILARITIES, call.target)
    if added is None:
        raise SimilarityError(
            f"expected a similarity, got {call.target!r}; known are {', '.join(BUILT_IN_SIMILARITIES)} "
            "and plug-ins (see `salsanity similarities`)"
        )
    made: Similarity[Any] = added.made(**call.arguments)
    missing = [name for name in ("name", "prepare", "compare") if not hasattr(made, name)]
    if missing:
        raise added.broken(f"expected a similarity, got {type(made).__name__} without {missing[0]}")
    return made


def draw(spec: str) -> Draw:
    """Return the initialiser of this name, of a plug-in, or `(network, seed) -> weights` of `file.py:function`.

    Its name is `spec`, so that what a plug-in calls itself cannot be taken for a built-in one. Raises `UsageError` for
    others; `auto` and `fresh` need more than a name.
    """
    if spec in INITIALISERS:
        return INITIALISERS[spec]
    added = plugin(DRAWS, spec)
    if added is None and ":" not in spec:
        known = ", ".join(("auto", "fresh", *INITIALISERS, *plugin_names(DRAWS)))
        raise UsageError(
            f"expected an initialiser ({known}) or file.py:function, got {spec!r}; name one of them"
        )
    if added is None:
        added = Plugin(load_symbol(spec), f"initialiser {spec!r}")
    made = added.made()
    if not callable(made):
        raise added.broken(
            f"expected a callable (network, seed) -> weights, got {type(made).__name__}"
        )
    return BroughtDraw(made, spec)

"""What the adapters share: a method around another library's explainer, arguments by signature, features by squares."""

from __future__ import annotations

import importlib
import inspect
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from salsanity.errors import MethodError, mixed_builds
from salsanity.methods.protocol import Inputs, Steps
from salsanity.models.layers import SpatialLayer
from salsanity.models.outputs import logits_in, remembered
from salsanity.passes.request import Foreign
from salsanity.symbols import parse_call


@final
@dataclass(frozen=True)
class Scene:
    """One image for an explainer: the project's copy of the network, x (1, ...), the class (1,), GradCAM's layer."""

    module: nn.Module
    x: Tensor
    target: Tensor
    spatial: SpatialLayer | None = None
    no_spatial_layer: str = ""


class Explanation(Protocol):
    """What an adapter knows of one explainer; frozen, and its repr tells all settings."""

    def maps(self, scene: Scene) -> Any:
        """Return the map of the scene, at any size that `as_maps` takes."""

    def admit(self, scene: Scene) -> Sequence[str]:
        """Return sentences to tell of this network; raise `MethodError` where the explainer is not defined for it."""


@final
@dataclass(frozen=True)
class LibraryMethod:
    """An explainer of another library; images go through it one by one, each under a random state of its own."""

    name: str
    version: str
    explanation: Explanation
    stochastic: bool = True

    @property
    def multiplied(self) -> bool:
        """Whether the map is a product with the input, which can be left out."""
        return bool(getattr(self.explanation, "multiplied", False))

    def steps(self, inputs: Inputs) -> Steps:
        """Yield one opaque step."""

        def scene(module: nn.Module, x: Tensor, targets: Tensor) -> Scene:
            return Scene(module, x, targets, inputs.spatial, inputs.no_spatial_layer)

        def explained(module: nn.Module, x: Tensor, targets: Tensor) -> Any:
            with runnable(module):
                return self.explanation.maps(scene(module, x, targets))

        def admitted(module: nn.Module, x: Tensor) -> Sequence[str]:
            check_in_place(module, x, self.name)
            with runnable(module):
                target = module(x).argmax(1)
                notes = self.explanation.admit(scene(module, x, target))
            return [f"{self.name}: {note}" for note in notes]

        (result,) = yield (Foreign(explained, self.name, admit=admitted),)
        return result.gradient


@contextmanager
def runnable(module: nn.Module) -> Iterator[None]:
    """Let a library meet a network that returns logits and overwrites nothing, and keep what it prints to ourselves.

    In-place activations break backward hooks and what others keep of a layer's output. Undone by `swapped`.
    """
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]
    with ExitStack() as stack:
        choice = remembered(module)
        handle = module.register_forward_hook(lambda _, __, output: logits_in(output, choice))
        stack.callback(handle.remove)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        yield


def check_in_place(module: nn.Module, x: Tensor, name: str) -> None:
    """Raise `MethodError` for a network that needs its in-place activations: it ignores what they return."""
    with torch.no_grad():
        before = logits_in(module(x.clone()), remembered(module))
        with runnable(module):
            after = module(x.clone())
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
        raise MethodError(
            f"{name} needs a network whose activations return their result, but this one relies on activations that "
            "overwrite their input; use what nn.ReLU(inplace=True) returns"
        )


def imported(module: str, *, method: str, extra: str) -> ModuleType:
    """Import a library; raise `MethodError`, with the extra that brings it, where it cannot be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except Exception as error:
        mixed = mixed_builds(error)
        if mixed is not None:
            raise MethodError(f"{method} cannot be loaded: {mixed}") from error
        raise MethodError(
            f"{method} needs {module.partition('.')[0]}, which cannot be imported ({' '.join(str(error).split())[:120]}); "
            f"pip install 'salsanity[{extra}]' (in a checkout: '.[{extra}]')"
        ) from error


def chosen(module: ModuleType, name: str, known: Sequence[str], *, library: str) -> Any:
    """Return the class `name` of a library; raise `MethodError`, naming what there is, for others."""
    if name not in known:
        raise MethodError(f"expected {library}:NAME with one of {', '.join(known)}, got {name!r}")
    if not hasattr(module, name):
        raise MethodError(f"the installed {library} has no {name}; install a newer version")
    return getattr(module, name)


@final
@dataclass(frozen=True)
class Arguments:
    """A user's arguments, to be handed out by name; what nobody takes is an error.

    `known` collects the names that were asked for, to be named in that error.
    """

    given: Mapping[str, Any]
    method: str
    known: dict[str, None] = field(default_factory=dict)

    def of(self, function: Callable[..., Any], *, without: Sequence[str] = ()) -> dict[str, Any]:
        """Return the arguments that `function` takes by name, but for those in `without`."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(function).parameters.values()
        names = [p.name for p in parameters if p.kind in kinds]
        return self.named(*(n for n in names if n not in {"self", *without}))

    def named(self, *names: str) -> dict[str, Any]:
        """Return the arguments of these names that were given."""
        self.known.update(dict.fromkeys(names))
        return {name: self.given[name] for name in names if name in self.given}

    def one(self, name: str, default: Any, kinds: type | tuple[type, ...], meaning: str) -> Any:
        """Return the argument of our own with this name, checked for its type."""
        value = self.named(name).get(name, default)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise MethodError(f"{self.method} expects {name} as {meaning}, got {value!r}")
        return value

    def check(self) -> None:
        """Raise `MethodError` for an argument that nobody asked for."""
        unknown = sorted(set(self.given) - set(self.known))
        if unknown:
            options = ", ".join(sorted(self.known)) or "none"
            raise MethodError(f"{self.method} has no argument {unknown[0]!r}; it takes: {options}")


def nested(text: Any, *, method: str, argument: str) -> tuple[str, dict[str, Any]]:
    """Parse a name with arguments that stands in an argument, e.g. `method="IntegratedGradients(n_steps=10)"`."""
    if not isinstance(text, str):
        raise MethodError(f"{method} expects {argument} as a name in quotes, got {text!r}")
    call = parse_call(text)
    return call.target, dict(call.arguments)


def layer_of(scene: Scene, name: str | None, method: str) -> tuple[str, nn.Module]:
    """Return the layer that is named, or GradCAM's, in the network that is explained."""
    if name is None and scene.spatial is None:
        raise MethodError(f"{method} needs a layer: {scene.no_spatial_layer}; give layer='NAME'")
    wanted = scene.spatial.name if name is None and scene.spatial else str(name)
    found = dict(scene.module.named_modules())
    if not wanted or wanted not in found:
        last = [n for n in found if n][-8:]
        raise MethodError(
            f"{method} expects layer as the name of a module, got {wanted!r}; the last ones are {', '.join(last)}"
        )
    return wanted, found[wanted]


def side_of(x: Tensor, side: int | None) -> int:
    """Return the side of the square features in pixels: what is asked for, or an eighth of the shorter side."""
    return max(1, side if side is not None else min(x.shape[2:], default=8) // 8)


def squares(x: Tensor, side: int) -> Tensor:
    """Number the squares of `side` pixels of images (1, C, *spatial): (1, 1, *spatial), alike for all channels.

    Inputs without places, (1, F), have one feature per value.
    """
    if x.dim() == 2:
        return torch.arange(x.shape[1], device=x.device)[None]
    numbers = torch.zeros((), dtype=torch.long, device=x.device)
    for size in x.shape[2:]:
        cells = torch.arange(size, device=x.device) // side
        numbers = numbers[..., None] * (-(-size // side)) + cells
    return numbers[None, None]

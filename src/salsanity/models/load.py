"""`load_model`: from a name such as `torchvision:resnet50` or `file.py:function` to a network."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from torch import nn

from salsanity.errors import ModelError
from salsanity.models.source import Source
from salsanity.models.weights import load_weights, read_weights
from salsanity.symbols import at_home, home_of, load_symbol, parse_call

__all__ = ["KINDS", "LoadedModel", "load_model", "load_symbol", "read_weights"]

KINDS: Final = (
    "torchvision:NAME",
    "timm:NAME",
    "hf:NAME",
    "file.py:function",
    "package.module:function",
    "reference:cnn",
    "reference:mlp",
)


@final
@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network, and what its library knows about it.

    `make_model` builds the architecture with random weights (a user's factory may return trained
    ones: the initialiser `fresh` finds out). `preprocessing`: keyword arguments of `data`'s
    `Preprocessing` (size, resize, mean, std, channels, interpolation), or None where nothing is
    known. `notes`: which weights of a file were taken, and what was left out, where there is something to say.
    """

    model: nn.Module
    make_model: Callable[[], nn.Module] | None
    preprocessing: dict[str, Any] | None
    class_names: tuple[str, ...] | None
    name: str
    notes: tuple[str, ...] = ()


def load_model(
    spec: str,
    *,
    weights: Path | str | None = None,
    weights_key: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Load the network that `spec` names, with the weights of a file, or the library's own.

    `weights_key`: where in the file the weights lie, as in `load_weights`; None takes what fits best.

    `spec` may end with arguments for the builder, `file.py:function(width=8)`, as may `options`: keyword arguments
    (`in_channels`, `size`, `classes` of `reference:`; `num_classes` of `torchvision:` and `timm:`). User code runs only for
    `file.py:function` and `package.module:function`.

    Raises ModelError or UsageError, with what to do, when a library, name, file or weight is
    missing.
    """
    target, arguments = _with_arguments(spec)
    source = _source(target, {**(options or {}), **arguments})
    notes: tuple[str, ...] = ()
    if weights is not None:
        model = source.build()
        notes = load_weights(model, Path(weights), key=weights_key)
    elif weights_key is not None:
        raise ModelError(
            f"Expected a file of weights beside the key {weights_key!r}, got none; give --weights FILE"
        )
    else:
        model = (source.pretrained or source.build)()
    preprocessing, names = source.about(model) if source.about else (None, None)
    return LoadedModel(model, source.build, preprocessing, names, spec, notes)


def _with_arguments(spec: str) -> tuple[str, Mapping[str, Any]]:
    """Divide `file.py:function(width=8)` into a name and arguments; parentheses in a path are none."""
    match = re.fullmatch(r"(.*:)([^():]+\(.*\))", spec, re.DOTALL)
    if match is None:
        return spec, {}
    call = parse_call(match[2], example="build(width=8)")
    return match[1] + call.target, call.arguments


def _source(spec: str, options: dict[str, Any]) -> Source:
    kind, separator, name = spec.partition(":")
    if not separator or not name:
        raise ModelError(f"Expected a model as {', '.join(KINDS)}; got {spec!r}")
    if kind in ("torchvision", "timm", "hf"):
        libraries = importlib.import_module("salsanity.models.libraries")
        source: Source = getattr(libraries, f"{kind}_source")(name, options)
        return source
    if kind == "reference":
        return Source(_Checked(_reference(name), spec, options))
    return Source(_Checked(load_symbol(spec), spec, options))


def _reference(name: str) -> Callable[..., object]:
    module = importlib.import_module("salsanity.models.reference")
    builders = {"cnn": module.cnn, "mlp": module.mlp}
    if name not in builders:
        raise ModelError(f"Expected reference:cnn or reference:mlp, got reference:{name}")
    found: Callable[..., object] = builders[name]
    return found


@final
@dataclass(frozen=True, eq=False)
class _Checked:
    """A builder for which whatever goes wrong in it is one sentence that names it; picklable where the builder is."""

    function: object
    spec: str
    options: Mapping[str, Any]

    def __call__(self) -> nn.Module:
        if isinstance(self.function, nn.Module):
            return self.function
        if not callable(self.function):
            raise ModelError(
                f"Expected {self.spec} to be a function that returns a network, got {self.function!r}"
            )
        _check_arguments(self.function, self.spec, self.options)
        try:
            with ExitStack() as stack:
                if not self.spec.startswith("reference:"):  # what it imports only now lies there
                    stack.enter_context(at_home(home_of(self.spec)))
                model = self.function(**self.options)
        except (KeyboardInterrupt, SystemExit, ModelError):
            raise
        except Exception as error:
            raise ModelError(
                f"{self.spec} failed: {type(error).__name__}: {error}. It must return a "
                "torch.nn.Module when "
                f"called with {self.options or 'no arguments'}"
            ) from error
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"Expected {self.spec} to return a torch.nn.Module, got {type(model).__name__}; return "
                "the "
                "network itself"
            )
        return model


def _check_arguments(
    function: Callable[..., object], spec: str, options: Mapping[str, Any]
) -> None:
    try:
        inspect.signature(function).bind(**options)
    except TypeError as error:
        raise ModelError(
            f"{spec} cannot be called with {', '.join(options) or 'no arguments'} ({error}); give literals, "
            f"{spec}(name=value), or name a function without arguments that calls it"
        ) from error
    except ValueError:  # it has no signature
        return

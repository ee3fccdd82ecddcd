"""`load_model`: from a name such as `torchvision:resnet50` or `file.py:function` to a network."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, final

from torch import nn

from salsanity.errors import ModelError, UsageError
from salsanity.models.weights import load_weights, read_weights

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


@final
@dataclass(frozen=True, eq=False)
class Source:
    """Where a network comes from: how to build it untrained and, if the library can, trained."""

    build: Callable[[], nn.Module]
    pretrained: Callable[[], nn.Module] | None = None
    about: Callable[[nn.Module], tuple[dict[str, Any] | None, tuple[str, ...] | None]] | None = None


def load_model(
    spec: str,
    *,
    weights: Path | str | None = None,
    weights_key: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Load the network that `spec` names, with the weights of a file, or the library's own.

    `weights_key`: where in the file the weights lie, as in `load_weights`; None takes what fits best.

    `options`: keyword arguments for the builder (`in_channels`, `size`, `classes` of `reference:`;
    `num_classes` of `torchvision:` and `timm:`). User code runs only for `file.py:function` and
    `package.module:function`.

    Raises ModelError or UsageError, with what to do, when a library, name, file or weight is
    missing.
    """
    source = _source(spec, dict(options or {}))
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
        try:
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


def load_symbol(spec: str) -> Any:
    """Import the object that `file.py:name` or `package.module:name` names; the file's code runs.

    Raises UsageError when the file, module or name is missing, or the code fails while it is
    imported.
    """
    where, separator, name = spec.rpartition(":")
    if not separator or not where or not name:
        raise UsageError(f"Expected file.py:name or package.module:name, got {spec!r}")
    module = _from_file(Path(where)) if where.endswith(".py") else _from_package(where)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{where} has no {name!r}{_hint(name, vars(module))}")
        found = getattr(found, part)
    return found


def _hint(name: str, names: Mapping[str, object]) -> str:
    public = [n for n, value in names.items() if callable(value) and not n.startswith("_")]
    close = difflib.get_close_matches(name, public, 3) or public[:8]
    return f"; it has {', '.join(close)}" if close else "; it defines nothing that can be called"


def _from_file(path: Path) -> ModuleType:
    path = path.expanduser()
    if not path.is_file():
        raise UsageError(
            f"Expected a Python file at {path}, found none; check the path before the colon"
        )
    tag = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"salsanity_user_{path.stem}_{tag}"
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__content__", None) == content:
        return known  # else classes of one file would be two, and could not be pickled
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"Expected a Python file at {path}, which Python cannot read as one")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up here
    with _importing(str(path)), _on_path(path.resolve().parent):
        spec.loader.exec_module(module)
    vars(module)["__content__"] = content
    return module


def _from_package(name: str) -> ModuleType:
    with _importing(name):
        return importlib.import_module(name)


@contextmanager
def _importing(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit, UsageError):
        raise
    except Exception as error:
        raise UsageError(
            f"Importing {what} failed: {type(error).__name__}: {error}. Run it with Python by "
            "itself first"
        ) from error


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Let a user's file import its neighbours, as it could when run by itself."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))

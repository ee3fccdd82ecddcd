"""Networks of torchvision, timm and Hugging Face: built, their weights, and what is known."""

from __future__ import annotations

import difflib
import importlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, final

from torch import nn

from salsanity.errors import ModelError, mixed_builds
from salsanity.models.source import Source

Preprocessing = dict[str, Any]
Names = tuple[str, ...]

_EXTRAS: Final = {"torchvision": "torchvision", "timm": "timm", "transformers": "transformers"}
_RESAMPLING: Final = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as Hugging Face's processors store them."""


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        mixed = mixed_builds(error)
        if mixed is not None:
            raise ModelError(f"models of {name} cannot be loaded: {mixed}") from error
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"Models of {name} need the library ({first}); install it with: pip install "
            f"'salsanity[{_EXTRAS[name]}]' (in a checkout: '.[{_EXTRAS[name]}]')"
        ) from error


def _fetched(what: str, fetch: Callable[[], Any]) -> Any:
    """Get something from a library's own store; offline this fails in one sentence."""
    try:
        return fetch()
    except (KeyboardInterrupt, SystemExit, ModelError):
        raise
    except Exception as error:
        mixed = mixed_builds(error)
        if mixed is not None:
            raise ModelError(f"{what} could not be loaded: {mixed}") from error
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise ModelError(
            f"{what} could not be loaded ({type(error).__name__}: {reason}). Check the name and "
            "the network "
            "connection, or give trained weights of this architecture with --weights FILE"
        ) from error


def _unknown(what: str, name: str, known: Iterable[str]) -> ModelError:
    close = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(close)}?" if close else "see the library's list of models"
    return ModelError(f"{what} has no classifier {name!r}; {hint}")


@final
@dataclass(frozen=True)
class Untrained:
    """Builds a classifier of a library with random weights; it holds names only, so that it can go to another process."""

    library: Literal["torchvision", "timm", "hf"]
    name: str
    options: Mapping[str, Any]

    def __call__(self) -> nn.Module:
        """Build it."""
        makers = {"torchvision": _torchvision, "timm": _timm, "hf": _hf}
        return makers[self.library](self.name, self.options)


def torchvision_source(name: str, options: dict[str, Any]) -> Source:
    """Describe a classifier of torchvision; pretrained means the library's default weights."""
    models = _library("torchvision").models
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    enum = models.get_model_weights(name)

    def pretrained() -> nn.Module:
        what = f"The pretrained weights of torchvision:{name}"
        found: nn.Module = _fetched(
            what,
            lambda: models.get_model(name, weights="DEFAULT", **options),
        )
        return found

    def about(model: nn.Module) -> tuple[Preprocessing | None, Names | None]:
        if not len(enum):
            return None, None
        return _torchvision_preprocessing(enum.DEFAULT), _names_for(
            enum.DEFAULT.meta["categories"], options.get("num_classes")
        )

    return Source(Untrained("torchvision", name, options), pretrained, about)


def _torchvision(name: str, options: Mapping[str, Any]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The default weight initialization")
        built = _library("torchvision").models.get_model(name, weights=None, **options)
    return _as_published(built)


def _as_published(model: nn.Module) -> nn.Module:
    """Torchvision's Inception and GoogLeNet weights expect its own input transform."""
    if hasattr(model, "transform_input"):
        vars(model)["transform_input"] = True
    return model


def _torchvision_preprocessing(weights: Any) -> Preprocessing:
    preset = weights.transforms()
    return _preprocessing(
        size=preset.crop_size[0],
        resize=preset.resize_size[0],
        mean=preset.mean,
        std=preset.std,
        interpolation=preset.interpolation.value,
    )


def _preprocessing(
    *,
    size: int,
    resize: int | None,
    mean: Iterable[float],
    std: Iterable[float],
    interpolation: str,
    channels: int = 3,
) -> Preprocessing:
    return {
        "size": int(size),
        "resize": None if resize is None else max(int(resize), int(size)),
        "mean": tuple(float(m) for m in mean),
        "std": tuple(float(s) for s in std),
        "channels": channels,
        "interpolation": interpolation if interpolation in _RESAMPLING.values() else "bilinear",
    }


def _names_for(names: Iterable[str], classes: int | None) -> Names | None:
    found = tuple(names)
    return found if classes in (None, len(found)) else None


def timm_source(name: str, options: dict[str, Any]) -> Source:
    """Describe a network of timm, with its pretrained configuration."""
    timm = _library("timm")
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())

    def pretrained() -> nn.Module:
        what = f"The pretrained weights of timm:{name}"
        found: nn.Module = _fetched(
            what, lambda: timm.create_model(name, pretrained=True, **options)
        )
        return found

    def about(model: nn.Module) -> tuple[Preprocessing | None, Names | None]:
        return _timm_preprocessing(timm.data.resolve_data_config({}, model=model)), _timm_names(
            timm, model
        )

    return Source(Untrained("timm", name, options), pretrained, about)


def _timm(name: str, options: Mapping[str, Any]) -> nn.Module:
    built: nn.Module = _library("timm").create_model(name, pretrained=False, **options)
    return built


def _timm_preprocessing(config: dict[str, Any]) -> Preprocessing:
    channels, size, _ = config["input_size"]
    return _preprocessing(
        size=size,
        resize=int(size / (config.get("crop_pct") or 1)),
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
        channels=channels,
    )


def _timm_names(timm: ModuleType, model: nn.Module) -> Names | None:
    subset = timm.data.infer_imagenet_subset(model)
    if not subset:
        return None
    info = timm.data.ImageNetInfo(subset)
    count = info.num_classes()
    if count != getattr(model, "num_classes", count):
        return None
    return tuple(info.index_to_description(i).split(",")[0] for i in range(count))


def hf_source(name: str, options: dict[str, Any]) -> Source:
    """Describe an image classifier of Hugging Face, or of a local folder in its format."""
    transformers = _library("transformers")
    what = f"The model hf:{name}"
    auto = _fetched(what, lambda: transformers.AutoModelForImageClassification)

    def pretrained() -> nn.Module:
        found: nn.Module = _fetched(what, lambda: auto.from_pretrained(name, **options))
        return found.float()  # some are stored, and then loaded, in half precision

    def about(model: nn.Module) -> tuple[Preprocessing | None, Names | None]:
        return _hf_preprocessing(transformers, name), _hf_names(model)

    return Source(Untrained("hf", name, options), pretrained, about)


def _hf(name: str, options: Mapping[str, Any]) -> nn.Module:
    transformers = _library("transformers")
    config = _fetched(
        f"The configuration of hf:{name}",
        lambda: transformers.AutoConfig.from_pretrained(name, **options),
    )
    auto = transformers.AutoModelForImageClassification
    built: nn.Module = _fetched(f"The model hf:{name}", lambda: auto.from_config(config))
    return built


def _hf_preprocessing(transformers: ModuleType, name: str) -> Preprocessing | None:
    """Read the preprocessor's own file: its class would need further libraries."""
    cached_file = importlib.import_module("transformers.utils").cached_file
    path = _fetched(
        f"The preprocessing of hf:{name}",
        lambda: cached_file(
            name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
        ),
    )
    if path is None:
        return None
    return hf_preprocessing_of(json.loads(Path(path).read_text(encoding="utf-8")))


def hf_preprocessing_of(config: dict[str, Any]) -> Preprocessing:
    """Translate a `preprocessor_config.json`: `size` and `crop_size` come in several forms."""
    size, crop = _side(config.get("size")), _side(config.get("crop_size"))
    crops = bool(config.get("do_center_crop")) and crop is not None
    final = crop if crops else size
    resize = size if crops else final
    if not crops and config.get("crop_pct") and final:
        resize = int(final / config["crop_pct"])  # ConvNeXt: resize, then crop the centre
    normalise = config.get("do_normalize", True)
    return _preprocessing(
        size=final or 224,
        resize=resize,
        mean=config.get("image_mean", ()) if normalise else (),
        std=config.get("image_std", ()) if normalise else (),
        interpolation=_RESAMPLING.get(config.get("resample", 2), "bilinear"),
    )


def _side(value: object) -> int | None:
    if isinstance(value, int):
        return value
    if isinstance(value, dict):
        return next((value[k] for k in ("shortest_edge", "height", "width") if k in value), None)
    return None


def _hf_names(model: nn.Module) -> Names | None:
    labels = getattr(getattr(model, "config", None), "id2label", None)
    if not labels or all(str(v).startswith("LABEL_") for v in labels.values()):
        return None
    return tuple(str(labels[key]).split(",")[0] for key in sorted(labels, key=int))

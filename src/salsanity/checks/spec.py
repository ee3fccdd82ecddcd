"""What a user asks of the model parameter randomisation test, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from salsanity.errors import SpecError
from salsanity.plugins import DRAWS, plugin_names

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "order": ("top_down", "independent", "bottom_up"),
    "stages": ("verdict", "all"),
    "batchnorm": ("keep", "reset", "recalibrate"),
    "target": ("trained", "label", "own"),
    "replay": ("auto", "on", "off"),
    "precision": ("float32", "tf32", "bfloat16"),
    "memory_format": ("auto", "contiguous", "channels_last"),
}

INITS: Final = ("auto", "fresh", "module", "permute", "matched", "he", "truncated_normal")
"""Initialisers that are built in; `init` may also name a plug-in or `file.py:function`."""

_WHOLE: Final[Mapping[str, tuple[int, int]]] = {
    "draws": (1, 10_000),
    "seed": (0, 2**63 - 1),
    "max_images": (1, 10_000_000),
    "gallery": (0, 10_000),
    "samples": (1, 100_000),
    "steps": (1, 100_000),
    "batch_size": (1, 1_000_000),
}

_SHARES: Final = {"d_full": (0.0, 1.0), "d_half": (0.0, 1.0)}


@dataclass(frozen=True)
class CheckSpec:
    """Everything that a user may ask of a check, but for the model, the images and the methods.

    `batch_size`, `samples` and `steps` None: chosen by measuring and by the device. `init_sd` and `init_bias` belong to
    `init="truncated_normal"`. `layer` names GradCAM's layer.
    """

    order: str = "top_down"
    stages: str = "verdict"
    blocks: str | tuple[str, ...] = "auto"
    init: str = "auto"
    init_sd: float = 0.01
    init_bias: float = 0.0
    batchnorm: str = "keep"
    target: str = "trained"
    keep: tuple[str, ...] = ()
    draws: int = 5
    seed: int = 0
    max_images: int = 50
    samples: int | None = None
    steps: int | None = None
    endpoints: bool = False
    batch_size: int | None = None
    device: str = "auto"
    gallery: int = 8
    d_full: float = 0.2
    d_half: float = 0.75
    layer: str | None = None
    unit_timeout: float | None = None
    until_decided: bool = False
    replay: Literal["auto", "on", "off"] = "auto"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"

    def __post_init__(self) -> None:
        """Refuse values that make no run."""
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SpecError(
                    f"expected {name} to be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        if not isinstance(self.init, str) or not is_initialiser(self.init):
            known = ", ".join((*INITS, *plugin_names(DRAWS)))
            raise SpecError(
                f"expected init to be one of {known}, or file.py:function, got {self.init!r}"
            )
        for name, (low, high) in _WHOLE.items():
            _check_whole(name, getattr(self, name), low, high)
        for name, (least, most) in _SHARES.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not least < value < most:
                raise SpecError(f"expected {name} between {least} and {most}, got {value!r}")
        _check_types(self)

    def identity(self) -> dict[str, Any]:
        """Return the fields that a run in a folder may never change: not counts, judging or comfort."""
        extendable = {
            "draws",
            "max_images",
            "d_full",
            "d_half",
            "unit_timeout",
            "device",
            "until_decided",
            "replay",
        }
        return {k: v for k, v in asdict(self).items() if k not in extendable}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> CheckSpec:
        """Build a spec from a mapping such as a TOML table; unknown keys are errors."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SpecError(
                f"unknown key {unknown[0]!r}; expected some of {', '.join(sorted(known))}"
            )
        listed: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**listed)


def is_initialiser(name: str) -> bool:
    """Whether `init` may be `name`: built in, a file's function, or a plug-in's."""
    return name in INITS or ":" in name or name in plugin_names(DRAWS)


def _check_types(spec: CheckSpec) -> None:
    """Refuse values of other types than the fields have, as a file of options may hold them."""
    names = spec.blocks if isinstance(spec.blocks, tuple) else (spec.blocks,)
    for field, values in (("blocks", names), ("keep", spec.keep), ("device", (spec.device,))):
        if not isinstance(values, tuple) or not all(isinstance(value, str) for value in values):
            raise SpecError(f"expected {field} as text or texts, got {getattr(spec, field)!r}")
    if spec.layer is not None and not isinstance(spec.layer, str):
        raise SpecError(f"expected layer as the name of a module, got {spec.layer!r}")
    if not isinstance(spec.endpoints, bool):
        raise SpecError(f"expected endpoints as true or false, got {spec.endpoints!r}")
    ranges = {"unit_timeout": (0.0, 1e9), "init_sd": (0.0, 1e6), "init_bias": (-1e6, 1e6)}
    for field, (least, most) in ranges.items():
        value = getattr(spec, field)
        if not (field == "unit_timeout" and value is None) and not _is_between(value, least, most):
            raise SpecError(f"expected {field} as a number above {least:g}, got {value!r}")


def _is_between(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least < value <= most


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if value is None and name in ("batch_size", "samples", "steps"):
        return
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SpecError(f"expected {name} as a whole number from {low} to {high}, got {value!r}")


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the keys in which two mappings of JSON values differ."""
    return sorted(key for key in {*old, *new} if _plain(old.get(key)) != _plain(new.get(key)))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

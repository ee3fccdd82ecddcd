"""What every run has, whatever it checks; each option stands here once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from salsanity.options import checked, from_mapping, identity_of, option

if TYPE_CHECKING:  # the command line reads the options, and must not load torch for it
    from salsanity.models.hooks import Hooks
    from salsanity.models.network import MemoryFormat
    from salsanity.passes.precision import Precision
    from salsanity.passes.replay import Replay


@final
@dataclass(frozen=True)
class RunSpec:
    """Everything that a user may ask of a run, but for the network, the images, the methods and the checks.

    `batch_size`, `samples` and `steps` None: chosen by measuring and by the device.
    """

    draws: int = option(
        8,
        "Randomised networks, or other draws of a check.",
        least=1,
        most=10_000,
        is_identity=False,
    )
    max_images: int = option(32, "Images at most.", least=1, most=10_000_000, is_identity=False)
    target: str = option(
        "trained",
        "The class explained: what the trained network predicts, the label, or what each network predicts itself.",
        choices=("trained", "label", "own"),
    )
    samples: int | None = option(
        None, "Noisy samples; unset, 10 on a CPU and 50 on a GPU.", least=1, most=100_000
    )
    steps: int | None = option(
        None, "Path steps; unset, 10 on a CPU and 50 on a GPU.", least=1, most=100_000
    )
    endpoints: bool = option(
        False, "Space path steps as the paper's released code did.", on_command_line=False
    )
    layer: str | None = option(None, "The layer that GradCAM looks at.")
    output: str | None = option(
        None, "Which of a network's outputs are the logits: a name or an index (heads.1)."
    )
    hooks: Hooks = option(
        "drop",
        "Hooks that were left on the network: drop them from the copy, or keep them.",
        choices=("drop", "keep"),
    )
    seed: int = option(0, "The one seed.", least=0, most=2**63 - 1)
    partners: int = option(
        3, "Other images whose maps tell what chance gives.", least=1, most=7, on_command_line=False
    )
    until_decided: bool = option(
        False,
        "Growing rounds; a method leaves once its verdict is settled.",
        is_identity=False,
    )
    rerun: bool = option(
        False,
        "Compute again what cannot be recognised in another process, instead of refusing it.",
        is_identity=False,
    )
    device: str = option(
        "auto",
        "Where to compute: auto (a GPU where there is one), cpu, cuda, cuda:1, ...",
        is_identity=False,
    )
    batch_size: int | None = option(
        None, "Images per pass; auto: the fastest, measured.", least=1, most=1_000_000, unset="auto"
    )
    precision: Precision = option(
        "float32",
        "Of passes: tf32 and bfloat16 may be faster; their error is printed.",
        choices=("float32", "tf32", "bfloat16"),
    )
    memory_format: MemoryFormat | str = option(
        "auto",
        "Layout of tensors in memory; auto: the faster one, measured.",
        choices=("auto", "contiguous", "channels_last"),
    )
    replay: Replay = option(
        "auto",
        "Whether what the unchanged part of a network computed is kept; auto: where memory allows.",
        choices=("auto", "on", "off"),
        is_identity=False,
    )
    unit_timeout: float | None = option(
        None,
        "Seconds that one unit of work may take.",
        least=0,
        most=1e9,
        is_open=True,
        is_identity=False,
    )
    gallery: int = option(
        8, "Images kept with their maps for the figures; 0: none.", least=0, most=10_000
    )

    def __post_init__(self) -> None:
        """Refuse values that make no run."""
        checked(self)

    def identity(self) -> dict[str, Any]:
        """Return the options that a run in a folder may never change: not counts, judging or comfort."""
        return identity_of(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunSpec:
        """Build a spec from a mapping such as a TOML table; unknown keys are errors."""
        made: RunSpec = from_mapping(cls, values)
        return made


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the keys in which two mappings of JSON values differ."""
    return sorted(key for key in {*old, *new} if _plain(old.get(key)) != _plain(new.get(key)))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

"""Frozen values that the halves of the library hand to each other; no torch here."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

REFERENCE_STAGE: Final = "self"
"""Stage name of the rows that hold the ceiling: the trained network explained once more."""

VIEWS: Final = ("signed", "absolute")
CONTROLS: Final = ("edge", "input", "noise", "noise_x_input")


class Outcome(StrEnum):
    """What a check says of a method; the order is from best to worst for the headline."""

    PASS = "PASS"  # noqa: S105 - an outcome, not a password
    INCONCLUSIVE = "INCONCLUSIVE"
    UNINFORMATIVE = "UNINFORMATIVE"
    FAIL = "FAIL"


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value in canonical form, as 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class UnitKey:
    """One file of scores: a draw, a chunk of images, and the methods, stages and similarities in it."""

    check: str
    draw: int
    images: tuple[str, ...]
    stages: tuple[str, ...]
    methods: tuple[str, ...]
    similarities: tuple[str, ...]
    base: str
    """Digest of everything else that can change a score (weights, seed, blocks, initialiser, ...)."""

    @property
    def digest(self) -> str:
        """The name of the unit's file."""
        return digest(asdict(self))

    @property
    def place(self) -> str:
        """Digest of all but methods and similarities, which may be spread over several units of one place."""
        return digest([self.check, self.draw, self.images, self.stages, self.base])

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> UnitKey:
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in value.items()
        }
        return cls(**fields)


@dataclass(frozen=True)
class UnitResult:
    """What computing a unit gave: columns of scores (fields of `Score`), and notes on how it went."""

    key: UnitKey
    columns: Mapping[str, Sequence[Any]]
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """One similarity of two maps of one image.

    `value` compares the reference map with the map at `stage`; `chance` compares it with the map of
    another image at that stage. Undefined values are NaN and `reason` says why.
    """

    check: str
    draw: int
    stage: str
    stage_index: int
    image: str
    method: str
    view: str
    similarity: str
    value: float
    chance: float = math.nan
    reason: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The outcome of one cell (method, view, similarity), or a method's headline (view None).

    Confidence intervals are two-sided 90 %; their ends are the one-sided 5 % bounds that decide.
    """

    check: str
    method: str
    view: str | None
    similarity: str | None
    outcome: Outcome
    reason: str
    retained_full: float = math.nan
    retained_full_ci: tuple[float, float] = (math.nan, math.nan)
    retained_half: float = math.nan
    retained_half_ci: tuple[float, float] = (math.nan, math.nan)
    ceiling: float = math.nan
    n_images: int = 0
    n_draws: int = 0
    n_undefined: int = 0
    init: str | None = None


@dataclass(frozen=True)
class LabelVerdict:
    """The outcome of one cell of the data randomisation test, or a method's headline (view None).

    `ceiling` is what plays the ceiling's part: the similarity of two honest networks' maps, for a
    control 1, with a single true network its own ceiling. `n_draws` counts pairs of networks.
    """

    check: str
    method: str
    view: str | None
    similarity: str | None
    outcome: Outcome
    reason: str
    retained: float = math.nan
    retained_ci: tuple[float, float] = (math.nan, math.nan)
    ceiling: float = math.nan
    n_images: int = 0
    n_draws: int = 0
    n_undefined: int = 0
    init: str | None = None

"""Frozen values that the halves of the library hand to each other; no torch here."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, Literal

REFERENCE_STAGE: Final = "self"
"""Stage name of the rows that hold the ceiling: the trained network explained once more."""

VIEWS: Final = ("signed", "absolute")
GROUP: Final = 8
"""Images whose maps are each other's chance: consecutive ones of a run's order, never of a batch."""

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
    at: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)
    """For images that a job does not list: the place of each in the source, and the class explained; no part of the identity."""

    @property
    def digest(self) -> str:
        """The name of the unit's file."""
        return digest(self.to_json())

    @property
    def place(self) -> str:
        """Digest of all but methods and similarities, which may be spread over several units of one place."""
        return digest([self.check, self.draw, self.images, self.stages, self.base])

    def to_json(self) -> dict[str, Any]:
        """Return what tells the unit from others, as JSON values."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.compare}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in named.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> UnitKey:
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in value.items()
        }
        return cls(**fields)


@dataclass(frozen=True)
class UnitResult:
    """What computing a unit gave: columns of scores (fields of `Score`), notes on how it went, and pictures.

    `pictures`: image id -> `maps/<check>/<method>/<state>` -> array (2, h, w) that keeps both views, and `photo/<check>` -> what
    a check gave to methods in place of the photograph (C, H, W), in [0, 1].
    """

    key: UnitKey
    columns: Mapping[str, Sequence[Any]]
    notes: Mapping[str, Any]
    pictures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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


Must = Literal["change", "stay"]


@dataclass(frozen=True)
class Line:
    """What a check demands at one stage: that maps change, or that they stay.

    `name`: its key in verdicts (`retained_<name>`). `threshold`: of R, the retained similarity. `words`: the intervention, as in
    "after all layers are randomised".
    """

    name: str
    stage: str
    threshold: float
    words: str
    must: Must = "change"
    against: str | None = None
    """The stage whose S - C is the line below R (two honest networks' agreement); None: the ceiling. Controls always have the
    ceiling."""
    of: str = "its similarity"
    """What a share of is retained."""
    caveat: str = ""
    """Why it cannot pass, where the measurement is a lower bound of the retained similarity; empty: it can."""
    nothing: bool = False
    """Whether "nothing changed" is asked here."""
    by_samples: bool = False
    """Whether more samples of a method that draws some would raise what is retained here."""


@dataclass(frozen=True)
class Words:
    """How a check speaks of itself and of what it finds.

    `question`: as a person asks it. `caught`: what a FAIL says of a method ("its maps hardly depend on what the network
    learned"). `uncaught`: what the absence of a FAIL says, without praise. `use`: the task for which a FAIL matters. `draw`: what
    the columns of a table are called, one and many.
    """

    title: str
    question: str
    caught: str
    uncaught: str
    use: str = ""
    source: str = ""
    draw: tuple[str, str] = ("draw", "draws")
    scope: str = ""
    """What a verdict is limited to, added to every headline; empty: nothing."""


@dataclass(frozen=True)
class CheckRecord:
    """What spec.json says of a check; verdicts and report know of a check only this.

    `lines`: the first is the one after everything. `controls`: what each must come out as here. `stages`: objects with
    `name`, `index` and whatever the check adds. `states`: names of the states that the gallery shows, the reference
    first. `draws`: columns of a complete table. `is_course`: whether stages follow each other, so that curves are drawn
    over them; else bars. `measures`: names of similarities or statistics. `facts`: what stands under "how it was run", by
    label. `never_pass`: why no method can pass in this run; empty: it can. `test`: `retained` (similarity set between
    chance and ceiling), `exchange` (p of the randomisation test proper), `statistic` (a statistic of one map, measured)
    or `cue` (a statistic's rise between two kinds of networks).
    """

    name: str
    words: Words
    lines: tuple[Line, ...]
    controls: Mapping[str, Outcome]
    stages: tuple[Mapping[str, Any], ...]
    states: tuple[str, ...]
    draws: int
    measures: tuple[str, ...]
    is_course: bool = False
    init: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    never_pass: str = ""
    test: str = "retained"
    is_fixed: bool = False
    """Whether the one column is all that there is, and no sample: intervals then speak of images alone."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the check was asked with, as JSON values: a run in the same folder may differ only where the check says so."""

    @property
    def gives_verdicts(self) -> bool:
        """Whether something hangs on its outcomes; a statistic of one map is measured, and no verdict hangs on it."""
        return self.test != "statistic"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CheckRecord:
        """Read what `to_json` wrote; keys that a newer version added are left out."""
        known: dict[str, Any] = {k: v for k, v in value.items() if k in cls.__dataclass_fields__}
        words = dict(known["words"])
        words["draw"] = tuple(words.get("draw", ("draw", "draws")))
        return cls(
            **{
                **known,
                "words": Words(**words),
                "lines": tuple(Line(**line) for line in known["lines"]),
                "controls": {k: Outcome(v) for k, v in known["controls"].items()},
                **{name: tuple(known[name]) for name in ("stages", "states", "measures")},
            }
        )


@dataclass(frozen=True)
class Kept:
    """What was measured at one line: retained similarity R and its two-sided 90 % interval.

    The interval's ends are the one-sided 5 % bounds that decide.
    """

    line: str
    stage: str
    threshold: float
    retained: float = math.nan
    retained_ci: tuple[float, float] = (math.nan, math.nan)
    must: Must = "change"


@dataclass(frozen=True)
class Verdict:
    """The outcome of one cell (method, view, similarity), or a method's headline (view and similarity None).

    `kept`: what was measured, in the order of the check's lines. `ceiling`: the similarity at which R is 1. `n_used`: cells
    (image, draw) that R is made of. `blank_reference`, `blank_changed`: shares of maps that are blank (constant or not finite) of
    the network as trained, and of the changed ones at the first line. `p`: of the randomisation test proper.
    """

    check: str
    method: str
    view: str | None
    similarity: str | None
    outcome: Outcome
    reason: str
    kept: tuple[Kept, ...] = ()
    ceiling: float = math.nan
    n_images: int = 0
    n_draws: int = 0
    n_used: int = 0
    n_undefined: int = 0
    blank_reference: float = math.nan
    blank_changed: float = math.nan
    init: str | None = None
    p: float = math.nan

    @property
    def retained(self) -> float:
        """R at the first line, that after everything; NaN where nothing was measured."""
        return self.kept[0].retained if self.kept else math.nan

    @property
    def retained_ci(self) -> tuple[float, float]:
        """The interval of `retained`."""
        return self.kept[0].retained_ci if self.kept else (math.nan, math.nan)

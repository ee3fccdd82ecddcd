"""Runs side by side: what was asked differently, and what came out differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from salsanity.report.folder import Part, Run
from salsanity.report.rows import MethodRow, method_rows
from salsanity.report.summary import distrust
from salsanity.report.terms import decimals, listed, measured, printable, similarity_name
from salsanity.report.worst import deciding, decisive
from salsanity.verdicts import Difference, Side, difference

APART: Final = (
    *("images", "stages", "blocks", "base", "versions", "hardware", "networks", "checks", "check"),
    *("half", "full", "order", "thresholds", "stages_mode", "batchnorm", "format_version"),
    *("init", "draws", "seed", "batch_size"),
)
"""Keys of the spec that are compared by their size or in their own words, that stand elsewhere, or that are measured."""

KEPT_ONLY: Final = (
    *("identity", "units", "recorded_images", "baseline_pool", "notes", "image_problems"),
    *("memory_format", "batched"),
)
"""Settings that only say what the folder holds, what stands elsewhere or was measured, or that are sentences."""

IN_WORDS: Final = "preprocessing"
"""What the spec says of the images in words too, which are what is compared."""

RESOLVED: Final = ("init", "draws")
"""Settings of a check of which the record says what came of them."""

FOLLOWS: Final = ("network fingerprint", "network parameters", "stages")
FOLLOWING: Final = ("versions", "hardware", "settings", "data class names")
"""Settings, and how their names begin, that follow from another one or tell of the machine: they are shown last."""

FEWEST: Final = 4
"""Shared images from which on a difference is shown."""

NAMED: Final = 6
"""Settings that the sentence names; the table has them all."""


@dataclass(frozen=True)
class Setting:
    """A setting that not all runs share, and what it is in each."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Shift:
    """How much more a method retains than in the first run, in the cell that decides there, on shared images and draws."""

    words: str
    found: Difference

    @property
    def text(self) -> str:
        """The difference with its sign, as it is shown."""
        return signed(self.found.value)

    @property
    def interval(self) -> str:
        """Its 90 % interval as it is shown; empty where there is none."""
        low, high = self.found.low, self.found.high
        return f"{signed(low)} to {signed(high)}" if low == low else ""

    @property
    def too_few(self) -> str:
        """Why no difference is shown; empty where one is."""
        images = self.found.n_images
        return f"too few shared images: {images}" if images < FEWEST else ""

    @property
    def shared(self) -> str:
        """On how much it was measured."""
        draws = self.found.n_draws
        return f"{self.found.n_images} shared images, {draws} shared {'draw' if draws == 1 else 'draws'}"


@dataclass(frozen=True)
class Entry:
    """A method in one run: its row, and how it differs from the first run; None where it did not run, or shares nothing."""

    row: MethodRow | None
    shift: Shift | None


@dataclass(frozen=True)
class Across:
    """One method in all runs."""

    name: str
    method: str
    entries: tuple[Entry, ...]

    @property
    def outcomes(self) -> list[str]:
        """The outcomes in the runs that judged it."""
        return [str(entry.row.outcome) for entry in self.entries if entry.row]

    @property
    def changed(self) -> bool:
        """Whether runs judged it differently."""
        return len(set(self.outcomes)) > 1


@dataclass(frozen=True)
class Comparison:
    """What differs between runs of the same check; the first one is what the others are compared with."""

    check: str
    ends: tuple[str, str]
    names: tuple[str, ...]
    sentence: str
    distrust: list[tuple[str, list[str]]]
    """Runs after the first that cannot be trusted in this check, and why; the first one's reasons stand at the top."""

    differences: list[Setting]
    rows: list[Across]


def compare_runs(first: Run, *others: Run) -> list[Comparison]:
    """Return what differs between runs, settings and verdicts, for each check of the first that another one holds."""
    found = []
    for part in first.parts:
        same = [p for run in others for p in run.parts if p.record.name == part.record.name]
        if same:
            found.append(compare_parts(part, *same))
    return found


def compare_parts(*parts: Part) -> Comparison:
    """Return what differs between one check of several runs."""
    settings = list(_differences([_settings(part) for part in parts]))
    names = _names(parts, settings)
    rows = list(_rows(parts))
    return Comparison(
        check=printable(parts[0].record.words.title),
        ends=measured(parts[0].record).ends,
        names=names,
        sentence=_sentence(rows, settings),
        distrust=[
            (name, distrust(part))
            for name, part in zip(names[1:], parts[1:], strict=True)
            if not part.trusted
        ],
        differences=settings,
        rows=rows,
    )


def _settings(part: Part) -> dict[str, Any]:
    """Return the settings of check and run, those of the check first."""
    record = part.record
    recorded = part.spec.get("settings") or {}
    return {
        "model": {"name": part.model_name},
        "init": record.init,
        "seed": part.spec.get("seed"),
        "draws": record.draws,
        "line": {line.name: line.threshold for line in record.lines},
        "asked": {k: v for k, v in record.settings.items() if k not in RESOLVED},
        **{k: v for k, v in part.spec.items() if k not in (*APART, "model")},
        "data": {k: v for k, v in (part.spec.get("data") or {}).items() if k != IN_WORDS},
        "network": {k: v for k, v in part.spec["model"].items() if k != "name"},
        "settings": {k: v for k, v in recorded.items() if k not in KEPT_ONLY},
        "stages": list(record.stages),
        "images": part.spec["images"],
        **{k: part.spec.get(k) for k in ("versions", "hardware")},
    }


def _names(parts: Sequence[Part], settings: Sequence[Setting]) -> tuple[str, ...]:
    """Name the runs by their networks, by the one setting that was meant, by their folders, or by their numbers."""
    meant = [s for s in settings if s.key not in FOLLOWS and not s.key.startswith(FOLLOWING)]
    named = [f"{meant[0].key} {value}" for value in meant[0].values] if len(meant) == 1 else []
    for names in (
        [part.model_name for part in parts],
        [name for name in named if len(name) <= 40],
        [printable(part.folder.resolve().name) for part in parts],
    ):
        if len(set(names)) == len(parts):
            return tuple(names)
    return tuple(f"run {k + 1}" for k in range(len(parts)))


def _rows(parts: Sequence[Part]) -> Iterator[Across]:
    sides = [Side(part.scores, part.record) for part in parts]
    by_run = [{row.method: row for row in method_rows(part)} for part in parts]
    for method in dict.fromkeys(name for rows in by_run for name in rows):
        found = [rows.get(method) for rows in by_run]
        name = next(row.name for row in found if row is not None)
        shifts = [
            _shift(parts[0], sides[0], side, method) if row else None
            for side, row in zip(sides, found, strict=True)
        ]
        entries = zip(found, [None, *shifts[1:]], strict=True)
        yield Across(name, method, tuple(Entry(*entry) for entry in entries))


def _shift(first: Part, one: Side, other: Side, method: str) -> Shift | None:
    """Compare in the cell that decides in the first run, at the line that its reason speaks of."""
    headline = first.headlines.get(method)
    cell = deciding(first, headline) if headline else None
    kept = decisive(first, headline, cell) if headline and cell else None
    if cell is None or kept is None or cell.view is None or cell.similarity is None:
        return None
    found = difference(one, other, (method, cell.view, cell.similarity), kept.line)
    at = f", {printable(kept.line)}" if len(first.record.lines) > 1 else ""
    words = f"{cell.view} {similarity_name(cell.similarity)}{at}"
    return Shift(words, found) if found else None


def signed(value: float) -> str:
    """Write a difference with its sign; none where it rounds to zero."""
    return f"+{decimals(value)}" if round(value, 2) > 0 else decimals(value)


def _sentence(rows: Sequence[Across], settings: Sequence[Setting]) -> str:
    changed = [f"{r.name} ({' to '.join(r.outcomes)})" for r in rows if r.changed]
    count = sum(len(r.outcomes) == len(r.entries) for r in rows)
    verdicts = (
        f"the verdict changes for {listed(changed)}"
        if changed
        else f"all {count} methods judged in every run have the same verdict"
    )
    keys = [setting.key for setting in settings[:NAMED]]
    more = len(settings) - len(keys)
    keys += [f"{more} more settings"] if more > 0 else []
    said = f"The runs differ in {listed(keys)}" if keys else "The runs have the same settings"
    return f"{said}; {verdicts}."


def _differences(specs: Sequence[Mapping[str, Any]]) -> Iterator[Setting]:
    """Yield the settings that differ: first what was asked for, then what follows from it or tells of the machine."""
    flat = [dict(_flat(spec)) for spec in specs]
    found = []
    for key in dict.fromkeys(key for one in flat for key in one):
        values = tuple(one.get(key, "–") for one in flat)
        if len(set(values)) > 1:
            found.append(Setting(key, values))
    yield from sorted(found, key=lambda s: s.key in FOLLOWS or s.key.startswith(FOLLOWING))


def _flat(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the settings as words; long lists by what a reader wants to know of them."""
    for key, value in spec.items():
        if key not in ("images", "stages", "versions", "hardware"):
            parts = value.items() if isinstance(value, Mapping) else [("", value)]
            for name, part in parts:
                yield " ".join(filter(None, (key, str(name)))).replace("_", " "), _words(part)
    yield "images", f"{len(spec['images'])} images, {_digest(spec['images'])}"
    yield "stages", ", ".join(printable(stage["name"]) for stage in spec["stages"])
    for key in ("versions", "hardware"):
        for name, part in (spec.get(key) or {}).items():
            yield f"{key} {name}", _words(part)


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(printable(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(k)} {printable(v)}" for k, v in value.items())
    return printable(value)


def _digest(images: list[Mapping[str, Any]]) -> str:
    return f"the first {images[0]['id'][:8]}" if images else "none"

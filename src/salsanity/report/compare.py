"""Two runs side by side: what was asked differently, and what came out differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from salsanity.report.folder import Part, Run
from salsanity.report.rows import MethodRow, method_rows
from salsanity.report.summary import distrust
from salsanity.report.terms import listed, measured, printable

APART: Final = (
    *("images", "stages", "blocks", "base", "versions", "hardware", "networks", "checks", "check"),
    *("half", "full", "order", "thresholds", "stages_mode", "batchnorm", "format_version"),
)
"""Keys of the spec that are compared by their size or in their own words, or that stand in the check's record."""

KEPT_ONLY: Final = ("identity", "units", "recorded_images")
"""Settings that only say what the folder holds, or what stands elsewhere."""

NAMED: Final = 6
"""Settings that the sentence names; the table has them all."""


@dataclass(frozen=True)
class Difference:
    """A setting that the two runs do not share."""

    key: str
    first: str
    second: str


@dataclass(frozen=True)
class Pair:
    """One method in both runs; None where it did not run."""

    name: str
    first: MethodRow | None
    second: MethodRow | None

    @property
    def changed(self) -> bool:
        """Whether both runs judged it, and differently."""
        return bool(self.first and self.second and self.first.outcome != self.second.outcome)


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs of the same check."""

    check: str
    ends: tuple[str, str]
    names: tuple[str, str]
    sentence: str
    distrust: list[str]
    """Why this check of the second run cannot be trusted; the first one's reasons stand at the top."""

    differences: list[Difference]
    pairs: list[Pair]


def compare_runs(first: Run, second: Run) -> list[Comparison]:
    """Return what differs between two runs, settings and verdicts, for each check that both hold."""
    others = {part.record.name: part for part in second.parts}
    return [
        compare_parts(part, others[part.record.name])
        for part in first.parts
        if part.record.name in others
    ]


def compare_parts(first: Part, second: Part) -> Comparison:
    """Return what differs between one check of two runs."""
    pairs = list(_pairs(first, second))
    differences = list(_differences(_settings(first), _settings(second)))
    return Comparison(
        check=printable(first.record.words.title),
        ends=measured(first.record).ends,
        names=_names(first, second),
        sentence=_sentence(pairs, differences),
        distrust=distrust(second),
        differences=differences,
        pairs=pairs,
    )


def _settings(part: Part) -> dict[str, Any]:
    """Return the settings of check and run, those of the check first."""
    record = part.record
    recorded = part.spec.get("settings") or {}
    return {
        "init": record.init,
        "draws": record.draws,
        "line": {line.name: line.threshold for line in record.lines},
        "asked": dict(record.settings),
        **{k: v for k, v in part.spec.items() if k not in APART},
        "settings": {k: v for k, v in recorded.items() if k not in KEPT_ONLY},
        "stages": list(record.stages),
        "images": part.spec["images"],
        **{k: part.spec.get(k) for k in ("versions", "hardware")},
    }


def _names(first: Part, second: Part) -> tuple[str, str]:
    """Name the runs by their networks, or by their folders where those are equal."""
    if first.model_name != second.model_name:
        return first.model_name, second.model_name
    names = first.folder.resolve().name, second.folder.resolve().name
    return (names[0], names[1]) if names[0] != names[1] else ("first run", "second run")


def _pairs(first: Part, second: Part) -> Iterator[Pair]:
    rows = [{row.method: row for row in method_rows(part)} for part in (first, second)]
    for method in dict.fromkeys([*rows[0], *rows[1]]):
        pair = rows[0].get(method), rows[1].get(method)
        name = next(row.name for row in pair if row is not None)
        yield Pair(name, *pair)


def _sentence(pairs: list[Pair], differences: list[Difference]) -> str:
    changed = [
        f"{p.name} ({p.first.outcome} to {p.second.outcome})"
        for p in pairs
        if p.changed and p.first and p.second
    ]
    count = sum(1 for p in pairs if p.first and p.second)
    verdicts = (
        f"the verdict changes for {listed(changed)}"
        if changed
        else f"all {count} methods judged in both runs have the same verdict"
    )
    keys = [d.key for d in differences[:NAMED]]
    more = len(differences) - len(keys)
    keys += [f"{more} more settings"] if more > 0 else []
    settings = f"The runs differ in {listed(keys)}" if keys else "The runs have the same settings"
    return f"{settings}; {verdicts}."


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    flat = [dict(_flat(spec)) for spec in (first, second)]
    for key in dict.fromkeys([*flat[0], *flat[1]]):
        pair = flat[0].get(key, "–"), flat[1].get(key, "–")
        if pair[0] != pair[1]:
            yield Difference(key, *pair)


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

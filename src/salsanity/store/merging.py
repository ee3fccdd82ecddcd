"""One run folder of several that hold other images, or other draws, of the same question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal, final

from salsanity.errors import StoreError
from salsanity.records import CheckRecord, UnitResult
from salsanity.store.directory import (
    SCHEMA,
    DirectoryStore,
    UnitRecord,
    replacing,
    units_asked,
)
from salsanity.store.folder import inside

What = Literal["images", "draws"]

BEFOREHAND: Final = "beforehand"
"""Key of gates.json under which stands what was known before a run was judged: with it, a folder can be judged again."""

EQUAL: Final[Mapping[str, str]] = {
    "target": "class explained",
    "partners": "partners of chance",
    "similarities": "similarities",
    "views": "views",
    "methods": "methods",
    "controls": "controls",
}


@final
@dataclass(frozen=True)
class Source:
    """A finished run that is to be merged: where it lies, and what its files say."""

    store: DirectoryStore
    spec: Mapping[str, Any]
    gates: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Source:
        """Read a folder; raise `StoreError` where it is no finished run, or one that cannot be judged again."""
        store = DirectoryStore(folder)
        spec, gates = store.read_spec(), store.read_gates()
        if not spec or not gates:
            raise StoreError(f"expected a finished run in {folder}, got none; finish it first")
        if BEFOREHAND not in gates:
            raise StoreError(
                f"expected in {folder} all that judging needs, got a folder of an older version; give the command that made it "
                "once more, which computes nothing again"
            )
        if gates.get("failed_units") or spec.get("until_decided"):
            raise StoreError(
                f"expected in {folder} every image and draw that was asked for, got a run that left some out (units that failed, "
                "or --until-decided); finish it without that option"
            )
        return cls(store, spec, gates)

    @property
    def images(self) -> tuple[str, ...]:
        """The ids of its images."""
        return tuple(image["id"] for image in self.spec["images"])

    @property
    def records(self) -> dict[str, CheckRecord]:
        """Its checks by name."""
        found = map(CheckRecord.from_json, self.spec["checks"])
        return {record.name: record for record in found}

    @property
    def identity(self) -> dict[str, Any]:
        """The options of the run that decide its scores, but for the seed."""
        return {k: v for k, v in self.spec["settings"]["identity"].items() if k != "seed"}


def sources_of(folders: Sequence[Path]) -> list[Source]:
    """Read the runs that are to be merged; nothing is written.

    Runs with the same seed must hold disjoint images, and the same draws of each check; runs with the same images must have
    other seeds each. All else must be the same: network, explainers, options, checks.

    Raises:
        StoreError: a folder is not a finished run, or does not fit the first one.
    """
    sources = [Source.read(folder) for folder in folders]
    if len(sources) < 2:
        raise StoreError("expected at least two run folders to merge, got one; name another")
    for other in sources[1:]:
        _check_fits(sources[0], other)
    _what(sources)
    return sources


def merge(sources: Sequence[Source], target: DirectoryStore) -> dict[str, Any]:
    """Write the units and pictures of runs that fit into one folder and return its spec.json, which is written too.

    Draws of other seeds are numbered on.
    """
    what = _what(sources)
    units = []
    for source, firsts in zip(sources, _firsts(sources, what), strict=True):
        for record in source.store.records_of(source.spec):
            unit = _renumbered(record, firsts[record.key.check])
            target.put(unit)
            units.append(unit.key)
        _copy_pictures(source, target)
    document = _document(sources, what)
    document["settings"]["units"] = units_asked(units)
    target.write_json("spec.json", document)
    target.write_json("coverage.json", sources[0].store.read_json("coverage.json") or [])
    return document


def pooled_accuracy(sources: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Return the accuracy over all images, of the accuracies in gates.json; None where one is not known."""
    known = [source for source in sources if source]
    if not known or len(known) < len(sources):
        return None
    n = sum(int(source["n"]) for source in known)
    right = sum(float(source["trained"]) * int(source["n"]) for source in known)
    return {**known[0], "trained": right / n, "n": n} if n else dict(known[0])


def _check_fits(first: Source, other: Source) -> None:
    here = other.store.folder
    same: dict[str, tuple[Any, Any]] = {
        "network": (first.spec["model"]["fingerprint"], other.spec["model"]["fingerprint"]),
        **{said: (first.spec.get(key), other.spec.get(key)) for key, said in EQUAL.items()},
        "explainers' code": (_prints(first, "methods"), _prints(other, "methods")),
        "similarities' code": (_prints(first, "similarities"), _prints(other, "similarities")),
        "options of the run": (first.identity, other.identity),
        "networks": (first.spec.get("networks"), other.spec.get("networks")),
        **_checks(first, other),
        "version of salsanity": (_version(first, "salsanity"), _version(other, "salsanity")),
        "version of torch": (_version(first, "torch"), _version(other, "torch")),
    }
    for said, (one, two) in same.items():
        if one != two:
            values = f" ({one} / {two})" if isinstance(one, str | int) else ""
            raise StoreError(
                f"expected runs of the same question, got another one in {here}: {said} differ{values} from "
                f"{first.store.folder}; put them side by side with `salsanity report`"
            )


def _prints(source: Source, kind: str) -> list[str]:
    return sorted(source.spec["settings"]["units"][kind])


def _version(source: Source, name: str) -> object:
    return (source.spec.get("versions") or {}).get(name)


def _checks(first: Source, other: Source) -> dict[str, tuple[Any, Any]]:
    """Return what two runs' checks ask, fact by fact where only facts differ, so that a difference has a name."""
    one, two = _asked(first), _asked(other)
    facts = {
        f"{name}: {label}": (fact, other.records[name].facts.get(label))
        for name, record in first.records.items()
        for label, fact in record.facts.items()
        if name in other.records and one.get(name) != two.get(name)
    }
    return {**facts, "checks": (one, two)}


def _asked(source: Source) -> dict[str, Any]:
    """Return what checks ask, but for the number of their draws, and facts that only tell of it."""
    return {
        name: replace(record, draws=0, facts={}).to_json()
        for name, record in source.records.items()
    }


def _what(sources: Sequence[Source]) -> What:
    """Say whether the runs hold other images or other draws; `StoreError` where they share some of both."""
    seeds = [source.spec["seed"] for source in sources]
    sets = [set(source.images) for source in sources]
    if len(set(seeds)) == 1:
        if sum(map(len, sets)) != len(set().union(*sets)):
            raise StoreError(
                "expected runs of one seed with disjoint images, got images that several hold; leave a folder out, or run it "
                "with another --seed on exactly the same images"
            )
        if len({tuple(r.draws for r in source.records.values()) for source in sources}) > 1:
            raise StoreError(
                "expected runs of one seed with the same draws, got others; run with the same --draws"
            )
        return "images"
    if len(set(seeds)) < len(seeds) or any(images != sets[0] for images in sets):
        raise StoreError(
            "expected runs of different seeds with the same images, got others: where fewer images are taken than there are, the "
            "seed chooses which. For more draws give each run a --seed and all images (--max-images), for other images one --seed"
        )
    for record in sources[0].records.values():
        if record.test != "retained" or record.is_fixed or sources[0].spec.get("networks"):
            raise StoreError(
                f"expected checks whose draws are a sample, got {record.name}; more of its draws come from a larger --draws "
                "in one folder"
            )
    return "draws"


def _firsts(sources: Sequence[Source], what: What) -> Iterator[dict[str, int]]:
    """Yield, for each run, the number that its first draw of each check gets."""
    names = list(sources[0].records)
    counts = [[source.records[name].draws for name in names] for source in sources]
    ends = [list(accumulate(column)) for column in zip(*counts, strict=True)]
    for k, own in enumerate(counts):
        starts = [end[k] - n if what == "draws" else 0 for end, n in zip(ends, own, strict=True)]
        yield dict(zip(names, starts, strict=True))


def _renumbered(record: UnitRecord, first: int) -> UnitResult:
    """Return a unit with its draw numbered on, and without methods and similarities that the run did not ask for."""
    held = [set(record.scores[name]) for name in ("method", "similarity")]
    key = replace(
        record.key,
        draw=record.key.draw + first,
        methods=tuple(m for m in record.key.methods if m.partition("#")[0] in held[0]),
        similarities=tuple(s for s in record.key.similarities if s.partition("#")[0] in held[1]),
    )
    scores = record.scores.assign(draw=record.scores["draw"] + first)
    notes = dict(record.notes)
    if "health" in notes:
        notes["health"] = [{**row, "draw": row["draw"] + first} for row in notes["health"]]
    return UnitResult(key, {name: list(scores[name]) for name in SCHEMA.names}, notes)


def _copy_pictures(source: Source, target: DirectoryStore) -> None:
    for image in source.images:
        name = f"{image[:16]}.safetensors"
        path, copy = source.store.folder / "gallery" / name, target.folder / "gallery" / name
        if path.exists() and not copy.exists():
            with replacing(copy) as temporary:
                temporary.write_bytes(inside(source.store.folder, path).read_bytes())


def _document(sources: Sequence[Source], what: What) -> dict[str, Any]:
    first = sources[0].spec
    specs = [source.spec for source in sources]
    images = {image["id"]: image for spec in specs for image in spec["images"]}
    data = dict.fromkeys(str(spec["data"]["name"]) for spec in specs)
    checks = [
        replace(record, draws=sum(s.records[name].draws for s in sources)).to_json()
        if what == "draws"
        else record.to_json()
        for name, record in sources[0].records.items()
    ]
    settings = {
        **first["settings"],
        "recorded_images": [
            i for spec in specs for i in spec["settings"].get("recorded_images", spec["images"])
        ],
        "notes": list(
            dict.fromkeys(n for spec in specs for n in spec["settings"].get("notes", []))
        ),
        "merged": {"of": what, "seeds": [spec["seed"] for spec in specs]},
    }
    return {
        **first,
        "checks": checks,
        "draws": checks[0]["draws"],
        "images": list(images.values()),
        "data": {**first["data"], "name": " + ".join(data)},
        "settings": settings,
    }

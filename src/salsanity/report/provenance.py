"""How a run was made: settings, versions, coverage, health, cost."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from salsanity.report.folder import Json, Part
from salsanity.report.terms import (
    limit,
    measured,
    method_name,
    printable,
    short_name,
    similarity_name,
)

LISTED: Final = 1000
"""Elements of a list of spec.json that the page shows."""


@dataclass(frozen=True)
class Fact:
    """A line of how the run was made."""

    name: str
    value: str
    term: str | None = None


def facts(part: Part) -> list[Fact]:
    """Return what was run, in the order in which a reader asks."""
    spec, record = part.spec, part.record
    settings = spec.get("settings") or {}
    rows = [
        Fact("Network", part.model_name),
        Fact("Parameters", f"{spec['model'].get('parameters', 0):,}"),
        Fact("Fingerprint of the weights", str(spec["model"].get("fingerprint", "not recorded"))),
        Fact("Images", f"{len(spec['images'])} of {_data(spec)}"),
        *([Fact("Pixels", str(spec["data"]["pixels"]))] if spec["data"].get("pixels") else []),
        Fact("Class explained", _target(spec.get("target")), "target"),
        Fact("Compared by", ", ".join(similarity_name(s) for s in part.similarities)),
        *(
            Fact(label, str(value), TERM_OF.get(label))
            for label, value in record.facts.items()
            if label != STATISTICS or has_statistics(part)
        ),
        Fact(record.words.draw[1].capitalize(), str(record.draws or "not recorded")),
        Fact("Partners of chance", str(spec.get("partners", "not recorded")), "chance"),
        Fact("Lines that decide", _lines(part), "line"),
        *(
            [Fact("Rounds", "until decided: a method leaves once it is settled")]
            if spec.get("until_decided")
            else []
        ),
        Fact("Seed", str(spec.get("seed", "not recorded"))),
        Fact("Batch size", str(spec.get("batch_size", "not recorded"))),
        Fact("Memory format", str(settings.get("memory_format", "contiguous"))),
        Fact("Hardware", _joined(spec.get("hardware") or {})),
        Fact("Versions", _joined(spec.get("versions") or {})),
        *_cost(part),
    ]
    return [Fact(printable(r.name), printable(r.value), r.term) for r in rows]


TERM_OF: Final = {"Stages": "stage", "Initialiser": "initialiser"}
"""Facts of a check whose label is explained among the terms."""


STATISTICS: Final = "BatchNorm statistics"
"""A fact of a check that is none where the network has no such statistics."""

RUNNING: Final = ("running_mean", "running_var")


def has_statistics(part: Part) -> bool:
    """Say whether the network has running statistics, as far as its coverage was recorded."""
    return not part.coverage or any(str(row["tensor"]) in RUNNING for row in part.coverage)


def notes(part: Part) -> list[str]:
    """Return what the run told beside its verdicts, in its order."""
    found = (part.spec.get("settings") or {}).get("notes") or ()
    return [printable(text) for text in dict.fromkeys(map(str, found))]


WARNING: Final = "Warning:"
"""How a note begins that nobody may miss."""


def warnings(parts: Iterable[Part]) -> list[str]:
    """Return those notes of runs that nobody may miss, without the word that marks them."""
    found = dict.fromkeys(text for part in parts for text in notes(part))
    said = (text.removeprefix(WARNING).strip() for text in found if text.startswith(WARNING))
    return [text[:1].upper() + text[1:] for text in said if text]


def _lines(part: Part) -> str:
    lines = part.record.lines if measured(part.record).is_judged else ()
    said = [f"{limit(line)} {line.words}" for line in lines]
    return f"{'; '.join(said)} (conventions of this tool)" if said else "none"


def networks(part: Part) -> list[dict[str, str]]:
    """Return the networks that were trained on true or permuted labels for the run, with their accuracies."""
    return [
        {
            "name": f"{network['kind']} labels",
            "train": _percent(network.get("train_accuracy")),
            "test": _percent(network.get("test_accuracy")),
        }
        for network in part.spec.get("networks") or []
        if "test_accuracy" in network
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def _target(target: object) -> str:
    says = {
        "trained": "the one that the trained network predicts",
        "label": "the image's label",
        "own": "the one that each network itself predicts",
    }
    return says.get(str(target), str(target))


def _joined(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in dict(values).items()) or "not recorded"


def _cost(part: Part) -> list[Fact]:
    time = part.gates.get("time") or {}
    rows = []
    if time.get("seconds") is not None:
        rows.append(Fact("Time", _duration(float(time["seconds"]))))
    if time.get("passes") is not None:
        rows.append(Fact("Passes through the network", f"{int(time['passes']):,}"))
    return rows


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def method_settings(part: Part) -> list[tuple[str, str]]:
    """Return each method with the settings that it ran with."""
    settings = part.spec.get("method_settings") or {}
    enlarged = part.gates.get("enlarged") or {}
    rows = []
    for m in part.methods:
        said = [printable(_joined(settings[m]))] if settings.get(m) else []
        if enlarged.get(m):
            size = " × ".join(str(n) for n in enlarged[m])
            said.append(f"maps of {size} enlarged bilinearly to the images' size")
        rows.append((part.names[m], "; ".join(said) or "no settings"))
    return rows


@dataclass(frozen=True)
class Coverage:
    """What of the network was randomised."""

    sentence: str
    kept: list[tuple[str, int]]
    rows: list[dict[str, str]]


def coverage(part: Part) -> Coverage | None:
    """Return what was randomised and what was kept, with reasons; None where not recorded."""
    if not part.coverage:
        return None
    done = [row for row in part.coverage if row["randomised"]]
    parameters = [row for row in part.coverage if row["kind"] == "parameter"]
    values = sum(_count(row) for row in parameters)
    share = sum(_count(row) for row in parameters if row["randomised"]) / max(1, values)
    kept = Counter(
        str(r.get("reason") or "no reason") for r in part.coverage if not r["randomised"]
    )
    sentence = (
        f"{_share(share)} of the parameters' values were randomised ({len(done)} of "
        f"{len(part.coverage)} tensors)."
    )
    return Coverage(
        sentence=sentence,
        kept=[(printable(reason), n) for reason, n in kept.most_common()],
        rows=[_coverage_row(row) for row in part.coverage],
    )


def _share(share: float) -> str:
    return "All" if share == 1 else f"{math.floor(share * 1000) / 10:g} %"


def _count(row: Any) -> int:
    return math.prod(int(n) for n in row.get("shape") or ())


def _coverage_row(row: Any) -> dict[str, str]:
    path = ".".join(part for part in (str(row["layer"]), str(row["tensor"])) if part)
    return {
        "tensor": printable(path),
        "kind": printable(row["kind"]),
        "shape": " × ".join(str(n) for n in row.get("shape") or ()) or "scalar",
        "stage": printable(row.get("stage") or "–"),
        "fate": "randomised" if row["randomised"] else printable(row.get("reason") or "kept"),
    }


def health(part: Part) -> list[dict[str, str]]:
    """Return the signal of the changed networks by stage, the worst over draws."""
    by_stage: dict[str, list[Any]] = {}
    for row in part.gates.get("health") or []:
        by_stage.setdefault(str(row["stage"]), []).append(row)
    return [_health_row(stage, rows) for stage, rows in by_stage.items()]


def _health_row(stage: str, rows: list[Any]) -> dict[str, str]:
    ratios = [r["ratio"] for r in rows if r.get("ratio") is not None]
    logits = [r["max_logit"] for r in rows if r.get("max_logit") is not None]
    dead: Counter[str] = Counter()
    for row in rows:
        for method, share in (row.get("dead_maps") or {}).items():
            dead[method] = max(dead[method], share)
    named = [f"{method_name(m)} {100 * s:.0f} %" for m, s in dead.most_common() if s]
    return {
        "stage": printable(stage),
        "ratio": f"{min(ratios):.2g}" if ratios else "–",
        "logit": f"{max(logits):.2g}" if logits else "–",
        "state": _state(rows),
        "dead": ", ".join(named) or "none",
    }


def _state(rows: list[Any]) -> str:
    if not all(row.get("finite", True) for row in rows):
        return "not finite"
    return "collapsed" if any(row.get("collapsed") for row in rows) else "ok"


def spec_text(part: Part) -> str:
    """Return spec.json for reading: without folders of a machine in the names of network and images, nor control characters
    that JSON would let through; long lists by their beginning."""
    spec = dict(part.spec)
    spec["model"] = {**spec["model"], "name": part.model_name}
    if isinstance(spec.get("data"), Mapping):
        spec["data"] = {**spec["data"], "name": _data(spec)}
    return json.dumps(_begun(spec), indent=2, ensure_ascii=False)


def _data(spec: Json) -> str:
    """Return what the images are called, without the folders that they lie in."""
    return short_name(str((spec.get("data") or {}).get("name", "?")))


def _begun(value: Any) -> Any:
    """Return a JSON value with no list longer than `LISTED`."""
    if isinstance(value, Mapping):
        return {key: _begun(item) for key, item in value.items()}
    if isinstance(value, str) or not isinstance(value, Collection):
        return value
    left = len(value) - LISTED
    return [
        *map(_begun, islice(value, LISTED)),
        *([f"... and {left:,} more in spec.json"] if left > 0 else []),
    ]

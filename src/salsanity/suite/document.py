"""spec.json: all that is needed to run again, and what the report shows of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, Final

from salsanity.data.preprocessing import Preprocessing
from salsanity.methods import Method
from salsanity.records import CONTROLS, VIEWS, CheckRecord
from salsanity.store.gallery import Gallery
from salsanity.store.upgrade import FORMAT_VERSION
from salsanity.suite.prepared import RECORDED, SKETCHES, Run
from salsanity.suite.subject import hardware, versions

MULTIPLIED: Final = "multiplied"


def document_of(
    run: Run, images: Collection[Mapping[str, Any]], units: Mapping[str, Any]
) -> dict[str, Any]:
    """Return spec.json of a run of `images`; `units`: what is said of its units (`units_asked`)."""
    names = [s.name for s in run.tools.similarities]
    records = [settled.record(names) for settled in run.settled]
    extra = {k: v for settled in run.settled for k, v in settled.extra.items()}
    return {
        "format_version": FORMAT_VERSION,
        "check": records[0].name,
        "checks": [record.to_json() for record in records],
        "versions": versions(),
        "hardware": hardware(run.network.device),
        "model": {
            "name": run.subject.name,
            "fingerprint": run.network.fingerprint,
            "parameters": run.network.parameters,
        },
        "data": {
            "name": run.source.name,
            "class_names": list(run.class_names) or None,
            **_pixels(run),
        },
        "images": images,
        "methods": [m.name for m in run.tools.methods if m.name not in CONTROLS],
        "method_settings": {m.name: _settings(m) for m in run.tools.methods},
        MULTIPLIED: [m.name for m in run.tools.methods if getattr(m, MULTIPLIED, False)],
        "controls": list(CONTROLS),
        "similarities": names,
        "views": list(VIEWS),
        "target": run.spec.target,
        "seed": run.spec.seed,
        "partners": run.spec.partners,
        "until_decided": run.spec.until_decided,
        "batch_size": run.speed.batch_size,
        "gallery": run.spec.gallery,
        "settings": _run_settings(run, images, units),
        **_for_old_readers(records[0]),
        **extra,
    }


def _pixels(run: Run) -> dict[str, Any]:
    """Return what is done to pixels, as settings and in words; nothing where images came as the network takes them."""
    found = getattr(run.source, "preprocessing", None)
    if not isinstance(found, Preprocessing):
        return {}
    return {"preprocessing": asdict(found), "pixels": found.words}


def _run_settings(
    run: Run, images: Collection[Mapping[str, Any]], units: Mapping[str, Any]
) -> dict[str, Any]:
    is_more = len(run.recorded_images) > len(images)
    return {
        "identity": run.spec.identity(),
        **({RECORDED: run.recorded_images} if is_more else {}),
        "baseline_pool": run.baseline_pool,
        "memory_format": run.speed.memory_format,
        "batched": {one.name: one.batched for one in run.tries},
        SKETCHES: run.sketches,
        "spatial_layer": run.tools.spatial.name if run.tools.spatial else None,
        "image_problems": run.index.problems[:100],
        "duplicates": run.index.duplicates,
        "notes": list(run.notes),
        "units": dict(units),
    }


def _for_old_readers(record: CheckRecord) -> dict[str, Any]:
    """Keep what readers of format 1 found at the top, of the first check."""
    lines = {line.name: line for line in record.lines}
    return {
        "stages": list(record.stages),
        "draws": record.draws,
        "init": record.init,
        "full": record.lines[0].stage if record.lines else None,
        "half": lines["half"].stage if "half" in lines else None,
        "thresholds": {name: line.threshold for name, line in lines.items()},
    }


def _settings(method: Method) -> dict[str, Any]:
    names = ("samples", "sd", "steps_on_path", "spacing", "baseline")
    found = {name: getattr(method, name) for name in names if hasattr(method, name)}
    if "baseline" in found:
        found["baseline"] = repr(found["baseline"])
    return found


def gallery_of(run: Run) -> Gallery:
    """Return the gallery of a run: its first images, with their names and classes."""

    def called(index: int | None) -> str:
        if index is None:
            return ""
        names = run.class_names
        return names[index] if 0 <= index < len(names) else str(index)

    facts = {
        e.id: {
            "name": e.name,
            "target": str(e.target),
            "target_name": called(e.target),
            "label": called(e.label),
        }
        for e in run.shown
    }
    return Gallery(run.store.folder / "gallery", facts, run.reader.display)

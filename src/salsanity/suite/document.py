"""spec.json: all that is needed to run again, and what the report shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from salsanity.data.examples import image_id
from salsanity.methods import Method
from salsanity.records import CONTROLS, VIEWS
from salsanity.store.directory import FORMAT_VERSION
from salsanity.suite.gallery import Gallery
from salsanity.suite.narrator import Narrator
from salsanity.suite.preparing import BASELINE_POOL, Preparation
from salsanity.suite.subject import hardware, versions
from salsanity.units.identity import changed_since, key_of


def method_key(method: Method, ready: Preparation) -> str:
    """Name a method, its settings and code of the user's, so that the same name for something else is other work."""
    facts = [ready.asked.prints.methods[method.name]]
    pool = ready.tools.baselines.pool
    if getattr(method, "baseline", None) is not None and pool is not None:
        facts.append(image_id(pool))
    if ready.tools.spatial is not None and "gradcam" in method.name:
        facts.append(repr(ready.tools.spatial))
    return key_of(method.name, facts)


def similarity_keys(ready: Preparation) -> tuple[str, ...]:
    """Name every similarity, its settings and code of the user's."""
    prints = ready.asked.prints.similarities
    return tuple(key_of(s.name, prints[s.name]) for s in ready.tools.similarities)


def common_document(
    ready: Preparation, *, check: str, base: str, units: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return the keys of spec.json that both checks share; `units`: what of the scores folder belongs to the run."""
    asked, spec, network = ready.asked, ready.asked.spec, ready.tools.network
    images = [entry.to_json() for entry in ready.entries]
    names = asked.subject.class_names or asked.source.class_names
    return {
        "format_version": FORMAT_VERSION,
        "check": check,
        "base": base,
        "versions": versions(),
        "hardware": hardware(network.device),
        "model": {
            "name": asked.subject.name,
            "fingerprint": network.fingerprint,
            "parameters": network.parameters,
        },
        "data": {"name": asked.source.name, "class_names": list(names) if names else None},
        "images": images,
        "methods": [m.name for m in ready.tools.methods if m.name not in CONTROLS],
        "method_settings": {m.name: _settings(m) for m in ready.tools.methods},
        "controls": list(CONTROLS),
        "similarities": [s.name for s in ready.tools.similarities],
        "views": list(VIEWS),
        "target": spec.target,
        "seed": spec.seed,
        "batch_size": ready.speed.batch_size,
        "gallery": spec.gallery,
        "settings": {
            "identity": spec.identity(),
            "recorded_images": max(images, asked.recorded("recorded_images", []), key=len),
            "baseline_pool": asked.recorded("baseline_pool", min(BASELINE_POOL, len(images))),
            "memory_format": ready.speed.memory_format,
            "spatial_layer": ready.tools.spatial.name if ready.tools.spatial else None,
            "image_problems": ready.index.problems[:100],
            "duplicates": ready.index.duplicates,
            "notes": list(ready.notes),
            "units": dict(units),
        },
    }


def _settings(method: Method) -> dict[str, Any]:
    names = ("samples", "sd", "steps_on_path", "spacing", "baseline")
    found = {name: getattr(method, name) for name in names if hasattr(method, name)}
    if "baseline" in found:
        found["baseline"] = repr(found["baseline"])
    return found


def changes(
    ready: Preparation, units: Mapping[str, Sequence[str]], narrator: Narrator
) -> tuple[str, ...]:
    """Say which methods and similarities are others than when the folder was last run, though their names are the same."""
    before = ready.asked.recorded("units") or {}
    groups = ("methods", "similarities")
    names = [n for group in groups for n in changed_since(before.get(group, ()), units[group])]
    if not names:
        return ()
    note = f"Changed since the last run in this folder, and so computed again: {', '.join(names)}."
    narrator.say(note)
    return (note,)


def gallery_of(ready: Preparation) -> Gallery:
    """Return the gallery of a run: its first images, with their names and classes."""
    names = ready.asked.subject.class_names or ready.asked.source.class_names or ()

    def called(index: int | None) -> str:
        if index is None:
            return ""
        return names[index] if 0 <= index < len(names) else str(index)

    shown = ready.entries[: ready.asked.spec.gallery]
    facts = {
        e.id: {
            "name": e.name,
            "target": str(e.target),
            "target_name": called(e.target),
            "label": called(e.label),
        }
        for e in shown
    }
    folder = ready.asked.store.folder / "gallery"
    return Gallery(folder, facts, {e.id: ready.reader.display(e.id) for e in shown})


def with_note(ready: Preparation, *notes: str) -> Preparation:
    """Return the preparation with more to say."""
    return replace(ready, notes=(*ready.notes, *notes))

"""What a user asks for, resolved: methods, effort, the folder, and whether it continues what lies there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from salsanity import registry
from salsanity.checks.named import checks_named, kinds_named, lacked_by_all
from salsanity.data.examples import ImageSource
from salsanity.errors import DataError, MethodError, SpecError
from salsanity.methods import Method
from salsanity.narrator import Narrator
from salsanity.options import options_of
from salsanity.records import CONTROLS, digest
from salsanity.store.directory import DirectoryStore
from salsanity.store.upgrade import upgraded
from salsanity.units.images import index_images
from salsanity.units.spec import RunSpec, differing

CPU_EFFORT: Final = 10
GPU_EFFORT: Final = 50
"""Samples and steps where the user names none; the paper's number where a GPU makes it cheap."""

WAS: Final = "was_format"
"""Under this key a folder's spec.json, once upgraded, says which format it was."""


def asked(
    names: Sequence[Any], options: Mapping[str, Any], *, usual: Mapping[str, Any] | None = None
) -> tuple[tuple[Any, ...], RunSpec]:
    """Return the checks that are named or given, and the run's options, out of options for both.

    `usual`: options that give way to `options`, and are left out where neither the run nor a check has them. Raises
    `UsageError` for an unknown check, and `SpecError` for one of `options` that neither the run nor a check has.
    """
    taken = {name for kind in kinds_named(names).values() for name in options_of(kind)}
    run = options_of(RunSpec)
    laid = {k: v for k, v in (usual or {}).items() if k in taken and k not in run}
    laid |= {k: v for k, v in options.items() if k not in run}
    checks = checks_named(names, laid, known=run)
    own = {k: v for k, v in options.items() if k in run}
    refuse_lacking(checks, own)
    lacked = lacked_by_all(checks)
    own = {k: v for k, v in (usual or {}).items() if k in run and k not in lacked} | own
    return checks, RunSpec.from_mapping(own)


def refuse_lacking(checks: Sequence[Any], given: Mapping[str, Any]) -> None:
    """Refuse options of a run that none of the checks has; the class that a check explains may be repeated."""
    fixed = {getattr(check, "target", None) for check in checks}
    for name in sorted(lacked_by_all(checks) & given.keys()):
        if name != "target" or {given[name]} != fixed:
            names = ", ".join(check.name for check in checks)
            raise SpecError(f"{name!r} is no option of the check {names}; leave it out")


def methods_of(
    methods: Sequence[Any] | None, spec: RunSpec, device: torch.device
) -> tuple[Method, ...]:
    """Return the methods that are asked for (None: the paper's without IG-SmoothGrad), and the controls."""
    if isinstance(methods, str):
        raise MethodError(
            f"expected a list of methods, got the text {methods!r}; write [{methods!r}]"
        )
    named = registry.DEFAULT_METHODS if methods is None else methods
    found = [registry.method(m, effort=_effort(spec, device)) for m in named]
    names = [method.name for method in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MethodError(
            f"expected each method once, got {twice[0]!r} twice; give one another name"
        )
    if not found:
        raise MethodError("expected at least one method, got none; see `salsanity methods`")
    taken = sorted(set(names) & set(CONTROLS))
    if taken:
        raise MethodError(f"{taken[0]!r} is the name of a control; give the method another name")
    return (*found, *(make() for make in registry.CONTROLS.values()))


def _effort(spec: RunSpec, device: torch.device) -> registry.Effort:
    usual = GPU_EFFORT if device.type == "cuda" else CPU_EFFORT
    return registry.Effort(spec.samples or usual, spec.steps or usual, spec.endpoints)


def first_image(source: ImageSource) -> Tensor:
    """Return the first readable image as a batch of one, to learn a network's layers from."""
    for position in range(len(source)):
        try:
            return source[position].x[None]
        except DataError:
            continue
    index_images(source, seed=0, limit=1)  # says what is wrong with them
    raise DataError(f"expected at least one readable image in {source.name}")


def default_folder(model: str, identity: Sequence[Any]) -> Path:
    """Return `salsanity-runs/<model>-<digest>` in the working directory."""
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in model)[:40] or "network"
    return Path("salsanity-runs") / f"{name}-{digest(list(identity))[:8]}"


def recorded_run(store: DirectoryStore, narrator: Narrator) -> dict[str, Any]:
    """Return spec.json of the run in the folder, or {}; what is damaged is set aside, to be made again."""
    lost = store.discard_damaged()
    if lost:
        narrator.say(f"{lost} unit(s) in {store.folder} are damaged and will be computed again.")
    had_one = (store.folder / "spec.json").exists()
    found = store.read_object("spec.json")
    if had_one and found is None:
        narrator.say(
            f"{store.folder / 'spec.json'} is damaged; it is kept as spec.json.damaged, and the run begins with what "
            "its folder still holds."
        )
    if not found:
        return {}
    if not is_readable(found):
        raise SpecError(
            "expected in this folder's spec.json what a run writes there, but some of it is missing; give another --out"
        )
    return {**upgraded(found), WAS: found.get("format_version", 1)}


def check_same(
    old: Mapping[str, Any],
    *,
    identity: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]],
    data: str,
) -> None:
    """Refuse to mix two experiments in one folder; `old` is its spec.json, empty for a new folder.

    `identity`: of the run. `settings`: by the name of each check. A check that the folder does not hold may be added.
    """
    if not old:
        return
    usual = RunSpec().identity()
    recorded = {**old["settings"]["identity"], "partners": old.get("partners", 1)}
    changed = differing({k: recorded.get(k, v) for k, v in usual.items()}, identity)
    for record in old["checks"]:
        asked = settings.get(record["name"], {})
        # A setting that is newer than the folder had its default there.
        known = {k: record["settings"].get(k, v) for k, v in asked.items()}
        changed += differing(known, asked)
    if old["data"]["name"] != data:
        changed.append("data")
    if changed:
        raise SpecError(
            f"the run in this folder was made with another {', '.join(changed)}; only checks, draws, images, methods, "
            "similarities and thresholds may be added or changed; give another --out"
        )


def check_same_network(old: Mapping[str, Any], fingerprint: str) -> None:
    """Refuse to mix the runs of two networks in one folder."""
    if old and old["model"]["fingerprint"] != fingerprint:
        raise SpecError(
            "the folder holds a run of a network with other weights; give another --out for this one"
        )


_KEYS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "model": dict,
    "data": dict,
    "settings": dict,
    "batch_size": int,
}


def is_readable(old: Mapping[str, Any]) -> bool:
    """Whether spec.json has the keys that a continued run takes from it, each of its type."""
    typed = all(name in old and isinstance(old[name], kind) for name, kind in _KEYS.items())
    if not typed or not isinstance(old["settings"].get("identity"), dict):
        return False
    images = old["settings"].get("recorded_images", old.get("images", []))
    named = isinstance(images, list) and all(
        isinstance(image, dict) and {"id", "name"} <= image.keys() for image in images
    )
    return (
        named and "fingerprint" in old["model"] and "name" in old["data"] and old["batch_size"] > 0
    )

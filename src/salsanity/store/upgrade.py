"""Run folders of format 1 read as folders of today's format.

A folder of format 1 held one of two checks, and its readers knew both by name. Today a folder says of each check what readers
need; this is the one place that knows what the old ones left unsaid. Nothing here writes to the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pandas as pd

from salsanity.errors import StoreError
from salsanity.records import CheckRecord, Line, Outcome, Words

FORMAT_VERSION: Final = 2
"""The format that this version writes; it also reads 1."""

CASCADE: Final = "cascade"
LABELS: Final = "labels"
NAMES: Final[Mapping[str, str]] = {"model_randomization": CASCADE, "data_randomization": LABELS}
"""What the checks of format 1 are called today."""

CASCADE_WORDS: Final = Words(
    title="Model parameter randomisation test",
    question="Would these saliency maps look different if the network had forgotten all it learned?",
    caught="its maps hardly depend on what the network learned",
    uncaught="was not caught",
    use="debugging a network with its maps",
    source="Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv 1810.03292",
)
LABEL_WORDS: Final = Words(
    title="Data randomisation test",
    question="Would these saliency maps look different if the labels the network learned from had meant nothing?",
    caught="its maps hardly depend on what the labels mean",
    uncaught="was not caught",
    use="explaining how images and labels are related",
    source="Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv 1810.03292",
    draw=("pair of networks", "pairs of networks"),
    scope="this speaks of these networks only",
)
CONTROLS: Final = {"edge": Outcome.FAIL, "noise": Outcome.PASS}
"""What the controls of both checks must come out as."""

LOWER_BOUND: Final = (
    "with one network on true labels this is only a lower bound, which can FAIL but never PASS "
    "(add a second network trained on true labels)"
)
MULTIPLIED: Final = ("input_x_gradient", "integrated_gradients", "integrated_gradients_smoothgrad")
ORDERS: Final = {"top_down": "top-down, cumulative", "bottom_up": "bottom-up, cumulative"}
REQUIRED: Final = ("check", "stages", "methods", "similarities", "images")


def upgraded(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return spec.json in today's format.

    Raises:
        StoreError: it is of a format that this version does not read, or keys are missing.
    """
    version = spec.get("format_version")
    if version == FORMAT_VERSION:
        return dict(spec)
    if version != 1:
        raise StoreError(
            f"expected a run folder of format version {FORMAT_VERSION} or 1, got {version!r}; "
            "read it with the version of salsanity that wrote it"
        )
    missing = [key for key in REQUIRED if key not in spec]
    if missing or spec["check"] not in NAMES:
        raise StoreError(
            f"expected the keys {', '.join(REQUIRED)} in spec.json, with a check among {', '.join(NAMES)}; restore that file, "
            "or run again with another --out"
        )
    record = _cascade(spec) if NAMES[spec["check"]] == CASCADE else _labels(spec)
    return {
        **spec,
        "format_version": FORMAT_VERSION,
        "check": record.name,
        "checks": [record.to_json()],
        "partners": 1,
        "multiplied": [m for m in spec["methods"] if m.partition("(")[0] in MULTIPLIED],
    }


def _cascade(spec: Mapping[str, Any]) -> CheckRecord:
    stages, lines = tuple(spec["stages"]), spec.get("thresholds") or {}
    full, half = spec.get("full") or stages[-1]["name"], spec.get("half")
    everything = "after all layers are randomised"
    below = f"after the top half of the network, down to {half}, is randomised"
    return CheckRecord(
        name=CASCADE,
        words=CASCADE_WORDS,
        lines=(
            Line("full", full, lines.get("full", 0.2), everything, nothing=True),
            *([Line("half", half, lines.get("half", 0.75), below)] if half else []),
        ),
        controls=CONTROLS,
        stages=stages,
        states=("trained", *(stage["name"] for stage in stages)),
        draws=int(spec.get("draws") or 0),
        measures=tuple(spec["similarities"]),
        is_course=True,
        init=spec.get("init"),
        facts=_cascade_facts(spec, full, half),
        settings=_settings(spec),
    )


def _cascade_facts(spec: Mapping[str, Any], full: str, half: str | None) -> dict[str, str]:
    order = str(spec.get("order"))
    every = spec.get("stages_mode") == "all"
    scope = "for all images and draws" if every else "for the gallery; half and full for all"
    return {
        "Order": ORDERS.get(order, order.replace("_", " ")),
        "Stages": f"{len(spec['stages'])}, {scope}",
        "Half and full": f"half = down to {half}, full = {full}" if half else f"full = {full}",
        "Initialiser": str(spec.get("init")),
        "Batch norm statistics": str(spec.get("batchnorm")),
    }


def _labels(spec: Mapping[str, Any]) -> CheckRecord:
    networks = spec.get("networks") or []
    kinds = Counter(str(network["kind"]) for network in networks)
    threshold = (spec.get("thresholds") or {}).get("labels", 0.5)
    line = Line("permuted", "TP", threshold, "when the training labels are permuted", nothing=True)
    line = (
        replace(line, against="TT", of="two honest networks' agreement")
        if kinds["true"] > 1
        else replace(line, caveat=LOWER_BOUND)
    )
    said = ", ".join(f"{n} on {kind} labels" for kind, n in kinds.items())
    return CheckRecord(
        name=LABELS,
        words=LABEL_WORDS,
        lines=(line,),
        controls=CONTROLS,
        stages=(
            {"name": "TT", "index": 1, "words": "true and true labels"},
            {"name": "TP", "index": 2, "words": "true and permuted labels"},
        ),
        states=tuple(stage["name"] for stage in spec["stages"]),
        draws=int(spec.get("draws") or 0),
        measures=tuple(spec["similarities"]),
        facts={"Networks": said or "not recorded"},
        settings=_settings(spec),
    )


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    return dict((spec.get("settings") or {}).get("identity") or {})


def upgraded_gates(gates: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return gates.json in today's format; `spec` is that of `upgraded`."""
    controls = gates.get("controls") or {}
    if not any("outcome" in found for found in controls.values()) and not _is_old(gates):
        return dict(gates)
    check = spec["check"]
    return {
        **gates,
        "controls": {check: controls} if controls else {},
        "health": [{"check": check, **row} for row in gates.get("health") or ()],
        "failed_units": [_failed(unit, check) for unit in gates.get("failed_units") or ()],
    }


def _is_old(gates: Mapping[str, Any]) -> bool:
    """Say whether rows of gates without controls lack the name of their check."""
    rows = [*(gates.get("health") or ()), *(gates.get("failed_units") or ())]
    return any(not isinstance(row, Mapping) or "check" not in row for row in rows)


def _failed(unit: Any, check: str) -> dict[str, Any]:
    return {"check": check, **(unit if isinstance(unit, Mapping) else {"reason": str(unit)})}


def upgraded_verdicts(
    rows: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of verdicts.json in today's format; `spec` is that of `upgraded`."""
    lines = spec["checks"][0]["lines"]
    return [_verdict(row, lines) if row.get("check") in NAMES else dict(row) for row in rows]


def _verdict(row: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give a verdict what was kept at each line: under `retained` where there was one, else by the line's name."""
    kept = []
    for line in lines:
        key = "retained" if "retained" in row else f"retained_{line['name']}"
        about = {name: line[name] for name in ("stage", "threshold", "must")}
        ci = row.get(f"{key}_ci") or [None, None]
        kept.append({"line": line["name"], **about, "retained": row.get(key), "retained_ci": ci})
    named = {f"retained_{k['line']}": k["retained"] for k in kept}
    bounds = {f"retained_{k['line']}_ci": k["retained_ci"] for k in kept}
    return {
        **row,
        "check": NAMES[row["check"]],
        "retained": kept[0]["retained"],
        "retained_ci": kept[0]["retained_ci"],
        **named,
        **bounds,
        "n_used": row.get("n_images", 0) * row.get("n_draws", 0),
        "blank_reference": None,
        "blank_changed": None,
        "p": None,
        "kept": kept,
    }


def renamed(scores: pd.DataFrame) -> pd.DataFrame:
    """Call the checks in the column `check` what they are called today."""
    if not scores["check"].isin(list(NAMES)).any():
        return scores
    return scores.assign(check=scores["check"].replace(dict(NAMES)))

"""From a folder of scores to verdicts, gates and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from salsanity.checks.health import pooled
from salsanity.records import CONTROLS, REFERENCE_STAGE, LabelVerdict, Outcome, Verdict
from salsanity.report import read_run, write_figures, write_report
from salsanity.store.directory import DirectoryStore, UnitRecord, all_scores
from salsanity.suite.narrator import Narrator
from salsanity.verdicts import (
    Gate,
    accuracy_gate,
    collapse_gates,
    distrust,
    judge,
    to_json,
)
from salsanity.verdicts.judge import Rules
from salsanity.verdicts.sequential import judge_until_decided, plan_looks


def conclude(
    store: DirectoryStore,
    document: Mapping[str, Any],
    *,
    accuracy: Mapping[str, Any] | None,
    failed: Sequence[Mapping[str, Any]],
    seconds: float,
    narrator: Narrator,
) -> None:
    """Judge the scores that belong to the run of `document`, and write verdicts, gates, figures and the report."""
    _judge_and_write(store, document, accuracy, failed, seconds, narrator)
    draw_report(
        store.folder, narrator
    )  # which reads the scores again; those of the judging are gone by now


def _judge_and_write(
    store: DirectoryStore,
    document: Mapping[str, Any],
    accuracy: Mapping[str, Any] | None,
    failed: Sequence[Mapping[str, Any]],
    seconds: float,
    narrator: Narrator,
) -> None:
    records = store.records_of(document)
    health = pooled(entry for record in records for entry in record.notes.get("health", ()))
    gates = gates_of(document, accuracy, health)
    scores = all_scores(records)
    write_conclusion(
        store,
        document,
        records,
        scores,
        _judged(scores, document, gates),
        gate_reasons=[gate.reason for gate in gates],
        health=health,
        accuracy=accuracy,
        failed=failed,
        seconds=seconds,
        narrator=narrator,
    )


def gates_of(
    document: Mapping[str, Any],
    accuracy: Mapping[str, Any] | None,
    health: Sequence[Mapping[str, Any]],
) -> tuple[Gate, ...]:
    """Return what stands in the way of verdicts: accuracy at chance, a collapsed signal at a decisive stage."""
    decisive = [name for name in (document["half"], document["full"]) if name]
    return (
        *accuracy_gate(accuracy),
        *collapse_gates((h for h in health if h["stage"] in decisive), init=document["init"]),
    )


def rules_of(document: Mapping[str, Any]) -> Rules:
    """Return what a run is judged by."""
    lines = document["thresholds"]
    return Rules(document["full"], document["half"], lines["full"], lines["half"])


def _judged(
    scores: pd.DataFrame, document: Mapping[str, Any], gates: Sequence[Gate]
) -> list[Verdict]:
    rules, ids = rules_of(document), [image["id"] for image in document["images"]]
    methods, controls = document["methods"], document["controls"]
    if document.get("until_decided"):
        return judge_until_decided(
            scores,
            methods=methods,
            controls=controls,
            images=ids,
            looks=plan_looks(len(ids), document["draws"]),
            rules=rules,
            init=document["init"],
            gates=gates,
        )
    return judge(
        scores,
        methods=methods,
        controls=controls,
        half=rules.half,
        full=rules.full,
        d_full=rules.d_full,
        d_half=rules.d_half,
        init=document["init"],
        gates=gates,
    )


def write_conclusion(
    store: DirectoryStore,
    document: Mapping[str, Any],
    records: Sequence[UnitRecord],
    scores: pd.DataFrame,
    verdicts: Sequence[Verdict | LabelVerdict],
    *,
    gate_reasons: Sequence[str],
    health: Sequence[Mapping[str, Any]],
    accuracy: Mapping[str, Any] | None,
    failed: Sequence[Mapping[str, Any]],
    seconds: float,
    narrator: Narrator,
) -> None:
    """Write verdicts.json and gates.json."""
    reasons = _reasons(verdicts, gate_reasons, failed)
    enlarged = {
        method: size
        for record in records
        for method, size in record.notes.get("enlarged", {}).items()
        if method in set(record.scores["method"])  # the rest of a unit may be another's by now
    }
    for method, size in enlarged.items():
        narrator.say(
            f"Maps of {method} came at {' x '.join(map(str, size))} and were enlarged bilinearly to the images' size."
        )
    store.write_json("verdicts.json", [to_json(verdict) for verdict in verdicts])
    store.write_json(
        "gates.json",
        {
            "trusted": not reasons,
            "reasons": reasons,
            "controls": _controls(verdicts),
            "health": health,
            "accuracy": accuracy,
            "equal_maps": equal_maps(scores, document["methods"]),
            "enlarged": enlarged,
            "time": {"seconds": _seconds(records, seconds), "this_time": seconds},
            "failed_units": list(failed),
        },
    )


def _reasons(
    verdicts: Sequence[Verdict | LabelVerdict],
    gate_reasons: Sequence[str],
    failed: Sequence[Mapping[str, Any]],
) -> list[str]:
    reasons = [*distrust(verdicts), *gate_reasons]
    if failed:
        reasons.append(
            f"{len(failed)} unit(s) of work failed; the first: {failed[0]['reason']} (errors.log has the traceback)"
        )
    return reasons


def _controls(verdicts: Sequence[Verdict | LabelVerdict]) -> dict[str, Any]:
    expected = {"edge": Outcome.FAIL, "noise": Outcome.PASS}
    found = {v.method: v.outcome for v in verdicts if v.view is None and v.method in CONTROLS}
    return {
        name: {
            "expected": expected.get(name),
            "outcome": outcome,
            "ok": name not in expected or outcome is expected[name],
        }
        for name, outcome in found.items()
    }


def _seconds(records: Sequence[UnitRecord], this_time: float) -> float:
    """Add up what the units took, whenever they ran."""
    return max(this_time, sum(float(record.notes.get("seconds") or 0) for record in records))


def equal_maps(scores: pd.DataFrame, methods: Sequence[str]) -> list[list[str]]:
    """Name pairs of methods whose scores are all equal: their maps are, as for a linear network."""
    if scores.empty:
        return []
    by = ["stage", "draw", "image", "view", "similarity"]
    tables = {}
    for name in methods:  # one after another, since the scores of a large run are large
        rows = (scores["method"] == name) & (scores["stage"] != REFERENCE_STAGE)
        part = scores.loc[rows, [*by, "value", "chance"]].sort_values(by)
        if len(part):
            tables[name] = part[["value", "chance"]].round(9).to_numpy().tobytes()
    pairs = combinations([name for name in methods if name in tables], 2)
    return [[a, b] for a, b in pairs if tables[a] == tables[b]]


def draw_report(folder: Path, narrator: Narrator) -> None:
    """Draw the figures and the page; the verdicts are on disk already, so a fault here loses none of them."""
    narrator.say("Drawing the figures and the report.")
    run = read_run(folder)
    write_figures(run, formats=("png",))
    write_report(run)

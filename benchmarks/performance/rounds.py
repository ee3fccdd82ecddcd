"""`--until-decided` on the recorded scores of a whole run: the same headlines, for how many of the passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from subject import Row

from salsanity.store.directory import DirectoryStore, all_scores
from salsanity.suite.judging import rules_of
from salsanity.verdicts.sequential import judge_until_decided, plan_looks, settled_at

NEEDS = {
    "gradient": ("plain",),
    "input_x_gradient": ("plain",),
    "gradcam": ("plain",),
    "guided_backprop": ("guided",),
    "guided_gradcam": ("plain", "guided"),
    "smoothgrad": ("noisy",),
    "smoothgrad_squared": ("noisy",),
    "vargrad": ("noisy",),
    "integrated_gradients": ("path",),
}
"""Which passes a method shares with others."""


def passes_at(methods: list[str], document: dict[str, Any]) -> int:
    """Return the passes an image and stage cost for some methods together."""
    settings = document["method_settings"]
    each = {
        "plain": 1,
        "guided": 1,
        "noisy": settings.get("smoothgrad", {}).get("samples", 0),
        "path": settings.get("integrated_gradients", {}).get("steps_on_path", 0),
    }
    return sum(each[kind] for kind in {kind for m in methods for kind in NEEDS.get(m, ())})


def rounds(folder: Path) -> Row:
    """Replay the rounds on the scores of `folder` and compare headlines and passes."""
    store = DirectoryStore(folder)
    document = json.loads((folder / "spec.json").read_text())
    scores = all_scores(store.records_of(document))
    ids, methods = [image["id"] for image in document["images"]], document["methods"]
    looks = plan_looks(len(ids), document["draws"])
    shared = {"images": ids, "looks": looks, "rules": rules_of(document)}
    controls = document["controls"]
    settled = settled_at(scores, methods=methods, controls=controls, **shared)
    verdicts = judge_until_decided(scores, methods=methods, controls=controls, **shared)
    ours = {v.method: str(v.outcome) for v in verdicts if v.view is None}
    whole = {
        v["method"]: v["outcome"]
        for v in json.loads((folder / "verdicts.json").read_text())
        if v["view"] is None
    }
    other = [f"{m}: {ours[m]}, whole run {whole[m]}" for m in methods if ours[m] != whole[m]]
    used, before = 0, 0
    for number, look in enumerate(looks):
        still = [m for m in methods if settled.get(m, len(looks)) >= number]
        used += (look.size - before) * passes_at(still, document)
        before = look.size
    share = used / (looks[-1].size * passes_at(methods, document))
    left = ", ".join(f"{m} at look {settled[m] + 1}" for m in methods if m in settled)
    note = f"settled: {left or 'none'}; {'; '.join(other) or 'same headlines'}"
    return Row(
        f"--until-decided on the scores of a recorded run ({document['model']['name']}, {len(ids)} x {document['draws']})",
        f"{share:.2f} of the passes", "", "", share, "at most 0.33, same headlines", share <= 1 / 3 and not other, note,
    )  # fmt: skip

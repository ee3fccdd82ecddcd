"""`--until-decided` on the recorded scores of a whole run: the same headlines, for how many of the passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from subject import Row

from salsanity.report import read_run
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
    part = read_run(folder).parts[0]
    document, record, methods = dict(part.spec), part.record, list(part.methods)
    ids = [image["id"] for image in document["images"]]
    looks = plan_looks(len(ids), record.draws)
    shared = {"images": ids, "looks": looks, "methods": methods, "controls": list(part.controls)}
    settled = settled_at(part.scores, record, **shared)
    verdicts = judge_until_decided(part.scores, record, **shared)
    ours = {v.method: str(v.outcome) for v in verdicts if v.view is None}
    whole = {v.method: str(v.outcome) for v in part.verdicts if v.view is None}
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
        f"--until-decided on the scores of a recorded run ({document['model']['name']}, {len(ids)} x {record.draws})",
        f"{share:.2f} of the passes", "", "", share, "at most 0.33, same headlines", share <= 1 / 3 and not other, note,
    )  # fmt: skip

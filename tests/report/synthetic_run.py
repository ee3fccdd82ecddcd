"""Write a plausible run folder: planted similarities, drawn maps, hostile names."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from salsanity.records import CheckRecord, Line, Must, Outcome, Words

SCRIPT = "<script>alert(1)</script>"
HOSTILE_NAMES = (
    "photo-0001.jpg",
    '"><img src=x onerror=alert(1)>.png',
    "../../etc/passwd",
    "a\nname\twith breaks",
    "n" * 240,
    "{{ 7 * 7 }} ünïcode 画像.png",
    "' onmouseover='alert(1)",
    "</script><script>alert(1)</script>",
)
HOSTILE_CLASSES = (SCRIPT, "tabby & <b>cat</b>", '"quoted"', "zebra", "javascript:alert(1)")

METHODS = (
    "gradient",
    "input_x_gradient",
    "smoothgrad",
    "smoothgrad_squared",
    "vargrad",
    "integrated_gradients",
    "integrated_gradients_smoothgrad",
    "guided_backprop",
    "gradcam",
    "guided_gradcam",
)
CONTROLS = ("edge", "input", "noise", "noise_x_input")
SIMILARITIES = ("spearman", "ssim", "hog")
VIEWS = ("signed", "absolute")
STAGES_17 = [
    *("Logits", "Mixed_7c", "Mixed_7b", "Mixed_7a"),
    *("Mixed_6e", "Mixed_6d", "Mixed_6c", "Mixed_6b", "Mixed_6a"),
    *("Mixed_5d", "Mixed_5c", "Mixed_5b", "Conv2d_4a", "Conv2d_3b"),
    *("Conv2d_2b", "Conv2d_2a", "Conv2d_1a"),
]
NOISY = ("smoothgrad", "smoothgrad_squared", "vargrad", "integrated_gradients_smoothgrad")
KEPT = {"guided_backprop": 0.62, "guided_gradcam": 0.55, "edge": 1.0, "input": 1.0}
"""What share of the similarity survives the whole cascade, where that is more than chance."""
INPUT_DRIVEN = ("input_x_gradient", "integrated_gradients", "noise_x_input")


@dataclass(frozen=True)
class Recipe:
    """What the folder should hold."""

    stages: tuple[str, ...] = tuple(STAGES_17)
    methods: tuple[str, ...] = METHODS
    images: int = 16
    draws: int = 3
    gallery: int = 8
    side: int = 32
    channels: int = 1
    similarities: tuple[str, ...] = SIMILARITIES
    mode: str = "all"
    order: str = "top_down"
    init: str = "module"
    trusted: bool = True
    hostile: bool = True
    grain: float = 0.0
    """0: smooth maps; 1: white noise, which no image format can compress."""
    seed: int = 0
    format: int = 2


def write_cascade(folder: Path, recipe: Recipe = Recipe()) -> Path:
    """Write a run of the model parameter randomisation test."""
    spec = _spec(recipe)
    _write_common(folder, spec, _cascade_scores(recipe, spec), recipe)
    rows = _cascade_verdicts(recipe, spec)
    _json(folder / "verdicts.json", [_old(row) if recipe.format == 1 else row for row in rows])
    for position in range(min(recipe.gallery, recipe.images)):
        stages = ("trained", *recipe.stages)
        _write_gallery(folder, spec, position, stages, recipe)
    return folder


def write_labels(folder: Path, recipe: Recipe = Recipe(stages=("full",))) -> Path:
    """Write a run of the data randomisation test with two networks of each kind."""
    states = ("true:0", "true:1", "permuted:0", "permuted:1")
    spec = _spec(recipe) | {"check": "labels", "checks": [label_record(recipe, states).to_json()]}
    spec["networks"] = [
        {
            "kind": kind,
            "seed": seed,
            "train_accuracy": 0.991,
            "test_accuracy": 0.978 if kind == "true" else 0.104,
            "fingerprint": hashlib.sha256(f"{kind}{seed}".encode()).hexdigest(),
        }
        for kind in ("true", "permuted")
        for seed in (0, 1)
    ]
    _write_common(folder, spec, _label_scores(recipe, spec), recipe)
    _json(folder / "verdicts.json", _label_verdicts(recipe, spec))
    for position in range(min(recipe.gallery, recipe.images)):
        _write_gallery(folder, spec, position, states, recipe)
    return folder


def write_several(folder: Path, recipe: Recipe = Recipe()) -> Path:
    """Write a run of three checks: the cascade, another one whose maps must change, and one whose maps must stay."""
    spec = _spec(recipe)
    others = [
        one_stage_record(recipe, "turned", "change"),
        one_stage_record(recipe, "moved", "stay"),
    ]
    spec["checks"] += [record.to_json() for record in others]
    scores = [_cascade_scores(recipe, spec)]
    scores += [_one_stage_scores(recipe, spec, record) for record in others]
    _write_common(folder, spec, pd.concat(scores, ignore_index=True), recipe)
    rows = _cascade_verdicts(recipe, spec)
    rows += [row for record in others for row in _one_stage_verdicts(recipe, record)]
    _json(folder / "verdicts.json", rows)
    states = ("trained", *recipe.stages, *(record.states[1] for record in others))
    for position in range(min(recipe.gallery, recipe.images)):
        _write_gallery(folder, spec, position, states, recipe)
    return folder


CASCADE_WORDS = Words(
    title="Model parameter randomisation test",
    question="Would these saliency maps look different if the network had forgotten all it learned?",
    caught="its maps hardly depend on what the network learned",
    uncaught="was not caught",
    use="debugging a network",
    source="Adebayo et al. 2018",
)
LABEL_WORDS = Words(
    title="Data randomisation test",
    question="Would these saliency maps look different if the labels had meant nothing?",
    caught="its maps hardly depend on what the labels mean",
    uncaught="was not caught",
    draw=("pair of networks", "pairs of networks"),
)


def cascade_record(recipe: Recipe) -> CheckRecord:
    """What the cascade says of itself."""
    half = recipe.stages[math.ceil(len(recipe.stages) / 2) - 1]
    below = f"after the top half of the network, down to {half}, is randomised"
    return CheckRecord(
        name="cascade",
        words=CASCADE_WORDS,
        lines=(
            Line("full", recipe.stages[-1], 0.2, "after all layers are randomised", nothing=True),
            Line("half", half, 0.75, below),
        ),
        controls={"edge": Outcome.FAIL, "noise": Outcome.PASS},
        stages=tuple(
            {"name": name, "index": k + 1, "blocks": list(recipe.stages[: k + 1])}
            for k, name in enumerate(recipe.stages)
        ),
        states=("trained", *recipe.stages),
        draws=recipe.draws,
        measures=recipe.similarities,
        is_course=True,
        init=recipe.init,
        facts={
            "Order": recipe.order.replace("_", "-"),
            "Initialiser": recipe.init,
            "BatchNorm statistics": "keep",
        },
        settings={"order": recipe.order, "stages": recipe.mode, "keep": []},
    )


def label_record(recipe: Recipe, states: tuple[str, ...]) -> CheckRecord:
    """What the label test says of itself."""
    line = Line(
        *("permuted", "TP", 0.5, "when the training labels are permuted"),
        against="TT",
        of="two honest networks' agreement",
        nothing=True,
    )
    return CheckRecord(
        name="labels",
        words=LABEL_WORDS,
        lines=(line,),
        controls={"edge": Outcome.FAIL, "noise": Outcome.PASS},
        stages=(
            {"name": "TT", "index": 1, "words": "true and true labels"},
            {"name": "TP", "index": 2, "words": "true and permuted labels"},
        ),
        states=states,
        draws=4,
        measures=recipe.similarities,
        facts={"Networks": "2 on true labels, 2 on permuted labels"},
    )


def one_stage_record(recipe: Recipe, name: str, must: Must) -> CheckRecord:
    """A check that nobody knows: one stage, at which maps must change or must stay."""
    stays = must == "stay"
    return CheckRecord(
        name=name,
        words=Words(
            title=f"The {name} check",
            question=f"What becomes of the maps once the image is {name}?",
            caught="its maps follow what means nothing"
            if stays
            else "it always shows the same map",
            uncaught="was not caught",
            use=f"images that may be {name}",
            source="",
        ),
        lines=(Line(name, name, 0.9 if stays else 0.75, f"after the image is {name}", must=must),),
        controls={"edge": Outcome.PASS, "noise": Outcome.FAIL} if stays else {"edge": Outcome.FAIL},
        stages=({"name": name, "index": 1},),
        states=("trained", name),
        draws=recipe.draws,
        measures=recipe.similarities,
        facts={"How far": "3 pixels"},
    )


def kept(method: str, view: str, depth: float) -> float:
    """The planted retained similarity of a method at relative depth 0..1 of the cascade."""
    if method in INPUT_DRIVEN:
        return 0.97 if view == "absolute" else 0.9 * math.exp(-6 * depth)
    if method in KEPT:
        return 1 - (1 - KEPT[method]) * depth
    if method == "noise":
        return 0.0
    return math.exp(-(3.5 if method == "gradcam" else 6) * depth)


def _spec(recipe: Recipe) -> dict[str, Any]:
    classes = HOSTILE_CLASSES if recipe.hostile else ("0", "1", "2", "3", "4")
    record = cascade_record(recipe)
    names = [HOSTILE_NAMES[i % 8] if recipe.hostile else f"test/{i}" for i in range(recipe.images)]
    return {
        "format_version": recipe.format,
        "salsanity": "0.1.0",
        "check": record.name if recipe.format > 1 else "model_randomization",
        **({"checks": [record.to_json()]} if recipe.format > 1 else {}),
        "partners": 3,
        "base": hashlib.sha256(str(recipe).encode()).hexdigest(),
        "versions": {"python": "3.11.2", "torch": "2.13.0", "numpy": "2.2.0", "salsanity": "0.1.0"},
        "hardware": {"device": "cpu", "processor": "A processor at 2.5 GHz", "threads": 2},
        "model": {
            "name": f"file.py:{SCRIPT}" if recipe.hostile else "reference:cnn",
            "fingerprint": hashlib.sha256(b"weights").hexdigest(),
            "parameters": 23_834_568,
        },
        "data": {"name": "photographs", "class_names": list(classes)},
        "images": [
            {"id": image_id(i), "name": names[i], "label": i % 5, "target": (i + i // 7) % 5}
            for i in range(recipe.images)
        ],
        "methods": list(recipe.methods),
        "method_settings": {
            "smoothgrad": {"samples": 50, "sd": 0.15},
            "integrated_gradients": {"steps": 50, "baseline": "zeros"},
        },
        "controls": list(CONTROLS),
        "similarities": list(recipe.similarities),
        "views": list(VIEWS),
        "order": recipe.order,
        "stages_mode": recipe.mode,
        "stages": list(record.stages),
        "half": record.lines[1].stage,
        "full": recipe.stages[-1],
        "blocks": [{"name": n, "layers": [f"{n}.conv", f"{n}.bn"]} for n in recipe.stages],
        "init": recipe.init,
        "batchnorm": "keep",
        "target": "trained",
        "draws": recipe.draws,
        "seed": 0,
        "batch_size": 32,
        "gallery": recipe.gallery,
        "thresholds": {"full": 0.2, "half": 0.75},
        "settings": {"keep": [], "identity": dict(record.settings)},
    }


def image_id(position: int) -> str:
    """The id of the image at a position of the run."""
    return hashlib.sha256(f"pixels {position}".encode()).hexdigest()


def _write_common(folder: Path, spec: dict[str, Any], scores: pd.DataFrame, recipe: Recipe) -> None:
    (folder / "scores").mkdir(parents=True, exist_ok=True)
    (folder / "gallery").mkdir(exist_ok=True)
    _json(folder / "spec.json", spec)
    for draw, part in scores.groupby("draw"):
        unit = hashlib.sha256(f"unit {draw}".encode()).hexdigest()
        part.to_parquet(folder / "scores" / f"{unit}.parquet", index=False)
    gates = _gates(recipe)
    if recipe.format > 1:
        gates |= _by_check(gates, spec)
    _json(folder / "gates.json", gates)
    _json(folder / "coverage.json", _coverage(recipe))


def _gates(recipe: Recipe) -> dict[str, Any]:
    edge = "FAIL" if recipe.trusted else "PASS"
    health = [
        {
            "draw": draw,
            "stage": stage,
            "sd_images": 0.8 / (k + 1),
            "sd_classes": 1.1,
            "ratio": 0.73 / (k + 1),
            "max_logit": 9.5 / (k + 1),
            "finite": True,
            "collapsed": not recipe.trusted and k + 1 == len(recipe.stages),
            "dead_maps": {m: 0.25 if m == "gradcam" and k else 0.0 for m in recipe.methods},
        }
        for draw in range(recipe.draws)
        for k, stage in enumerate(recipe.stages)
    ]
    broken = ["the control edge was expected to FAIL and did PASS"]
    return {
        "trusted": recipe.trusted,
        "reasons": [] if recipe.trusted else broken,
        "controls": {
            "edge": {"expected": "FAIL", "outcome": edge, "ok": edge == "FAIL"},
            "noise": {"expected": "PASS", "outcome": "PASS", "ok": True},
        },
        "health": health,
        "accuracy": {"trained": 0.978, "chance": 0.1, "n": 50},
        "time": {"seconds": 4521.7, "passes": 123_456},
        "failed_units": [] if recipe.trusted else ["draw 1, images 8 to 15: out of memory"],
    }


def _by_check(gates: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Say of every entry to which check it belongs."""
    found = {"edge": "FAIL", "noise": "PASS"} | {
        name: row["outcome"] for name, row in gates["controls"].items()
    }
    controls = {
        record["name"]: {
            name: {"expected": wanted, "outcome": found[name], "ok": found[name] == wanted}
            for name, wanted in record["controls"].items()
        }
        for record in spec["checks"]
    }
    return {
        "controls": controls,
        "health": [{"check": spec["check"], **row} for row in gates["health"]],
        "failed_units": [
            {"unit": "0" * 64, "check": spec["check"], "draw": 1, "reason": words}
            for words in gates["failed_units"]
        ],
    }


def _coverage(recipe: Recipe) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name in reversed(recipe.stages):
        for tensor, kind in (
            ("weight", "parameter"),
            ("bias", "parameter"),
            ("running_mean", "buffer"),
        ):
            done = kind == "parameter"
            rows.append(
                {
                    "layer": f"{name}.conv",
                    "tensor": tensor,
                    "kind": kind,
                    "shape": [64, 32, 3, 3] if tensor == "weight" else [64],
                    "block": name,
                    "stage": name if done else None,
                    "randomised": done,
                    "reason": None if done else "running statistics are kept (batchnorm=keep)",
                }
            )
    return rows


CHANCE = {"spearman": 0.24, "ssim": 0.11, "hog": 0.3}


def _cascade_scores(recipe: Recipe, spec: dict[str, Any]) -> pd.DataFrame:
    rng = np.random.default_rng(recipe.seed)
    rows = []
    for method in (*recipe.methods, *CONTROLS):
        ceiling = 0.85 if method in NOISY else 1.0
        for view in VIEWS:
            for similarity in recipe.similarities:
                chance = CHANCE[similarity] * (1.0 if view == "absolute" else 0.1)
                cell = (method, view, similarity)
                rows += _self_rows(rng, recipe, spec["check"], cell, ceiling)
                rows += _stage_rows(rng, recipe, spec, cell, ceiling, chance)
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    *("check", "draw", "stage", "stage_index", "image"),
    *("method", "view", "similarity", "value", "chance", "reason"),
]


def _self_rows(rng, recipe, check, cell, ceiling) -> list[tuple[Any, ...]]:
    sd = 0.0 if ceiling == 1.0 else 0.02
    values = np.minimum(1.0, ceiling + sd * rng.normal(size=recipe.images))
    return [
        (check, 0, "self", 0, image_id(i), *cell, float(values[i]), math.nan, None)
        for i in range(recipe.images)
    ]


def _stage_rows(rng, recipe, spec, cell, ceiling, chance) -> list[tuple[Any, ...]]:
    rows, check = [], spec["check"]
    for k, stage in enumerate(recipe.stages):
        share = kept(cell[0], cell[1], (k + 1) / len(recipe.stages))
        mean = chance + share * (ceiling - chance)
        sd = 0.0 if cell[0] in ("edge", "input") else 0.04
        judged = stage in (spec["half"], spec["full"])
        for draw in range(recipe.draws):
            shift = sd * rng.normal()
            for i in range(recipe.images):
                if recipe.mode == "verdict" and not judged and (draw or i >= recipe.gallery):
                    continue
                value = min(1.0, mean + shift + sd * rng.normal())
                other = chance + 0.03 * rng.normal()
                reason = None
                if cell[0] == "gradcam" and (i + k) % 11 == 10:
                    value, reason = math.nan, "constant map"
                rows.append((check, draw, stage, k + 1, image_id(i), *cell, value, other, reason))
    return rows


def _label_scores(recipe: Recipe, spec: dict[str, Any]) -> pd.DataFrame:
    """TT compares two true networks, TP a true with a permuted one; a draw is a pair."""
    rng = np.random.default_rng(recipe.seed)
    rows: list[tuple[Any, ...]] = []
    for method in (*recipe.methods, *CONTROLS):
        for view in VIEWS:
            for similarity in recipe.similarities:
                chance = CHANCE[similarity] * (1.0 if view == "absolute" else 0.1)
                honest = 1.0 if method in ("edge", "input") else 0.7 + 0.2 * (view == "absolute")
                left = chance + kept(method, view, 1.0) * (honest - chance)
                cell = (method, view, similarity)
                rows += _self_rows(rng, recipe, spec["check"], cell, 1.0)
                for stage, pairs, mean in (("TT", 1, honest), ("TP", 4, left)):
                    for pair in range(pairs):
                        rows += _pair_rows(rng, recipe, (pair, stage), cell, mean, chance)
    return pd.DataFrame(rows, columns=COLUMNS)


def _pair_rows(rng, recipe, where, cell, mean, chance) -> list[tuple[Any, ...]]:
    sd = 0.0 if mean == 1.0 else 0.03
    index = 1 if where[1] == "TT" else 2
    return [
        ("labels", *where, index, image_id(i), *cell, *_scores(rng, mean, sd, chance))
        for i in range(recipe.images)
    ]


def _scores(rng, mean, sd, chance) -> tuple[float, float, None]:
    return min(1.0, mean + sd * rng.normal()), chance + 0.02 * rng.normal(), None


def _one_stage_scores(recipe: Recipe, spec: dict[str, Any], record: CheckRecord) -> pd.DataFrame:
    rng = np.random.default_rng([recipe.seed, len(record.name)])
    rows: list[tuple[Any, ...]] = []
    for method in (*recipe.methods, *CONTROLS):
        for view in VIEWS:
            for similarity in recipe.similarities:
                cell, chance = (method, view, similarity), CHANCE[similarity]
                mean = chance + one_stage_kept(record, method) * (1 - chance)
                rows += _self_rows(rng, recipe, record.name, cell, 1.0)
                for draw in range(recipe.draws):
                    where = (record.name, draw, record.name, 1)
                    rows += [
                        (*where, image_id(i), *cell, *_scores(rng, mean, 0.02, chance))
                        for i in range(recipe.images)
                    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def one_stage_kept(record: CheckRecord, method: str) -> float:
    """The planted retained similarity of a method in a check of one stage."""
    if record.lines[0].must == "change":
        return 0.97 if method in ("gradcam", "edge", "input") else 0.4
    return 0.3 if method in (*INPUT_DRIVEN, "noise") else 0.99


def _one_stage_verdicts(recipe: Recipe, record: CheckRecord) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    (line,) = record.lines
    for method in (*recipe.methods, *CONTROLS):
        kept = one_stage_kept(record, method)
        wrong = kept > line.threshold if line.must == "change" else kept < line.threshold
        verdict = {
            "outcome": "FAIL" if wrong else "PASS",
            "reason": f"retains {kept:.2f} of its similarity {line.words}",
            **_measured([(line, kept, 0.02)]),
            **_counts(recipe, method),
        }
        cells = [
            {"check": record.name, "method": method, "view": v, "similarity": s, **verdict}
            for v in VIEWS
            for s in recipe.similarities
        ]
        rows += _with_headline(cells)
    return rows


def _judge(full: float, half: float) -> str:
    if full > 0.25 or half > 0.8:
        return "FAIL"
    return "PASS" if full < 0.15 and half < 0.7 else "INCONCLUSIVE"


def _cell(recipe: Recipe, lines: list[Line], cell: tuple[str, str, str]) -> dict[str, Any]:
    method, view, similarity = cell
    half = math.ceil(len(recipe.stages) / 2) / len(recipe.stages)
    shares = [kept(method, view, depth) for depth in (1.0, half)]
    outcome = _judge(shares[0], shares[-1])
    if method == "gradcam" and similarity == "hog":
        outcome = "UNINFORMATIVE"
    width = 0.0 if method in ("edge", "input") else 0.04
    return {
        "check": "cascade",
        "method": method,
        "view": view,
        "similarity": similarity,
        "outcome": outcome,
        "reason": f"{view} {similarity} retains {shares[0]:.2f} of its similarity "
        "after all layers are randomised",
        **_measured([(line, share, width) for line, share in zip(lines, shares, strict=False)]),
        **_counts(recipe, method),
    }


def _measured(found: list[tuple[Line, float, float]]) -> dict[str, Any]:
    """What was kept at each line, as verdicts.json has it."""
    kept = [
        {
            "line": line.name,
            "stage": line.stage,
            "threshold": line.threshold,
            "must": line.must,
            "retained": share,
            "retained_ci": [share - width, share + width],
        }
        for line, share, width in found
    ]
    named = {f"retained_{k['line']}": k["retained"] for k in kept}
    bounds = {f"retained_{k['line']}_ci": k["retained_ci"] for k in kept}
    first = {name: kept[0][name] for name in ("retained", "retained_ci")}
    return {**first, **named, **bounds, "kept": kept}


def _counts(recipe: Recipe, method: str) -> dict[str, Any]:
    lost = method == "gradcam"
    return {
        "ceiling": 0.85 if method in NOISY else 1.0,
        "n_images": recipe.images,
        "n_draws": recipe.draws,
        "n_used": recipe.images * recipe.draws - 2 * lost,
        "n_undefined": 2 if lost else 0,
        "blank_reference": 0.0,
        "blank_changed": 0.2 if lost else 0.0,
        "init": recipe.init,
        "p": None,
    }


RANK = ("PASS", "INCONCLUSIVE", "FAIL")


def _with_headline(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    informative = [c for c in cells if c["outcome"] != "UNINFORMATIVE"]
    worst = max(informative, key=lambda c: RANK.index(c["outcome"]))
    reason = worst["reason"]
    if worst["outcome"] == "FAIL" and worst["method"] in INPUT_DRIVEN:
        reason += "; dominated by the input: run it without the multiplier"
    if worst["outcome"] == "PASS":
        reason = "every similarity falls to chance as the layers are randomised"
    return [worst | {"view": None, "similarity": None, "reason": reason}, *cells]


def _cascade_verdicts(recipe: Recipe, spec: dict[str, Any]) -> list[dict[str, Any]]:
    lines = list(cascade_record(recipe).lines)
    rows: list[dict[str, Any]] = []
    for method in (*recipe.methods, *CONTROLS):
        cells = [_cell(recipe, lines, (method, v, s)) for v in VIEWS for s in recipe.similarities]
        rows += _with_headline(cells)
    return rows


def _old(row: dict[str, Any]) -> dict[str, Any]:
    """A verdict as format 1 wrote it."""
    new = ("kept", "retained", "retained_ci", "n_used", "blank_reference", "blank_changed", "p")
    return {k: v for k, v in row.items() if k not in new} | {"check": "model_randomization"}


def _label_verdicts(recipe: Recipe, spec: dict[str, Any]) -> list[dict[str, Any]]:
    line = Line(**spec["checks"][0]["lines"][0])
    rows = _cascade_verdicts(recipe, spec)
    for row in rows:
        share, width = row["retained"], row["retained_ci"][1] - row["retained"]
        for key in ("retained_full", "retained_half"):
            del row[key], row[f"{key}_ci"]
        row |= {"check": "labels", **_measured([(line, share, width)])}
        row["reason"] = row["reason"].replace("all layers are randomised", "labels are permuted")
    return rows


def _smooth(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    coarse = rng.normal(size=(cells, cells))
    at = np.linspace(0, cells - 1, side)
    rows = np.stack([np.interp(at, np.arange(cells), line) for line in coarse])
    return np.stack([np.interp(at, np.arange(cells), line) for line in rows.T]).T


def _photo(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    cx, cy, radius = *rng.uniform(-0.15, 0.15, 2), rng.uniform(0.2, 0.33)
    disc = 1 / (1 + np.exp((np.hypot(x - cx, (y - cy) * rng.uniform(0.7, 1.3)) - radius) * 60))
    stripes = 0.5 + 0.5 * np.sin(40 * (x * np.cos(cx * 9) + y * np.sin(cx * 9)))
    planes = [
        0.25 + 0.12 * _smooth(rng, side, 5) + disc * (shade + 0.25 * stripes)
        for shade in rng.uniform(0.1, 0.5, 3)
    ]
    return np.clip(np.stack(planes), 0, 1).astype(np.float32)


def _edges(photo: np.ndarray) -> np.ndarray:
    grey = photo.mean(0)
    dy, dx = np.gradient(grey)
    return np.hypot(dx, dy) / (np.hypot(dx, dy).max() + 1e-9)


def _draw_map(
    rng: np.random.Generator, photo: np.ndarray, method: str, share: float, recipe: Recipe
) -> np.ndarray:
    side, edges = photo.shape[-1], _edges(photo)
    fixed = np.random.default_rng(len(method) * 7 + side)
    if method == "edge":
        return edges[None]
    if method == "input":
        return np.abs(photo)
    if method == "gradcam":
        field = share * _smooth(fixed, side, 7) + (1 - share) * _smooth(rng, side, 7)
        return np.maximum(field, 0)[None]
    grain = rng.normal(size=(recipe.channels, side, side))
    old = fixed.normal(size=grain.shape) * (0.15 + edges)
    old = old if method not in NOISY else np.abs(old)
    flat = recipe.grain + (1 - recipe.grain) * edges.mean()
    new = grain * flat
    mixed = share * (old + 0.6 * edges) + math.sqrt(max(0.0, 1 - share**2)) * new
    return mixed * photo.mean(0) if method in INPUT_DRIVEN else mixed


def _depth(state: str, states: tuple[str, ...]) -> float:
    """How far from the reference the maps of a state are drawn, 0..1."""
    if ":" in state:
        return float(state.startswith("permuted"))
    return states.index(state) / (len(states) - 1)


def _write_gallery(
    folder: Path, spec: dict[str, Any], position: int, states: tuple[str, ...], recipe: Recipe
) -> None:
    rng = np.random.default_rng([recipe.seed, position])
    image = spec["images"][position]
    photo = _photo(rng, recipe.side)
    tensors = {"photo": photo}
    for method in (*recipe.methods, *CONTROLS):
        for state in states:
            depth = _depth(state, states)
            share = 1.0 if depth == 0 else kept(method, "signed", depth)
            drawn = _draw_map(rng, photo, method, share, recipe)
            tensors[f"maps/{method}/{state}"] = drawn.astype(np.float16)
    classes = spec["data"]["class_names"]
    metadata = {
        "image": image["id"],
        "name": image["name"],
        "target": str(image["target"]),
        "target_name": classes[image["target"]],
        "label": classes[image["label"]],
    }
    path = folder / "gallery" / f"{image['id'][:16]}.safetensors"
    # safetensors writes the memory as it lies, so transposed arrays must be copied first
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata=metadata)


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False))

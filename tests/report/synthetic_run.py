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


def write_cascade(folder: Path, recipe: Recipe = Recipe()) -> Path:
    """Write a run of the model parameter randomisation test."""
    spec = _spec(recipe)
    _write_common(folder, spec, _cascade_scores(recipe, spec), recipe)
    _json(folder / "verdicts.json", _cascade_verdicts(recipe))
    for position in range(min(recipe.gallery, recipe.images)):
        stages = ("trained", *recipe.stages)
        _write_gallery(folder, spec, position, stages, recipe)
    return folder


def write_labels(folder: Path, recipe: Recipe = Recipe(stages=("full",))) -> Path:
    """Write a run of the data randomisation test with two networks of each kind."""
    spec = _spec(recipe) | {"check": "data_randomization", "order": None, "half": None}
    states = ("true:0", "true:1", "permuted:0", "permuted:1")
    spec["stages"] = [{"name": s, "index": i, "blocks": []} for i, s in enumerate(states)]
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
    _json(folder / "verdicts.json", _label_verdicts(recipe))
    for position in range(min(recipe.gallery, recipe.images)):
        _write_gallery(folder, spec, position, states, recipe)
    return folder


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
    stages = [
        {"name": name, "index": k + 1, "blocks": list(recipe.stages[: k + 1])}
        for k, name in enumerate(recipe.stages)
    ]
    names = [HOSTILE_NAMES[i % 8] if recipe.hostile else f"test/{i}" for i in range(recipe.images)]
    return {
        "format_version": 1,
        "salsanity": "0.1.0",
        "check": "model_randomization",
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
        "stages": stages,
        "half": recipe.stages[math.ceil(len(recipe.stages) / 2) - 1],
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
        "settings": {"keep": []},
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
    _json(folder / "gates.json", _gates(recipe))
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


def _coverage(recipe: Recipe) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name in reversed(recipe.stages):
        for tensor, kind in (("weight", "parameter"), ("bias", "parameter"), ("mean", "buffer")):
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
                rows += _self_rows(rng, recipe, spec, cell, ceiling)
                rows += _stage_rows(rng, recipe, spec, cell, ceiling, chance)
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    *("check", "draw", "stage", "stage_index", "image"),
    *("method", "view", "similarity", "value", "chance", "reason"),
]


def _self_rows(rng, recipe, spec, cell, ceiling) -> list[tuple[Any, ...]]:
    sd = 0.0 if ceiling == 1.0 else 0.02
    values = np.minimum(1.0, ceiling + sd * rng.normal(size=recipe.images))
    return [
        (spec["check"], 0, "self", 0, image_id(i), *cell, float(values[i]), math.nan, None)
        for i in range(recipe.images)
    ]


def _stage_rows(rng, recipe, spec, cell, ceiling, chance) -> list[tuple[Any, ...]]:
    rows = []
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
                rows.append(
                    (spec["check"], draw, stage, k + 1, image_id(i), *cell, value, other, reason)
                )
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
                rows += _self_rows(rng, recipe, spec, cell, 1.0)
                for stage, pairs, mean in (("TT", 1, honest), ("TP", 4, left)):
                    for pair in range(pairs):
                        rows += _pair_rows(rng, recipe, (pair, stage), cell, mean, chance)
    return pd.DataFrame(rows, columns=COLUMNS)


def _pair_rows(rng, recipe, where, cell, mean, chance) -> list[tuple[Any, ...]]:
    sd = 0.0 if mean == 1.0 else 0.03
    index = 1 if where[1] == "TT" else 2
    return [
        ("data_randomization", *where, index, image_id(i), *cell, *_scores(rng, mean, sd, chance))
        for i in range(recipe.images)
    ]


def _scores(rng, mean, sd, chance) -> tuple[float, float, None]:
    return min(1.0, mean + sd * rng.normal()), chance + 0.02 * rng.normal(), None


def _judge(full: float, half: float) -> str:
    if full > 0.25 or half > 0.8:
        return "FAIL"
    return "PASS" if full < 0.15 and half < 0.7 else "INCONCLUSIVE"


def _cell(recipe: Recipe, method: str, view: str, similarity: str) -> dict[str, Any]:
    full = kept(method, view, 1.0)
    half = kept(method, view, math.ceil(len(recipe.stages) / 2) / len(recipe.stages))
    outcome = _judge(full, half)
    if method == "gradcam" and similarity == "hog":
        outcome = "UNINFORMATIVE"
    width = 0.0 if method in ("edge", "input") else 0.04
    return {
        "check": "model_randomization",
        "method": method,
        "view": view,
        "similarity": similarity,
        "outcome": outcome,
        "reason": f"{view} {similarity} retains {full:.2f} of its similarity "
        "after all layers are randomised",
        "retained_full": full,
        "retained_full_ci": [full - width, full + width],
        "retained_half": half,
        "retained_half_ci": [half - width, half + width],
        "ceiling": 0.85 if method in NOISY else 1.0,
        "n_images": recipe.images,
        "n_draws": recipe.draws,
        "n_undefined": 2 if method == "gradcam" else 0,
        "init": recipe.init,
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


def _cascade_verdicts(recipe: Recipe) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for method in (*recipe.methods, *CONTROLS):
        cells = [_cell(recipe, method, v, s) for v in VIEWS for s in recipe.similarities]
        rows += _with_headline(cells)
    return rows


def _label_verdicts(recipe: Recipe) -> list[dict[str, Any]]:
    rows = _cascade_verdicts(recipe)
    for row in rows:
        row["check"] = "data_randomization"
        row["retained"], row["retained_ci"] = row["retained_full"], row["retained_full_ci"]
        row["reason"] = row["reason"].replace("all layers are randomised", "labels are permuted")
        for key in ("retained_full", "retained_half"):
            del row[key], row[f"{key}_ci"]
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


def _write_gallery(
    folder: Path, spec: dict[str, Any], position: int, states: tuple[str, ...], recipe: Recipe
) -> None:
    rng = np.random.default_rng([recipe.seed, position])
    image = spec["images"][position]
    photo = _photo(rng, recipe.side)
    tensors = {"photo": photo}
    for method in (*recipe.methods, *CONTROLS):
        for k, state in enumerate(states):
            depth = float(state.startswith("permuted")) if ":" in state else k / (len(states) - 1)
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

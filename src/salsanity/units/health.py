"""Whether a randomised network still carries a signal: the numbers behind the collapse rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from salsanity.randomizers.collapse import is_collapsed


def signal_of(logits: Tensor, alive: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """Summarise logits (B, classes) of one chunk, and by method which maps carry anything; summaries of chunks add up in
    `pooled`."""
    wide = logits.detach().double()
    finite = bool(torch.isfinite(wide).all())
    many = len(wide) > 1
    return {
        "n": len(wide),
        "var_images": float(wide.var(0).mean()) if finite and many else None,
        "var_classes": float(wide.var(1).mean()) if finite and wide.shape[1] > 1 else None,
        "max_logit": float(wide.abs().max()) if finite else None,
        "finite": finite,
        "dead": {name: [*told].count(False) for name, told in alive.items()},
    }


def pooled(summaries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pool the chunks' summaries by check, draw and stage into the entries of gates.json."""
    by_state: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
    for summary in summaries:
        place = (summary["check"], summary["draw"], summary["stage"])
        by_state.setdefault(place, []).append(summary)
    return [_pool(*place, parts) for place, parts in sorted(by_state.items())]


def _pool(check: str, draw: int, stage: str, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sd_images = _root(_weighted(parts, "var_images", less=1))
    sd_classes = _root(_weighted(parts, "var_classes"))
    finite = all(part["finite"] for part in parts)
    ratio = None if not sd_classes or sd_images is None else sd_images / sd_classes
    total = sum(part["n"] for part in parts)
    dead: dict[str, int] = {}
    for part in parts:
        for name, count in part["dead"].items():
            dead[name] = dead.get(name, 0) + count
    return {
        "check": check,
        "draw": draw,
        "stage": stage,
        "n": total,
        "sd_images": sd_images,
        "sd_classes": sd_classes,
        "ratio": ratio,
        "max_logit": max((part["max_logit"] or 0.0 for part in parts), default=None),
        "finite": finite,
        "collapsed": is_collapsed(sd_images, sd_classes, finite=finite),
        "dead_maps": {name: count / total for name, count in dead.items()},
    }


def _weighted(parts: Sequence[Mapping[str, Any]], name: str, *, less: int = 0) -> float | None:
    pairs = [(part[name], part["n"] - less) for part in parts if part[name] is not None]
    weight = sum(n for _, n in pairs)
    return sum(value * n for value, n in pairs) / weight if weight > 0 else None


def _root(value: float | None) -> float | None:
    return None if value is None else float(value**0.5)

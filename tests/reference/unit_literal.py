"""From a network, images, classes, methods and draws to every row of a run, in loops over float64.

Slow, and plain to read: no runner, no check and no suite of the product; of the product only `seed_for`. A network is an
`nn.Sequential`; what a draw puts into it comes as tensors, and goes in by `load_state_dict` on deep copies.

What a run does beside explaining and comparing stands in `Rules`. Tests change one of them, and must then disagree.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from reference import methods_literal as literal
from reference.similarity_literal import (
    literal_hog,
    literal_pearson,
    literal_ranks,
    literal_scaled,
    literal_ssim,
    literal_view,
)
from salsanity.seeds import seed_for

STOCHASTIC = ("smoothgrad", "smoothgrad_squared", "vargrad", "integrated_gradients_smoothgrad")
CONTROLS = ("edge", "input", "noise", "noise_x_input")
SIMILARITIES = ("spearman", "ssim", "hog")
Weights = Mapping[str, Tensor]
"""Name in the state_dict -> values."""


@dataclass(frozen=True)
class Rules:
    """`partners`: the next so many images of the group whose changed maps give chance, of those that are alive where
    `only_alive`. `step`: 1 looks for them forwards. `measures`: whether ceilings of methods that draw noise are measured.
    `noise_of`: what noise belongs to.
    """

    partners: int = 1
    only_alive: bool = False
    group: int = 8
    step: int = 1
    reference_stream: int = 0
    changed_stream: int = 1
    measures: bool = True
    noise_of: Callable[[str, int], str] = lambda image, place: image
    hole: float = math.nan


@dataclass(frozen=True)
class Asked:
    """What is explained, and how: `images` (N, C, H, W) in the order of the run, `layer` the index of GradCAM's."""

    images: Tensor
    methods: Sequence[str]
    layer: int
    samples: int
    steps: int
    seed: int = 0
    names: Sequence[str] = ()
    rules: Rules = Rules()

    @property
    def ids(self) -> list[str]:
        """What noise belongs to, and what rows are called after."""
        return list(self.names) or [image_name(x) for x in self.images]


def image_name(x: Tensor) -> str:
    """SHA-256 of shape, dtype and bytes."""
    head = f"{tuple(x.shape)} {x.dtype}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(x.numpy()).tobytes()).hexdigest()


class Row(NamedTuple):
    """Where a score stands."""

    stage: str
    stage_index: int
    draw: int
    image: str
    method: str
    view: str
    similarity: str


class Score(NamedTuple):
    """NaN is a hole, and then there are words."""

    value: float
    chance: float
    reason: str | None


Rows = dict[Row, Score]


def disagreements(
    scores: Iterable[Any], rows: Rows, *, tolerance: Callable[[Row], float]
) -> list[str]:
    """Say where the scores of a run (with the columns of `Row` and `Score` as attributes) are not those of `rows`.

    Only places in `rows` are looked at. A score has a reason where one of its numbers is a hole, and nowhere else; what
    stands in the chance of stage `self` is not looked at.
    """
    found = {Row(*(getattr(score, name) for name in Row._fields)): score for score in scores}
    words = [f"{row} is missing" for row in rows.keys() - found.keys()]
    for row in rows.keys() & found.keys():
        score, wanted = found[row], rows[row]
        numbers = ("value",) if row.stage == "self" else ("value", "chance")
        for name in numbers:
            a, b = getattr(score, name), getattr(wanted, name)
            if not (math.isnan(a) and math.isnan(b)) and not abs(a - b) <= tolerance(row):
                words.append(f"{row}: {name} is {a}, expected {b} ({wanted.reason})")
        has_hole = any(math.isnan(getattr(wanted, name)) for name in numbers)
        if isinstance(score.reason, str) != has_hole:
            words.append(f"{row}: reason is {score.reason!r}, expected {wanted.reason!r}")
    return words


# ------------------------------------------------------------------------------------- maps


@dataclass(frozen=True)
class State:
    """A network whose maps are compared; noise controls are seeded by its `name`."""

    name: str
    network: nn.Sequential
    targets: Sequence[int]


def with_weights(network: nn.Sequential, weights: Weights) -> nn.Sequential:
    """A copy in float64 with some tensors replaced."""
    changed = copy.deepcopy(network).double().eval()
    changed.load_state_dict({**changed.state_dict(), **weights})
    return changed


def predicted(network: nn.Sequential, images: Tensor) -> list[int]:
    return [int(network(x[None].double())[0].argmax()) for x in images]


def noise(asked: Asked, stream: int, place: int, sample: int) -> Tensor:
    """What noisy copy number `sample` of an image adds to it."""
    x, owner = asked.images[place].double(), asked.rules.noise_of(asked.ids[place], place)
    generator = torch.Generator().manual_seed(seed_for(asked.seed, "noise", stream, owner, sample))
    return torch.randn(x.shape, generator=generator).double() * 0.15 * (x.max() - x.min())


def state_noise(asked: Asked, state: State, place: int) -> Tensor:
    """The noise controls': another in every state."""
    seed = seed_for(asked.seed, "noise control", asked.ids[place], state.name)
    shape = asked.images[place].shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def sobel(x: Tensor) -> Tensor:
    """Magnitude of the Sobel gradient of the mean over channels, the border repeated: (1, H, W)."""
    grey = x.mean(0).numpy()
    height, width = grey.shape
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            down = right = 0.0
            for across, weight in ((-1, 1), (0, 2), (1, 1)):
                near, far = max(i - 1, 0), min(i + 1, height - 1)
                beside = min(max(j + across, 0), width - 1)
                down += weight * (grey[far, beside] - grey[near, beside])
                near, far = max(j - 1, 0), min(j + 1, width - 1)
                beside = min(max(i + across, 0), height - 1)
                right += weight * (grey[beside, far] - grey[beside, near])
            found[i, j] = math.sqrt(down**2 + right**2)
    return torch.from_numpy(found)[None]


def explained(asked: Asked, state: State, stream: int) -> dict[str, list[Tensor]]:
    """Every method's map of every image in one state under one noise stream."""
    return {
        method: [one_map(method, asked, state, stream, i) for i in range(len(asked.images))]
        for method in asked.methods
    }


def one_map(method: str, asked: Asked, state: State, stream: int, place: int) -> Tensor:
    x, target, network = asked.images[place].double(), state.targets[place], state.network
    below, above = network[: asked.layer + 1], network[asked.layer + 1 :]
    count = min(25, asked.samples) if method in ("vargrad", STOCHASTIC[-1]) else asked.samples
    noises = [noise(asked, stream, place, sample) for sample in range(count)]
    match method:
        case "gradient":
            return literal.gradient(network, x, target)
        case "input_x_gradient":
            return x * literal.gradient(network, x, target)
        case "smoothgrad":
            return literal.smoothgrad(network, x, target, noises)
        case "smoothgrad_squared":
            return literal.smoothgrad_squared(network, x, target, noises)
        case "vargrad":
            return literal.vargrad(network, x, target, noises)
        case "integrated_gradients":
            zeros = torch.zeros_like(x)
            return literal.integrated_gradients(network, x, target, zeros, asked.steps)
        case "integrated_gradients_smoothgrad":
            return literal.integrated_gradients_smoothgrad(network, x, target, noises, asked.steps)
        case "guided_backprop":
            return literal.guided_backprop(list(network), x, target)
        case "gradcam":
            return literal.gradcam(below, above, x, target)
        case "guided_gradcam":
            guided = literal.guided_backprop(list(network), x, target)
            return guided * literal.gradcam(below, above, x, target)
        case "edge":
            return sobel(x)
        case "input":
            return x.abs()
        case "noise":
            return state_noise(asked, state, place)
        case "noise_x_input":
            return state_noise(asked, state, place) * x
    raise AssertionError(method)


# ------------------------------------------------------------------------------ similarities


@dataclass(frozen=True)
class Features:
    """What a similarity compares of one map, or why it has none."""

    values: np.ndarray | None
    hole: str | None = None


def features_of(values: np.ndarray, signed: bool, similarity: str) -> Features:
    """`values`: one view (H, W); the loops are run once for each."""
    return _features_of(values.tobytes(), values.shape, signed, similarity)


@cache
def _features_of(raw: bytes, shape: tuple[int, ...], signed: bool, similarity: str) -> Features:
    values = np.frombuffer(raw).reshape(shape)
    if not np.isfinite(values).all():
        return Features(None, "not finite")
    if values.min() == values.max():
        return Features(None, "constant")
    if similarity == "spearman":
        return Features(literal_ranks(values))
    scaled = literal_scaled(values, signed)
    if scaled.min() == scaled.max():
        return Features(None, "constant when clipped")
    if similarity == "ssim":
        return Features(scaled)
    described = literal_hog(scaled)
    return Features(None, "no edges") if described.min() == described.max() else Features(described)


def compared(a: Features, b: Features, signed: bool, similarity: str) -> tuple[float, str | None]:
    if a.values is None or b.values is None:
        return math.nan, a.hole or b.hole
    if similarity == "ssim":
        return literal_ssim(a.values, b.values, span=2.0 if signed else 1.0), None
    return literal_pearson(a.values, b.values), None


Cell = tuple[str, str, str]
"""Method, view, similarity."""
Table = dict[Cell, list[Features]]


def described(maps: Mapping[str, Sequence[Tensor]], similarities: Sequence[str]) -> Table:
    """Features of every map of a state."""
    found: Table = {}
    for method, of_images in maps.items():
        for view in ("signed", "absolute"):
            signed = view == "signed"
            values = [literal_view(m[None].numpy(), signed)[0] for m in of_images]
            for similarity in similarities:
                cell = (method, view, similarity)
                found[cell] = [features_of(v, signed, similarity) for v in values]
    return found


# ------------------------------------------------------------------------------------ chance


def groups(count: int, size: int) -> list[list[int]]:
    """Consecutive images; a last one alone joins the group before."""
    found = [list(range(count))[start : start + size] for start in range(0, count, size)]
    if len(found) > 1 and len(found[-1]) == 1:
        found[-2].extend(found.pop())
    return found


def partners(place: int, changed: Sequence[Features], rules: Rules) -> list[int]:
    """The images whose changed maps a reference map is compared with for chance."""
    (group,) = (g for g in groups(len(changed), rules.group) if place in g)
    at = group.index(place)
    others = [group[(at + rules.step * k) % len(group)] for k in range(1, len(group))]
    if rules.only_alive:
        others = [j for j in others if changed[j].hole not in ("constant", "not finite")]
    return others[: rules.partners]


def chance(
    reference: Features, changed: Sequence[Features], place: int, cell: Cell, rules: Rules
) -> tuple[float, str | None]:
    """Mean similarity with the changed maps of the partners."""
    found = [
        compared(reference, changed[j], cell[1] == "signed", cell[2])
        for j in partners(place, changed, rules)
    ]
    defined = [value for value, hole in found if hole is None]
    if not defined:
        return math.nan, found[0][1] if found else "nobody to compare with"
    return math.fsum(defined) / len(defined), None


# -------------------------------------------------------------------------------------- rows


def pair_rows(
    reference: Table, changed: Table, asked: Asked, *, stage: str, index: int, draw: int
) -> Rows:
    """Rows of one pair of states: each image with itself, and with its partners for chance."""
    rows: Rows = {}
    for cell, features in changed.items():
        for i, image in enumerate(asked.ids):
            before = reference[cell][i]
            value, hole = compared(before, features[i], cell[1] == "signed", cell[2])
            by_chance, why = chance(before, features, i, cell, asked.rules)
            value = asked.rules.hole if hole else value
            row = Row(stage, index, draw, image, *cell)
            rows[row] = Score(value, by_chance, hole or (why and f"chance: {why}"))
    return rows


def ceiling_rows(reference: Table, again: Table, asked: Asked) -> Rows:
    """Stage `self`: 1 wherever the map is defined, but for methods that draw noise."""
    rows: Rows = {}
    for cell, features in reference.items():
        measured = cell[0] in STOCHASTIC and asked.rules.measures
        for i, image in enumerate(asked.ids):
            value, hole = (1.0, features[i].hole)
            if measured:
                value, hole = compared(features[i], again[cell][i], cell[1] == "signed", cell[2])
            value = asked.rules.hole if hole else value
            rows[Row("self", 0, 0, image, *cell)] = Score(value, math.nan, hole)
    return rows


# ------------------------------------------------------------------------------- the cascade


def stages(blocks: Sequence[str], order: str) -> list[tuple[str, list[str]]]:
    """Names of the stages and the blocks that are randomised in each; `blocks`: the lowest first."""
    top_first = list(reversed(blocks))
    if order == "top_down":
        return [(top_first[k], top_first[: k + 1]) for k in range(len(blocks))]
    if order == "bottom_up":
        return [(blocks[k], list(blocks[: k + 1])) for k in range(len(blocks))]
    return [*((name, [name]) for name in top_first), ("full", list(blocks))]


def cascade(
    network: nn.Sequential,
    asked: Asked,
    draws: Sequence[Weights],
    *,
    blocks: Mapping[str, Sequence[str]],
    order: str,
    similarities: Sequence[str] = SIMILARITIES,
    targets: Sequence[int] | None = None,
    own: bool = False,
) -> Rows:
    """All rows of the cascade. `blocks`: name -> layers, the lowest first. `targets` None: those that are predicted;
    `own`: by every network anew.
    """
    trained = with_weights(network, {})
    known = list(targets) if targets is not None else predicted(trained, asked.images)
    rules = asked.rules
    state = State("trained", trained, known)
    reference = described(explained(asked, state, rules.reference_stream), similarities)
    again = described(explained(asked, state, rules.changed_stream), similarities)
    rows = ceiling_rows(reference, again, asked)
    for draw, drawn in enumerate(draws):
        for index, (stage, names) in enumerate(stages(list(blocks), order), 1):
            layers = [layer for name in names for layer in blocks[name]]
            inside = {k: v for k, v in drawn.items() if k.rpartition(".")[0] in layers}
            randomised = with_weights(network, inside)
            aim = predicted(randomised, asked.images) if own else known
            state = State(f"draw {draw}/{stage}", randomised, aim)
            changed = described(explained(asked, state, rules.changed_stream), similarities)
            rows |= pair_rows(reference, changed, asked, stage=stage, index=index, draw=draw)
    return rows


# ---------------------------------------------------------------------------- the label test


PairsOf = Callable[[int, int], list[tuple[int, int]]]
"""Numbers of networks (true, the others) -> (reference, changed)."""


def ascending(true: int, _: int) -> list[tuple[int, int]]:
    """Every two true networks once."""
    return [(i, j) for i in range(true) for j in range(i + 1, true)]


def every(true: int, permuted: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(true) for j in range(permuted)]


def label_test(
    true: Sequence[nn.Sequential],
    permuted: Sequence[nn.Sequential],
    asked: Asked,
    targets: Sequence[int],
    *,
    similarities: Sequence[str] = SIMILARITIES,
    true_pairs: PairsOf = ascending,
    mixed_pairs: PairsOf = every,
) -> Rows:
    """All rows of the label test: true against other true networks (TT), true against permuted ones (TP)."""

    def tables(kind: str, networks: Sequence[nn.Sequential], stream: int) -> list[Table]:
        found = []
        for i, network in enumerate(networks):
            state = State(f"{kind}:{i}/{stream}", with_weights(network, {}), targets)
            found.append(described(explained(asked, state, stream), similarities))
        return found

    rules = asked.rules
    references = tables("true", true, rules.reference_stream)
    honest = tables("true", true, rules.changed_stream)
    other = tables("permuted", permuted, rules.changed_stream)
    rows = ceiling_rows(references[0], honest[0], asked)
    for draw, (i, j) in enumerate(true_pairs(len(true), len(true))):
        rows |= pair_rows(references[i], honest[j], asked, stage="TT", index=1, draw=draw)
    for draw, (i, j) in enumerate(mixed_pairs(len(true), len(permuted))):
        rows |= pair_rows(references[i], other[j], asked, stage="TP", index=2, draw=draw)
    return rows

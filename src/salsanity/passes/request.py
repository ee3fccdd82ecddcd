"""`Pass`: one symbolic forward and backward over the points that a method wants evaluated.

A pass names *where* to evaluate (`Points`), *how* to go backward (`rule`), *what* to look at (`tap`)
and how the results over the points *fold* into one. It holds no tensors, so equal passes that
several methods want are recognised and run once, and the runner may batch across images and points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from torch import Tensor

from salsanity.passes.overheard import Aside

BaselineName = Literal[
    "zeros",
    "constant",
    "data_mean",
    "blur",
    "uniform",
    "gaussian",
    "max_distance",
    "data",
    "conditional_patches",
]


@dataclass(frozen=True)
class Baseline:
    """Where a path of integrated gradients starts (`methods.baselines` draws it).

    `value`: the constant for `constant`; the standard deviation for `blur` (pixels at width 224,
    scaled to the input's width) and for `gaussian` (as a share of the image's range); the side of a patch in pixels for
    `conditional_patches`.
    `draws`: how many starting points are drawn and averaged for the random baselines.
    """

    name: BaselineName = "zeros"
    value: float | None = None
    draws: int = 1


@dataclass(frozen=True)
class Noisy:
    """`samples` copies of the input with Gaussian noise of sd `sd` x (max x - min x) per image."""

    samples: int = 50
    sd: float = 0.15


@dataclass(frozen=True)
class Path:
    """`steps` points on the straight line from `baseline` to the input.

    `midpoint` evaluates at (i + 1/2) / steps (second-order accurate); `endpoints` at i / (steps - 1),
    the `linspace` of the code that the paper released. All points weigh the same.
    """

    steps: int = 50
    baseline: Baseline = Baseline()
    spacing: Literal["midpoint", "endpoints"] = "midpoint"


@dataclass(frozen=True)
class Points:
    """Where to evaluate: the input, noisy copies of it, a path to it, or a path to each noisy copy."""

    noisy: Noisy | None = None
    path: Path | None = None

    @property
    def count(self) -> int:
        """How many points one image has."""
        copies = self.noisy.samples if self.noisy else 1
        return copies * (self.path.steps * self.path.baseline.draws if self.path else 1)


class Rule(StrEnum):
    """How the backward pass treats rectifiers."""

    PLAIN = "plain"
    GUIDED = "guided"
    """The gradient that leaves a ReLU is also clipped to positive (Springenberg et al. 2015)."""


class Fold(StrEnum):
    """How the values at the points of an image become one value; all stream over the points."""

    MEAN = "mean"
    MEAN_SQUARE = "mean_square"
    VARIANCE = "variance"
    """Population variance by Welford's update: E[g^2] - E[g]^2 turns negative in float32."""
    PATH = "path"
    """Mean over the points of (end of the path - its baseline) x gradient."""


@dataclass(frozen=True)
class Pass:
    """What a method asks the runner for; hashable, so that equal requests are one.

    `tap`: None looks at the gradient at the input; the name of a layer looks at that layer's output
    and at the gradient of the logit there.
    """

    points: Points = Points()
    rule: Rule = Rule.PLAIN
    tap: str | None = None
    fold: Fold = Fold.MEAN


Explainer = Callable[[Any, Tensor, Tensor], Any]
"""`(model, inputs, targets) -> maps`: any explainer of the user's or of another library."""


@dataclass(frozen=True, eq=False)
class Foreign:
    """One opaque step: a callable that explains a batch by itself; equal to itself alone, since callables need no hash.

    Each image is explained by itself under a random state of its own, so that its map cannot depend on its batch, but for
    explainers whose maps were seen to be the same in a batch (`Setting.batched`).
    `admit`: `(module, inputs) -> sentences to tell`, cheap, run once before the long part; raises `MethodError`
    where the explainer is not defined for the network.
    """

    explainer: Explainer
    name: str
    admit: Callable[[Any, Tensor], Sequence[str]] | None = None


@dataclass(frozen=True)
class PassResult:
    """The folded result of one request, for a batch of B images.

    `gradient`: (B, C, H, W) at the input, or of the tapped layer's shape; for `Foreign` the maps.
    `activation`: the tapped layer's output, folded alike; None without a tap. `enlarged_from`: the size of maps that came
    smaller than the input and were enlarged. `aside`: what an explainer of the user's did beside its maps.
    """

    gradient: Tensor
    activation: Tensor | None = None
    enlarged_from: tuple[int, ...] | None = None
    aside: Aside | None = None

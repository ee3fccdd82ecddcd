"""Collapse: a randomised network that says the same of every image; and `auto`, which avoids it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, final

import torch
from torch import Tensor, nn

from salsanity.errors import ModelError
from salsanity.models.coverage import BatchNorm
from salsanity.models.network import Network
from salsanity.models.slots import Weights
from salsanity.models.swap import swapped
from salsanity.passes.backoff import with_backoff
from salsanity.randomizers.batchnorm import with_batchnorm
from salsanity.randomizers.draw import Draw, He, ModuleInit, draw_named
from salsanity.randomizers.fresh import Fresh, Keeping, fresh_draw
from salsanity.randomizers.stages import Stage, weights_at

COLLAPSED: Final = 1e-3
"""Of the sd over classes (docs/science.md; GoogLeNet with torch's initialisation has 7e-4)."""


def is_collapsed(sd_images: float | None, sd_classes: float | None, *, finite: bool) -> bool:
    """Say whether logits tell images apart too little for a verdict (docs/science.md); None: unknown."""
    if not finite or sd_classes == 0 or sd_images == 0:
        return True
    if sd_images is None or sd_classes is None:
        return False
    return sd_images / sd_classes < COLLAPSED


@final
@dataclass(frozen=True)
class SignalHealth:
    """What the logits (N, classes) of a state tell about its signal.

    `sd_images`: root mean variance over images; `sd_classes`: over classes; `ratio`: their
    quotient.
    """

    sd_images: float
    sd_classes: float
    max_logit: float
    finite: bool

    @property
    def ratio(self) -> float:
        """The share of the logits' spread that depends on the image."""
        return self.sd_images / self.sd_classes if self.sd_classes else inf

    @property
    def collapsed(self) -> bool:
        """Whether there is no verdict: logits not finite, or nearly the same for all images."""
        return is_collapsed(self.sd_images, self.sd_classes, finite=self.finite)


def signal_health(logits: Tensor) -> SignalHealth:
    """Measure the logits (N, classes) of at least two images, in float64."""
    wide = logits.detach().double()
    if len(wide) < 2:
        raise ModelError(f"Expected logits of at least 2 images to see a signal, got {len(wide)}")
    finite = bool(wide.isfinite().all())
    if not finite:
        return SignalHealth(inf, inf, inf, finite=False)
    over_images, over_classes = wide.var(0).mean().sqrt(), wide.var(1).mean().sqrt()
    return SignalHealth(
        float(over_images), float(over_classes), float(wide.abs().max()), finite=True
    )


@final
@dataclass(frozen=True)
class Chosen:
    """The initialiser that a run uses, and why; `init` is the name beside every verdict."""

    draw: Draw
    reason: str

    @property
    def init(self) -> str:
        """The name of the initialiser."""
        return self.draw.name


@final
@dataclass(frozen=True, eq=False)
class Probe:
    """Where `auto` looks for collapse: batches of images, stages and draws."""

    images: Sequence[Tensor]
    stages: Sequence[Stage]
    seeds: Sequence[int]
    batchnorm: BatchNorm = "keep"


def chosen(
    init: str,
    network: Network,
    *,
    probe: Probe | None = None,
    make_model: Callable[[], nn.Module] | None = None,
    keep: Sequence[str] = (),
) -> Chosen:
    """Return the initialiser that `init` names.

    `auto`: `fresh` where `make_model` gives fresh networks, else `module`; and `he` when a state of
    the probe collapses with it. Any other name is taken as it is.

    Raises UsageError for an unknown name, ModelError for `fresh` without a factory of fresh
    networks.
    """
    found = _auto(network, probe, make_model, keep) if init == "auto" else None
    if found is None:
        found = Chosen(_named(init, network, make_model, keep), "as asked")
    return Chosen(Keeping(found.draw, tuple(keep)), found.reason) if keep else found


def _named(
    init: str,
    network: Network,
    make_model: Callable[[], nn.Module] | None,
    keep: Sequence[str],
) -> Draw:
    if init != "fresh":
        return draw_named(init)
    if make_model is None:
        raise ModelError(
            "The initialiser fresh builds new networks and needs make_model, a function that "
            "returns one; "
            "give it, or choose --init module"
        )
    return fresh_draw(network, make_model, keep=keep)


def _auto(
    network: Network,
    probe: Probe | None,
    make_model: Callable[[], nn.Module] | None,
    keep: Sequence[str],
) -> Chosen:
    draw, reason = _fresh_or_module(network, make_model, keep)
    tried = Keeping(draw, tuple(keep))
    where = collapse_of(network, tried, probe) if probe is not None else None
    if where is None:
        return Chosen(draw, reason)
    return Chosen(He(), f"the signal collapses with {draw.name} ({where}), so he")


def _fresh_or_module(
    network: Network, make_model: Callable[[], nn.Module] | None, keep: Sequence[str]
) -> tuple[Fresh | ModuleInit, str]:
    if make_model is None:
        return ModuleInit(), "each layer's own reset: no make_model to build fresh networks with"
    try:
        return fresh_draw(network, make_model, keep=keep), "newly built networks"
    except ModelError as error:
        return ModuleInit(), f"each layer's own reset: {error}"


def collapse_of(network: Network, draw: Draw, probe: Probe) -> str | None:
    """Return in words the first state of the probe whose signal collapses, or None."""
    for number, seed in enumerate(probe.seeds):
        drawn = draw(network, seed)
        for stage in probe.stages:
            health = _health_at(network, drawn, stage, probe)
            if health.collapsed:
                what = f"ratio {health.ratio:.1e}" if health.finite else "logits not finite"
                return f"stage {stage.name} of draw {number}: {what}"
    return None


def _health_at(network: Network, drawn: Weights, stage: Stage, probe: Probe) -> SignalHealth:
    weights = with_batchnorm(
        network, weights_at(network, drawn, stage), probe.batchnorm, images=probe.images
    )
    with swapped(network, weights), torch.no_grad():
        return signal_health(_logits(network, probe.images))


def _logits(network: Network, images: Iterable[Tensor]) -> Tensor:
    return torch.cat([_of_batch(network, batch.to(network.device)) for batch in images])


def _of_batch(network: Network, x: Tensor) -> Tensor:
    """Return the logits on the CPU; in smaller batches where memory runs out."""
    return with_backoff(
        lambda size: torch.cat([network.logits(part).cpu() for part in torch.split(x, size)]),
        max(1, len(x)),
    )

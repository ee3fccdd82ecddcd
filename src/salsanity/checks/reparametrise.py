"""Implementation invariance (Sundararajan, Taly and Yan, ICML 2017): the same function, other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from salsanity.checks.frame import REFERENCE_STREAM, Chunk, Ground, State
from salsanity.errors import ModelError
from salsanity.models.links import Chain, Fold, Links, links_of
from salsanity.models.network import Network
from salsanity.models.slots import Weights
from salsanity.models.swap import swapped
from salsanity.options import checked, option
from salsanity.records import Line, Outcome, Words
from salsanity.seeds import seed_for

STAGE: Final = "other weights"
LARGEST: Final = 4.0
"""Channels are scaled by factors in [1 / LARGEST, LARGEST]."""
AGREE: Final = 1e-4
"""Logits may differ by this share of their largest value."""

Changed = dict[str, dict[str, Tensor]]


@final
@dataclass(frozen=True)
class Reparametrisation:
    """Norms folded, channels rescaled and permuted: the same function with other weights; do the maps stay?"""

    d_reparametrise: float = option(
        0.9,
        "Least that must be retained when the same function is written with other weights.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )

    name: ClassVar[str] = "reparametrise"
    needs: ClassVar[str] = "a trained network with norms or ReLUs that can be rewritten, and images"
    costs: ClassVar[str] = "one explanation of the rewritten network per image"
    ceiling: ClassVar[str] = "one"
    draws: ClassVar[int] = 1
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.PASS, "noise": Outcome.FAIL}
    words: ClassVar[Words] = Words(
        title="Implementation invariance",
        question="Does the map depend on how the function is written down?",
        caught="its maps change with weights that leave the function as it is",
        uncaught="was not caught",
        use="comparing networks, or one network before and after export: equal functions should be explained alike",
        source="Sundararajan, Taly and Yan (ICML 2017)",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no check."""
        checked(self)

    @property
    def lines(self) -> tuple[Line, ...]:
        """At least `d_reparametrise` must be retained."""
        words = "when the same function is written with other weights"
        return (Line("reparametrise", STAGE, self.d_reparametrise, words, must="stay"),)

    def fits(self, ground: Ground) -> None:
        """Raise `ModelError` where a network has nothing to rewrite, or does not stay the same function."""
        self._weights(ground, 0)

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        """Put the other weights in, as one swap; nothing else differs."""
        return [State(STAGE, weights=self._weights(ground, draw), stream=REFERENCE_STREAM)]

    def _weights(self, ground: Ground, draw: int) -> Weights:
        place = (self.name, draw)
        if place not in ground.memory:
            ground.memory[place] = other_weights(
                ground.network, ground.pool()[:4], seed_for(ground.seed, self.name, draw)
            )
        found: Weights = ground.memory[place]
        return found


def other_weights(network: Network, x: Tensor, seed: int) -> Weights:
    """Return other weights of the same function: every norm folded that can be, every chain rescaled and permuted.

    Raises `ModelError` where there is nothing to fold or rescale, or where logits of `x` (B, ...) do not agree to 1e-4.
    """
    found = links_of(network, x[:1])
    tried = (found, Links(found.folds, tuple(c for c in found.chains if c.spread == 1)))
    worst = 0.0
    for links in dict.fromkeys(tried):
        if not links.folds and not links.chains:
            continue
        weights = rewritten(network, links, seed)
        worst = disagreement(network, weights, x)
        if worst <= AGREE:
            return weights
    raise ModelError(
        "expected layers that can be rewritten (a norm behind one convolution, or layer -> ReLU -> layer without another "
        f"reader) and logits that then agree to {AGREE:g}, but {_why(found, worst)}; leave the check reparametrise out"
    )


def _why(links: Links, worst: float) -> str:
    if not links.folds and not links.chains:
        return "this network has none"
    return f"they differ by {worst:.1e}"


def disagreement(network: Network, weights: Weights, x: Tensor) -> float:
    """Return the largest difference of logits with and without `weights`, as a share of the largest logit."""
    with torch.no_grad():
        before = network.logits(x)
        with swapped(network, weights):
            after = network.logits(x)
    return float((after - before).abs().max() / before.abs().max().clamp_min(1e-12))


def rewritten(network: Network, links: Links, seed: int) -> Changed:
    """Return the weights that these links give: norms folded first, then chains rescaled and permuted."""
    weights = _Rewriting(network)
    for fold in links.folds:
        weights.fold(fold)
    for chain in links.chains:
        generator = torch.Generator().manual_seed(seed_for(seed, chain.first, chain.second))
        weights.rescale(chain, generator)
        weights.permute(chain, generator)
    return weights.changed


class _Rewriting:
    """Weights being rewritten, in float64 until they are put in."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.changed: Changed = {}

    def value(self, layer: str, name: str) -> Tensor | None:
        """Return a tensor of a layer as it stands now; None where the layer has none."""
        known = self.changed.get(layer, {}).get(name)
        trained = self.network.trained.get(layer, {}).get(name)
        found = trained if known is None else known
        return None if found is None else found.double()

    def put(self, layer: str, name: str, value: Tensor) -> None:
        """Keep a tensor in the precision that it has in the network."""
        kind = self.network.trained[layer][name].dtype
        self.changed.setdefault(layer, {})[name] = value.to(kind)

    def fold(self, fold: Fold) -> None:
        """Move a norm's statistics and scale into the layer before it; the norm then only adds its bias."""
        norm = self.network.module.get_submodule(fold.norm)
        mean, var = self.value(fold.norm, "running_mean"), self.value(fold.norm, "running_var")
        weight = self.value(fold.layer, "weight")
        if mean is None or var is None or weight is None:
            return
        eps = float(getattr(norm, "eps", 1e-5))
        gain, own = self.value(fold.norm, "weight"), self.value(fold.norm, "bias")
        g = torch.ones_like(var) if gain is None else gain
        factor = g / (var + eps).sqrt()
        bias = self.value(fold.layer, "bias")
        shift = (0.0 if own is None else own) - mean * factor
        if bias is not None:
            shift = shift + bias * factor
            self.put(fold.layer, "bias", torch.zeros_like(bias))
        self.put(fold.layer, "weight", weight * _rows(factor, weight))
        self.put(fold.norm, "running_var", torch.ones_like(var) - eps)
        self.put(fold.norm, "running_mean", torch.zeros_like(mean) if own is not None else -shift)
        if gain is not None:
            self.put(fold.norm, "weight", torch.ones_like(gain))
        if own is not None:
            self.put(fold.norm, "bias", shift)

    def rescale(self, chain: Chain, generator: torch.Generator) -> None:
        """Scale channels by positive factors and the next layer's weights by their inverses."""
        scaled = chain.first if chain.norm is None else chain.norm
        weight, after = self.value(scaled, "weight"), self.value(chain.second, "weight")
        if weight is None or after is None:
            return
        a = LARGEST ** (2 * torch.rand(len(weight), generator=generator, dtype=torch.float64) - 1)
        a = a.to(weight.device)
        self.put(scaled, "weight", weight * _rows(a, weight))
        bias = self.value(scaled, "bias")
        if bias is not None:
            self.put(scaled, "bias", bias * a)
        self.put(chain.second, "weight", after / _columns(a.repeat_interleave(chain.spread), after))

    def permute(self, chain: Chain, generator: torch.Generator) -> None:
        """Put channels in another order, in everything that has one entry per channel."""
        weight, after = self.value(chain.first, "weight"), self.value(chain.second, "weight")
        if weight is None or after is None:
            return
        order = torch.randperm(len(weight), generator=generator).to(weight.device)
        owners = [chain.first, *([] if chain.norm is None else [chain.norm])]
        for layer in owners:
            for name in ("weight", "bias", "running_mean", "running_var"):
                value = self.value(layer, name)
                if value is not None:
                    self.put(layer, name, value[order])
        spread = torch.arange(chain.spread, device=order.device)
        columns = (order[:, None] * chain.spread + spread).flatten()
        self.put(chain.second, "weight", after[:, columns])


def _rows(values: Tensor, weight: Tensor) -> Tensor:
    return values.to(weight.device).reshape(-1, *[1] * (weight.dim() - 1))


def _columns(values: Tensor, weight: Tensor) -> Tensor:
    return values.to(weight.device).reshape(1, -1, *[1] * (weight.dim() - 2))

"""The model parameter randomisation test (Adebayo et al. 2018, section 3): what was learned is destroyed, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, final

import torch

from salsanity.checks.frame import (
    CHANGED_STREAM,
    TRAINED,
    Chunk,
    Ground,
    Pair,
    Settled,
    State,
    trained,
)
from salsanity.checks.initialiser import (
    INITS,
    Initialiser,
    Wanted,
    draw_seed,
    is_initialiser,
    resolve,
)
from salsanity.errors import SpecError
from salsanity.methods import Method
from salsanity.models.blocks import Block, blocks_of
from salsanity.models.coverage import BatchNorm
from salsanity.models.network import Network
from salsanity.models.routes import check_routes, unread_by
from salsanity.models.slots import Weights
from salsanity.options import checked, identity_of, option
from salsanity.plugins import DRAWS, plugin_names
from salsanity.randomizers.batchnorm import with_batchnorm
from salsanity.randomizers.draw import Draw
from salsanity.randomizers.stages import Order, Stage, full_of, half_of, stages_of, weights_at
from salsanity.records import REFERENCE_STAGE, Line, Outcome, Words

KEEP_BYTES: Final = 2 << 30
"""Draws are kept up to so many bytes, since each serves every chunk of images."""

IMAGES_FOR_COLLAPSE: Final = 16
PICTURED: Final = 6
"""Stages of one draw that figures show, where only the decisive ones are run otherwise: all of a deep network would cost a
short run more than its verdicts do."""

LEAST_LAYERS: Final = 3
"""A network of so many layers with a weight matrix has a top half."""

AFTER_ALL: Final = "after all layers are randomised"
SELF: Final = f"draw 0/{REFERENCE_STAGE}"


@final
@dataclass(frozen=True)
class Cascade:
    """Learned parameters destroyed, from the output down by default: do the maps notice?"""

    order: Order = option(
        "top_down",
        "Which parameters are destroyed: from the output down, one block at a time, or from the input up.",
        choices=("top_down", "independent", "bottom_up"),
    )
    stages: str = option(
        "verdict",
        "Stages computed for every image and draw: the two that decide (half and full), or all.",
        choices=("verdict", "all"),
    )
    blocks: str | tuple[str, ...] = option(
        "auto",
        "What is destroyed at once: auto (about 20 blocks at most), layer, or names of modules.",
        words=("auto", "layer"),
    )
    init: str = option(
        "auto", "What destroyed parameters get; also a plug-in or file.py:function.", words=INITS
    )
    init_sd: float = option(
        0.01, "sd of truncated_normal.", least=1e-12, most=1e6, on_command_line=False
    )
    init_bias: float = option(
        0.0, "Biases of truncated_normal.", least=-1e6, most=1e6, on_command_line=False
    )
    batchnorm: BatchNorm = option(
        "keep",
        "What becomes of BatchNorm's running statistics.",
        choices=("keep", "reset", "recalibrate"),
    )
    keep: tuple[str, ...] = option(
        (), "Parameters that may stay as they are, by patterns such as head.*."
    )
    d_full: float = option(
        0.2,
        "Most that may be retained with everything randomised.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )
    d_half: float = option(
        0.75,
        "Most that may be retained with the top half randomised.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )

    name: ClassVar[str] = "cascade"
    needs: ClassVar[str] = "a trained network and images"
    costs: ClassVar[str] = (
        "two states of the network per image and draw (half and full); in one draw six for images in the figures"
    )
    words: ClassVar[Words] = Words(
        title="Model parameter randomisation test",
        question="Would these saliency maps look different if the network had forgotten all it learned?",
        caught="its maps hardly depend on what the network learned",
        uncaught="was not caught",
        use="debugging a network with its maps",
        source="Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv 1810.03292",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no cascade."""
        checked(self)
        if not is_initialiser(self.init):
            known = ", ".join((*INITS, *plugin_names(DRAWS)))
            raise SpecError(
                f"expected init to be one of {known}, or file.py:function, got {self.init!r}"
            )

    def on(self, ground: Ground) -> Settled:
        """Find the blocks, choose the initialiser, and account for every parameter."""
        network = _in_blocks(ground.network, self.blocks)
        stages = stages_of(network.blocks, self.order)
        half = half_of(stages) if self.order == "top_down" else None
        decisive = [stage for stage in (half, full_of(stages)) if stage is not None]
        init = resolve(
            network,
            Wanted(
                self.init,
                self.init_sd,
                self.init_bias,
                self.batchnorm,
                self.keep,
                ground.seed,
                ground.draws,
            ),
            torch.split(ground.pool()[:IMAGES_FOR_COLLAPSE], 8),
            stages,
            decisive=decisive,
            make_model=ground.make_model,
            recorded=ground.recorded.get("init"),
        )
        laid = RandomisedWeights(
            self, network.blocks, stages, half, init.draw, ground.draws, ground.target == "own"
        )
        laid.check_routes(ground)
        return _settled(laid, init, ground)


@final
@dataclass(frozen=True, eq=False)
class RandomisedWeights:
    """The cascade on its network: stages of blocks, and the draw that fills them."""

    asked: Cascade
    blocks: tuple[Block, ...]
    course: tuple[Stage, ...]
    half: Stage | None
    draw: Draw
    draws: int
    own_target: bool

    name: ClassVar[str] = Cascade.name
    words: ClassVar[Words] = Cascade.words
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.FAIL, "noise": Outcome.PASS}
    measures: ClassVar[tuple[Any, ...]] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """After everything and, where there is one, after the top half."""
        full = Line("full", full_of(self.course).name, self.asked.d_full, AFTER_ALL, nothing=True)
        if self.half is None:
            return (full,)
        words = f"after the top half of the network, down to {self.half.name}, is randomised"
        return full, Line("half", self.half.name, self.asked.d_half, words)

    @property
    def stages(self) -> tuple[Mapping[str, Any], ...]:
        """Every stage with the blocks that are randomised in it."""
        return tuple(
            {"name": s.name, "index": s.index, "blocks": list(s.blocks)} for s in self.course
        )

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        """Return the decisive stages, or all; the figures show some of the others in one draw."""
        decisive = tuple(s.name for s in (self.half, full_of(self.course)) if s is not None)
        if self.asked.stages == "all":
            return tuple(stage.name for stage in self.course)
        return pictured(self.course, decisive) if draw == 0 and is_shown else decisive

    def references(self, ground: Ground, chunk: Chunk) -> Sequence[State]:
        """Return the trained network."""
        return [trained()]

    def changed(
        self, ground: Ground, chunk: Chunk, draw: int, stages: Sequence[str]
    ) -> Sequence[State]:
        """Return the stages of one draw and, with the first, the trained network again for methods that draw noise."""
        named = {stage.name: stage for stage in self.course}
        states = [
            State(
                f"draw {draw}/{name}",
                self._weights(ground, draw, named[name]),
                "own" if self.own_target else None,
                is_watched=True,
                shown="" if draw else name,
            )
            for name in stages
        ]
        return states if draw else [*states, State(SELF, stream=CHANGED_STREAM, asks="stochastic")]

    def pairs(self, draw: int) -> Sequence[Pair]:
        """Compare each stage with the trained network, and the trained network with itself under other noise."""
        found = [Pair(s.name, s.index, draw, TRAINED, f"draw {draw}/{s.name}") for s in self.course]
        return found if draw else [*found, Pair(REFERENCE_STAGE, 0, 0, TRAINED, SELF)]

    def method(self, method: Method) -> Method:
        """Return the method itself."""
        return method

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what the scores of a stage depend on."""
        return {
            "blocks": [[b.name, list(b.layers), list(b.parts)] for b in self.blocks],
            "order": self.asked.order,
            "draw": self.draw,
            "batchnorm": self.asked.batchnorm,
            "keep": list(self.asked.keep),
        }

    def check_routes(self, ground: Ground) -> None:
        """Refuse a network that, randomised, reads layers that the trained one left unread."""
        if unread_by(ground.network):
            images = ground.pool()[:IMAGES_FOR_COLLAPSE]
            batches = torch.split(images, ground.network.largest_batch or 8)
            for draw in range(min(2, self.draws)):
                weights = self._weights(ground, draw, full_of(self.course))
                check_routes(ground.network, batches, weights=weights)

    def _weights(self, ground: Ground, draw: int, stage: Stage) -> Weights:
        network = replace(ground.network, blocks=self.blocks)
        drawn = weights_at(network, self._drawn(ground, draw), stage)
        # All layers of the blocks, since a norm without weight and bias has statistics all the same.
        layers = {layer for b in self.blocks if b.name in stage.blocks for layer in b.layers}
        recalibrates = self.asked.batchnorm == "recalibrate"
        images = torch.split(ground.pool(), 8) if recalibrates else ()
        return with_batchnorm(network, drawn, self.asked.batchnorm, layers=layers, images=images)

    def _drawn(self, ground: Ground, draw: int) -> Weights:
        asked = self.asked
        place = (self.draw.name, asked.init_sd, asked.init_bias, asked.keep)
        kept: dict[int, Weights] = ground.memory.setdefault(place, {})
        if draw not in kept:
            fresh = _on(ground.network, self.draw(ground.network, draw_seed(ground.seed, draw)))
            while len(kept) >= max(1, KEEP_BYTES // max(1, _bytes_of(fresh))):
                kept.pop(next(iter(kept)))
            kept[draw] = fresh
        return kept[draw]


def pictured(course: Sequence[Stage], decisive: Sequence[str]) -> tuple[str, ...]:
    """Choose the stages that figures show: the decisive ones, and others evenly over the course."""
    last, points = len(course) - 1, PICTURED - len(decisive[:-1])
    spread = range(last + 1) if last < PICTURED else _evenly(last, points)
    kept = {course[i].name for i in spread} | set(decisive)
    return tuple(stage.name for stage in course if stage.name in kept)


def _evenly(last: int, points: int) -> set[int]:
    return {round(i * last / (points - 1)) for i in range(points)}


def _settled(laid: RandomisedWeights, init: Initialiser, ground: Ground) -> Settled:
    reason = str(ground.recorded.get("facts", {}).get("Initialiser chosen", init.reason))
    note = (
        f"Initialiser {init.name} ({reason}); {init.randomised_share:.1%} of the parameters are randomised "
        f"in {len(laid.course)} stages."
    )
    return Settled(
        laid,
        notes=(note,),
        coverage=init.coverage,
        is_course=True,
        init=init.name,
        never_pass=_never_pass(laid, init, ground.network),
        facts={
            "Order": laid.asked.order.replace("_", " "),
            "Stages": laid.asked.stages,
            "Initialiser": init.name,
            "Initialiser chosen": reason,
            "BatchNorm statistics": laid.asked.batchnorm,
            "Parameters randomised": f"{init.randomised_share:.1%}",
            **_few_layers(ground.network),
        },
        settings=identity_of(laid.asked),
        extra={"blocks": [{"name": b.name, "layers": list(b.layers)} for b in laid.blocks]},
    )


def _never_pass(laid: RandomisedWeights, init: Initialiser, network: Network) -> str:
    """Say why nothing can pass: too much stayed trained, or the top half was not seen."""
    if init.still_trained is not None:
        return init.still_trained
    if (
        laid.asked.order == "top_down"
        and laid.half is None
        and network.weight_layers >= LEAST_LAYERS
    ):
        return (
            f"it cannot tell whether maps depend on the upper layers, since all {network.weight_layers} layers with weights "
            f"are randomised in {len(laid.course)} block(s): name more --blocks, or leave them to be found"
        )
    return ""


def _few_layers(network: Network) -> dict[str, str]:
    """Say what a network of one or two layers is judged on."""
    if network.weight_layers >= LEAST_LAYERS:
        return {}
    return {
        "Judged on": f"everything randomised alone: a network of {network.weight_layers} layer(s) with weights has no top half"
    }


def _in_blocks(network: Network, choice: str | tuple[str, ...]) -> Network:
    if choice == "auto":
        return network
    named = list(choice) if isinstance(choice, tuple) else choice
    if isinstance(named, str) and named != "layer":
        named = [named]
    return replace(network, blocks=blocks_of(network.module, network.trace, named))


def _on(network: Network, weights: Weights) -> Weights:
    return {
        layer: {name: value.to(network.device) for name, value in tensors.items()}
        for layer, tensors in weights.items()
    }


def _bytes_of(weights: Weights) -> int:
    return sum(
        value.numel() * value.element_size()
        for tensors in weights.values()
        for value in tensors.values()
    )

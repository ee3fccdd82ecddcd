"""Shortcuts (Yang and Kim 2019; Adebayo et al. 2020, 2022): does the map show the mark that the network goes by?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, final

from torch import Tensor, nn

from salsanity.checks.cue_networks import CueNetwork, cue_networks
from salsanity.checks.frame import (
    REFERENCE_STREAM,
    Chunk,
    Ground,
    InputMap,
    Pair,
    Settled,
    State,
    Workshop,
)
from salsanity.checks.mark import Mark, MarkMass, picture
from salsanity.data.examples import image_id
from salsanity.methods import Method
from salsanity.models.network import prepare
from salsanity.models.slots import Weights
from salsanity.options import checked, identity_of, option
from salsanity.records import Line, Outcome, Words
from salsanity.training.own import Teaching
from salsanity.training.settings import LABELS

STAGE: Final = "cue"


@final
@dataclass(frozen=True, eq=False)
class Shortcut:
    """Networks that go by a planted mark, and networks to which it means nothing: do the maps tell them apart?

    `known`: the trained and verified networks with their mark, once there are any; else `networks` of each kind are trained on
    `train_images` images (None: all) under `training`.
    """

    networks: int = option(2, "Networks of each kind to train.", least=2, most=100)
    train_images: int | None = option(
        None, "Train on so many images only.", least=1, most=10_000_000
    )
    mark: Path | None = option(
        None, "An image of the mark to plant, as large as it is; unset, a checker of 5 x 5 cells."
    )
    d_shortcut: float = option(
        0.1,
        "Least share of the map that must be on the mark for the network to be seen to go by it.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )
    training: Teaching = LABELS
    known: tuple[Mark, tuple[CueNetwork, ...]] | None = field(default=None, repr=False)

    name: ClassVar[str] = "shortcut"
    needs: ClassVar[str] = "an architecture and labelled images to train and to test on"
    costs: ClassVar[str] = "training of four networks; then one state per network and image"
    target: ClassVar[str] = "label"
    """The class explained is the true label's."""
    has_draws: ClassVar[bool] = False
    words: ClassVar[Words] = Words(
        title="Planted shortcut",
        question="Does the map show the mark that the network goes by?",
        caught="its maps hide the shortcut that the network takes",
        uncaught="was not caught",
        use="debugging: finding out what a network really goes by",
        source="Yang and Kim (arXiv 1907.09701); Adebayo et al. (NeurIPS 2020, ICLR 2022)",
        draw=("pair of networks", "pairs of networks"),
        scope="this speaks of these networks and this mark only",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no check."""
        checked(self)

    @property
    def settings(self) -> dict[str, Any]:
        """Return what a run in a folder may never change; a mark of the user's by its pixels."""
        file = None if self.mark is None else image_id(picture(self.mark, 3))
        return {**identity_of(self), "mark": file, "training": self.training.to_json()}

    def brought(self, workshop: Workshop) -> tuple[Shortcut, nn.Module]:
        """Train the networks, or what is missing of them, and verify that they are what they should be.

        The first to which the mark means nothing is the run's network: it is right without a mark too.
        """
        known = self.known or cue_networks(
            workshop,
            self.training,
            networks=self.networks,
            train_images=self.train_images,
            mark=self.mark,
        )
        return replace(self, known=known), known[1][0].model

    def on(self, ground: Ground) -> Settled:
        """Read every network as weights to put into the first."""
        assert self.known is not None  # noqa: S101 - networks are brought first
        (mark, networks), example = self.known, ground.pool()[:1]
        weights, prints = {}, []
        for network in networks:
            copy = prepare(network.model, example, blocks="layer", device=ground.network.device)
            weights[network.name] = copy.trained
            prints.append(copy.fingerprint)
        pairs = CuePairs(self.d_shortcut, mark, weights, tuple(prints))
        return Settled(
            pairs,
            facts=_facts(mark, networks),
            states=tuple(weights),
            columns=len(pairs.columns),
            test="cue",
            settings=self.settings,
            extra={"networks": [n.to_json(p) for n, p in zip(networks, prints, strict=True)]},
        )


@final
@dataclass(frozen=True, eq=False)
class CuePairs:
    """The check on its networks: every one that follows the mark beside every one to which it means nothing.

    Methods are given test images that bear the mark of their class; what is measured is how much of the absolute map lies on it.
    """

    threshold: float
    mark: Mark
    weights: Mapping[str, Weights]
    """By name: `plain:0`, ..., `cue:0`, ..."""
    prints: tuple[str, ...]

    name: ClassVar[str] = Shortcut.name
    words: ClassVar[Words] = Shortcut.words
    controls: ClassVar[Mapping[str, Outcome]] = dict.fromkeys(
        ("edge", "input", "noise"), Outcome.FAIL
    )
    views: ClassVar[tuple[str, ...]] = ("absolute",)
    draws: ClassVar[int] = 1
    stages: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"name": STAGE, "index": 1, "words": "the mark followed, and the mark ignored"},
    )

    @property
    def lines(self) -> tuple[Line, ...]:
        """The map must show the mark where the network follows it."""
        return (
            Line("cue", STAGE, self.threshold, "where the network goes by the mark", must="stay"),
        )

    @property
    def measures(self) -> tuple[Any, ...]:
        """How much of the map lies on the mark."""
        return (MarkMass(self.mark),)

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Return every pair of names (plain, cue)."""
        plain, cue = (
            [n for n in self.weights if n.startswith(kind)] for kind in ("plain:", "cue:")
        )
        return [(a, b) for a in plain for b in cue]

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        """Return the one stage."""
        return (STAGE,)

    def references(self, ground: Ground, chunk: Chunk) -> Sequence[State]:
        """Return the networks to which the mark means nothing."""
        return self._states("plain:", chunk)

    def changed(
        self, ground: Ground, chunk: Chunk, draw: int, stages: Sequence[str]
    ) -> Sequence[State]:
        """Return the networks that follow the mark."""
        return self._states("cue:", chunk)

    def pairs(self, draw: int) -> Sequence[Pair]:
        """Set every network that follows the mark beside every one that does not."""
        return [Pair(STAGE, 1, k, plain, cue) for k, (plain, cue) in enumerate(self.columns)]

    def method(self, method: Method) -> Method:
        """Return the method itself."""
        return method

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the fingerprints of the networks, and the mark."""
        return {"networks": list(self.prints), "mark": self.mark}

    def _states(self, kind: str, chunk: Chunk) -> list[State]:
        """All networks see the same images, and methods that draw noise the same noise."""
        marked = InputMap(_Marked(self.mark, chunk.targets), is_shown=True)
        return [
            State(name, values, inputs=marked, stream=REFERENCE_STREAM, shown=name)
            for name, values in self.weights.items()
            if name.startswith(kind)
        ]


@final
@dataclass(frozen=True, eq=False)
class _Marked:
    """Plants the mark of each image's class."""

    mark: Mark
    classes: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return self.mark.on(images, self.classes.to(images.device))


def _facts(mark: Mark, networks: Sequence[CueNetwork]) -> dict[str, str]:
    kinds = {kind: [n for n in networks if n.kind == kind] for kind in ("cue", "plain")}
    high, wide = mark.size
    return {
        "Networks": f"{len(kinds['cue'])} that follow the mark, {len(kinds['plain'])} to which it means nothing",
        "Mark": f"{high} x {wide} pixels at {len(mark.corners)} places along the border, one for each class",
        "Accuracy with the right mark": _figures(kinds, "right"),
        "Accuracy with a wrong mark": _figures(kinds, "wrong"),
        "Train accuracy": ", ".join(f"{n.name} {n.train_accuracy:.3f}" for n in networks),
    }


def _figures(kinds: Mapping[str, Sequence[CueNetwork]], name: str) -> str:
    return "; ".join(
        f"{kind}: {', '.join(f'{getattr(n, name):.3f}' for n in found)}"
        for kind, found in kinds.items()
    )

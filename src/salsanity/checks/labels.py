"""The data randomisation test (Adebayo et al. 2018, section 3.2): networks on true labels against networks on permuted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, final

from torch import nn

from salsanity.checks.frame import (
    CHANGED_STREAM,
    REFERENCE_STREAM,
    Chunk,
    Ground,
    Pair,
    Settled,
    State,
    Workshop,
)
from salsanity.checks.label_networks import (
    TrainedNetwork,
    label_gates,
    networks_of,
    trained_networks,
)
from salsanity.data.examples import image_id
from salsanity.errors import SpecError
from salsanity.methods import Method
from salsanity.models.network import Network, prepare
from salsanity.models.slots import Weights
from salsanity.options import checked, identity_of, option
from salsanity.records import REFERENCE_STAGE, Line, Outcome, Words, digest
from salsanity.training.own import Teaching
from salsanity.training.settings import LABELS

TRUE_PAIRS: Final = "TT"
"""Stage of the pairs of two networks that were trained on true labels."""
MIXED_PAIRS: Final = "TP"
"""Stage of the pairs of a network trained on true labels and one on permuted labels."""

LOWER_BOUND: Final = (
    "with one network on true labels this is only a lower bound, which can FAIL but never PASS "
    "(add a second network trained on true labels)"
)


@final
@dataclass(frozen=True, eq=False)
class LabelTest:
    """Training labels permuted: do the maps notice that labels mean nothing?

    `true`, `permuted`: trained networks of one architecture that the user brings; empty: `networks` of each kind are trained on
    `train_images` images (None: all) under `training`.
    """

    networks: int = option(2, "Networks of each kind to train.", least=1, most=100)
    train_images: int | None = option(
        None, "Train on so many images only.", least=1, most=10_000_000
    )
    threshold: float = option(
        0.5,
        "Most of honest networks' agreement that may be left.",
        least=0,
        most=1,
        is_open=True,
        is_identity=False,
    )
    training: Teaching = LABELS
    true: tuple[nn.Module, ...] = ()
    permuted: tuple[nn.Module, ...] = ()
    known: tuple[TrainedNetwork, ...] = field(default=(), repr=False)
    """The networks, once they are trained or measured."""

    name: ClassVar[str] = "labels"
    needs: ClassVar[str] = (
        "an architecture and labelled images to train and to test on, or networks trained on true and on permuted labels"
    )
    costs: ClassVar[str] = (
        "training of four networks, unless they are brought; then two states per network and image"
    )
    target: ClassVar[str] = "label"
    """The class explained is the true label's."""
    has_draws: ClassVar[bool] = False
    words: ClassVar[Words] = Words(
        title="Data randomisation test",
        question="Would these saliency maps look different if the labels the network learned from had meant nothing?",
        caught="its maps hardly depend on what the labels mean",
        uncaught="was not caught",
        use="explaining how images and labels are related",
        source="Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv 1810.03292",
        draw=("pair of networks", "pairs of networks"),
        scope="this speaks of these networks only",
    )

    def __post_init__(self) -> None:
        """Refuse what makes no test."""
        checked(self)
        if bool(self.true) != bool(self.permuted):
            raise SpecError(
                "expected networks of both kinds, true and permuted; give both, or none to train them"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Return what a run in a folder may never change."""
        return {**identity_of(self), "training": self.training.to_json()}

    def prints(self) -> list[str]:
        """Tell brought networks apart, for the name of a folder."""
        return [
            digest([image_id(parameter) for parameter in model.parameters()])
            for model in (*self.true, *self.permuted)
        ]

    def brought(self, workshop: Workshop) -> tuple[LabelTest, nn.Module]:
        """Train the networks, or what is missing of them, or measure those that the user brings."""
        if self.true:
            known = networks_of(self.true, self.permuted, workshop.test)
        else:
            known = trained_networks(
                workshop,
                self.training,
                networks=self.networks,
                train_images=self.train_images,
            )
        return replace(self, known=known), known[0].model

    def on(self, ground: Ground) -> Settled:
        """Read every network as weights to put into the first."""
        example = ground.pool()[:1]
        weights, prints = {}, []
        for network in self.known:
            copy = prepare(network.model, example, blocks="layer", device=ground.network.device)
            _check_architecture(ground.network, copy, network.name)
            weights[network.name] = copy.trained
            prints.append(copy.fingerprint)
        pairs = NetworkPairs(self.threshold, weights, tuple(prints))
        return Settled(
            pairs,
            gates=tuple(label_gates(self.known, ground.network.classes)),
            facts=_facts(self),
            states=tuple(weights),
            columns=len(pairs.mixed),
            settings=self.settings,
            extra={"networks": [n.to_json(p) for n, p in zip(self.known, prints, strict=True)]},
        )


@final
@dataclass(frozen=True, eq=False)
class NetworkPairs:
    """The label test on its networks: every two honest ones, and every honest one with every permuted one."""

    threshold: float
    weights: Mapping[str, Weights]
    """By name: `true:0`, ..., `permuted:0`, ..."""
    prints: tuple[str, ...]

    name: ClassVar[str] = LabelTest.name
    words: ClassVar[Words] = LabelTest.words
    controls: ClassVar[Mapping[str, Outcome]] = {"edge": Outcome.FAIL, "noise": Outcome.PASS}
    measures: ClassVar[tuple[Any, ...]] = ()
    draws: ClassVar[int] = 1
    stages: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"name": TRUE_PAIRS, "index": 1, "words": "true and true labels"},
        {"name": MIXED_PAIRS, "index": 2, "words": "true and permuted labels"},
    )

    @property
    def lines(self) -> tuple[Line, ...]:
        """Against the agreement of two honest networks or, with one, against the ceiling."""
        line = Line(
            "permuted",
            MIXED_PAIRS,
            self.threshold,
            "when the training labels are permuted",
            nothing=True,
        )
        if len(self._of("true")) > 1:
            return (replace(line, against=TRUE_PAIRS, of="two honest networks' agreement"),)
        return (replace(line, caveat=LOWER_BOUND),)

    @property
    def mixed(self) -> list[tuple[str, str]]:
        """Return every (true, permuted) pair of names."""
        return [(a, b) for a in self._of("true") for b in self._of("permuted")]

    @property
    def honest(self) -> list[tuple[str, str]]:
        """Return every two true networks once, (reference, other)."""
        true = self._of("true")
        return [(a, b) for i, a in enumerate(true) for b in true[i + 1 :]]

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        """Return both stages."""
        return TRUE_PAIRS, MIXED_PAIRS

    def references(self, ground: Ground, chunk: Chunk) -> Sequence[State]:
        """Return the true networks under the reference stream."""
        return [self._state(name, REFERENCE_STREAM, shown=name) for name in self._of("true")]

    def changed(
        self, ground: Ground, chunk: Chunk, draw: int, stages: Sequence[str]
    ) -> Sequence[State]:
        """Return all networks under the changed stream; the first is only its own ceiling."""
        first, *others = self._of("true")
        return [
            replace(self._state(first, CHANGED_STREAM), asks="stochastic"),
            *(self._state(name, CHANGED_STREAM) for name in others),
            *(self._state(name, CHANGED_STREAM, shown=name) for name in self._of("permuted")),
        ]

    def pairs(self, draw: int) -> Sequence[Pair]:
        """Compare honest networks, then honest with permuted ones, then the first with itself under other noise."""
        (first, *_) = self._of("true")
        return [
            *(_pair(TRUE_PAIRS, 1, k, a, b) for k, (a, b) in enumerate(self.honest)),
            *(_pair(MIXED_PAIRS, 2, k, a, b) for k, (a, b) in enumerate(self.mixed)),
            _pair(REFERENCE_STAGE, 0, 0, first, first),
        ]

    def method(self, method: Method) -> Method:
        """Return the method itself."""
        return method

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the fingerprints of the networks."""
        return {"networks": list(self.prints)}

    def _of(self, kind: str) -> list[str]:
        return [name for name in self.weights if name.startswith(f"{kind}:")]

    def _state(self, name: str, stream: int, shown: str = "") -> State:
        """Name the state by its stream too, so that noise controls never repeat themselves."""
        return State(f"{name}/{stream}", self.weights[name], stream=stream, shown=shown)


def _pair(stage: str, index: int, draw: int, reference: str, changed: str) -> Pair:
    return Pair(
        stage, index, draw, f"{reference}/{REFERENCE_STREAM}", f"{changed}/{CHANGED_STREAM}"
    )


def _facts(test: LabelTest) -> dict[str, str]:
    true = [f"{n.test_accuracy:.3f}" for n in test.known if n.kind == "true"]
    permuted = [f"{n.test_accuracy:.3f}" for n in test.known if n.kind == "permuted"]
    return {
        "Networks": f"{len(true)} on true labels, {len(permuted)} on permuted ones",
        "Accuracy on true test labels": f"true: {', '.join(true)}; permuted: {', '.join(permuted)}",
        "Train accuracy": ", ".join(
            f"{n.name} {n.train_accuracy:.3f}" for n in test.known if n.train_accuracy is not None
        ),
    }


def _check_architecture(one: Network, other: Network, name: str) -> None:
    shapes = [{slot.key: slot.tensor.shape for slot in n.slots} for n in (one, other)]
    if shapes[0] != shapes[1]:
        raise SpecError(
            f"expected networks of one architecture, but {name} has other parameters than true:0; compare like with like"
        )

"""Every check of salsanity keeps the contract, and so does one that it does not know; every test of the contract can fail."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from twins import every_test_has_a_twin, fails

from salsanity.checks.cascade import Cascade
from salsanity.checks.class_ import STAGE, ClassChange
from salsanity.checks.cue_networks import KINDS, CueNetwork
from salsanity.checks.frame import Chunk, Completed, Ground, InputMap, Pair, Settled, State
from salsanity.checks.labels import LabelTest
from salsanity.checks.mark import Mark
from salsanity.checks.named import BUILT_IN
from salsanity.checks.shortcut import Shortcut
from salsanity.methods import Method
from salsanity.records import Line, Outcome, Words
from salsanity.testing import CheckContract
from salsanity.testing.networks import small_network

UNFORESEEN = Path(__file__).resolve().parent.parent / "assets" / "unforeseen.py"


def another_network(seed: int) -> nn.Module:
    network = small_network()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return network


def labels() -> LabelTest:
    true, permuted = (another_network(1), another_network(2)), (another_network(3),)
    return LabelTest(true=true, permuted=permuted)


def shortcut() -> Shortcut:
    mark = Mark(torch.ones(2, 3, 3), (*((0, 3 * k) for k in range(4)), (9, 9)))
    networks = tuple(
        CueNetwork(kind, i, another_network(5 + i), 0, 1.0, 1.0, 0.1)
        for kind in KINDS
        for i in (0, 1)
    )
    return Shortcut(known=(mark, networks))


OURS: dict[str, Callable[[], Any]] = {
    **{name: partial(str, name) for name in BUILT_IN if name not in ("labels", "shortcut")},
    "independent": lambda: Cascade(order="independent", stages="all", init="he"),
    "bottom up": lambda: Cascade(order="bottom_up", init="permute", batchnorm="reset"),
    "recalibrated": lambda: Cascade(init="matched", batchnorm="recalibrate"),
    "labels": labels,
    "shortcut": shortcut,
    "one network on labels": lambda: replace(labels(), true=(another_network(1),)),
    "second class": lambda: "class(class_choice='second')",
    "least class": lambda: ClassChange("least"),
    "unforeseen": lambda: f"{UNFORESEEN}:Mirror(least=0.7)",
}


class TestOurs(CheckContract):
    asked: Any = None

    @pytest.fixture(autouse=True, params=OURS)
    def name(self, request: pytest.FixtureRequest) -> None:
        self.asked = OURS[request.param]()

    def check(self) -> Any:
        return self.asked


@dataclass(frozen=True)
class Spoiled:
    """A check with a fault; what is not spoiled is that of another class explained."""

    fault: str
    name: ClassVar[str] = "spoiled"
    words: ClassVar[Words] = ClassChange.words
    controls: ClassVar[Any] = ClassChange.controls

    @property
    def lines(self) -> tuple[Line, ...]:
        return ClassChange().lines

    def on(self, ground: Ground) -> Settled:
        settings = {"set": {1, 2}} if self.fault == "record" else {}
        if self.fault == "settles by chance":
            settings = {"process": os.getpid()}
        whole = Completed(Apart(), ground.draws)
        return Settled(
            SpoiledOnNetwork(whole, self.fault, ground.network.module), settings=settings
        )


@dataclass(frozen=True)
class Apart:
    """Another class explained, each draw in a unit of its own."""

    name: ClassVar[str] = "class"
    words: ClassVar[Words] = ClassChange.words
    controls: ClassVar[Any] = ClassChange.controls
    lines: ClassVar[tuple[Line, ...]] = ClassChange().lines

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Any:
        return ClassChange().changed(ground, chunk, draw)


COUNT = itertools.count()


@dataclass(frozen=True, eq=False)
class SpoiledOnNetwork:
    """Any part of a settled check may be spoiled."""

    whole: Completed
    fault: str
    module: nn.Module
    measures: ClassVar[tuple[Any, ...]] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "whole" not in self.__dict__:
            raise AttributeError(name)
        value = getattr(self.whole, name)
        return SPOILED.get((name, self.fault), lambda v: v)(value)

    def asked_stages(self, draw: int, *, is_shown: bool) -> tuple[str, ...]:
        match self.fault:
            case "unasked":
                return () if draw == 1 else (STAGE,)
            case "asks for more":
                return STAGE, "another"
        return (STAGE,)

    def references(self, ground: Ground, chunk: Chunk) -> Any:
        return self.whole.references(ground, chunk)

    def pairs(self, draw: int) -> Any:
        pairs = list(self.whole.pairs(draw))
        first = pairs[0]
        match self.fault:
            case "a pair too many":
                pairs.append(Pair(STAGE, 1, draw, "trained", "nowhere"))
            case "a reference too many":
                pairs[0] = replace(first, reference="nowhere")
            case "no pair":
                return pairs[1:]
            case "another number":
                pairs[0] = replace(first, index=2)
            case "one column":
                pairs[0] = replace(first, draw=0)
            case "columns from 1":
                pairs[0] = replace(first, draw=draw + 1)
        return pairs

    def method(self, method: Method) -> Method:
        return replace(method, name="mine") if self.fault == "renames" else method  # type: ignore[type-var]

    def fingerprint(self) -> Any:
        if self.fault == "another print":
            return {"process": os.getpid()}
        return {"whole": "fixed"}

    def __reduce__(self) -> Any:
        if self.fault == "stays here":
            raise TypeError("I stay here")
        return SpoiledOnNetwork, (self.whole, self.fault, nn.Identity())

    def changed(self, ground: Ground, chunk: Chunk, draw: int, stages: Any) -> Any:
        states = list(self.whole.changed(ground, chunk, draw, stages))
        spoil = STATES.get(self.fault)
        if spoil is None:
            return states
        found = spoil(states[0], ground, chunk, draw)
        return [found, *states[1:]] if isinstance(found, State) else found + states


def named(**changes: Any) -> Callable[[Any], Any]:
    return lambda words: replace(words, **changes)


def line(**changes: Any) -> Callable[[Any], Any]:
    return lambda lines: (replace(lines[0], **changes),)


SPOILED: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("words", "no caught"): named(caught=""),
    ("words", "no text"): named(title=3),
    ("words", "no question"): named(question="It changes."),
    ("words", "no plural"): named(draw=("draw",)),
    ("name", "no name"): lambda name: "",
    ("name", "two names"): lambda name: "a,b",
    ("lines", "no lines"): lambda lines: (),
    ("lines", "a line twice"): lambda lines: lines * 2,
    ("lines", "nowhere"): line(stage="nowhere"),
    ("lines", "against nowhere"): line(against="nowhere"),
    ("lines", "a sentence"): line(name="after all"),
    ("lines", "no line words"): line(words=""),
    ("lines", "nan"): line(threshold=float("nan")),
    ("lines", "may change"): line(must="may"),
    ("stages", "from zero"): lambda stages: ({**stages[0], "index": 0},),
    ("stages", "self"): lambda stages: (*stages, {"name": "self", "index": 2}),
    ("stages", "twice"): lambda stages: (*stages, {**stages[0], "index": 2}),
    ("controls", "unknown control"): lambda controls: {"edges": Outcome.FAIL},
    ("controls", "outcome as text"): lambda controls: {"edge": "fails"},
}  # fmt: skip


def weights(value: Callable[[Tensor], Tensor], key: str = "weight") -> Any:
    return lambda state, ground, chunk, draw: replace(
        state, weights={"15": {key: value(ground.network.trained["15"]["weight"])}}
    )


def targets(value: Callable[[Tensor], Any]) -> Any:
    return lambda state, ground, chunk, draw: replace(state, targets=value(state.targets))


def inputs(**maps: Any) -> Any:
    return lambda state, *_: replace(state, inputs=InputMap(**{"there": lambda x: x, **maps}))


def global_random(state: State, *_: Any) -> State:
    torch.rand(1)
    return state


def by_chance(state: State, ground: Ground, chunk: Chunk, draw: int) -> State:
    return replace(
        state, weights={"15": {"weight": torch.full((5, 16), float(next(COUNT))).double()}}
    )


def remembering(state: State, ground: Ground, chunk: Chunk, draw: int) -> State:
    """The first draw that is asked for is that of all."""
    first = ground.memory.setdefault("first", draw)
    return replace(state, weights={"15": {"weight": torch.full((5, 16), float(first)).double()}})


def of_the_chunk(state: State, ground: Ground, chunk: Chunk, draw: int) -> State:
    mean = float(chunk.x[0].mean())
    return replace(state, weights={"15": {"weight": torch.full((5, 16), mean).double()}})


def of_this_process(state: State, *_: Any) -> State:
    return replace(
        state, weights={"15": {"weight": torch.full((5, 16), float(os.getpid())).double()}}
    )


def writing(place: str) -> Callable[..., State]:
    def spoil(state: State, ground: Ground, chunk: Chunk, draw: int) -> State:
        with torch.no_grad():
            match place:
                case "weights":
                    ground.network.module[0].weight.add_(1)  # type: ignore[union-attr,operator,index]
                case "trained":
                    ground.network.trained["0"]["weight"].add_(1)
                case "images":
                    chunk.x.mul_(2)
                case "targets":
                    chunk.targets.zero_()
                case "mode":
                    ground.network.module.train()
                case "hook":
                    ground.network.module.register_forward_hook(lambda *_: None)
        return state

    return spoil


STATES: dict[str, Callable[..., Any]] = {
    "a state twice": lambda state, *_: [state],
    "an idle state": lambda state, *_: [replace(state, name="idle")],
    "unknown tensor": weights(lambda w: w, "wait"),
    "other shape": weights(lambda w: w[:1]),
    "other dtype": weights(lambda w: w.float()),
    "nan weights": weights(lambda w: w * torch.nan),
    "huge weights": weights(lambda w: torch.full_like(w, 1e308)),
    "one target": targets(lambda t: t[:1]),
    "float targets": targets(lambda t: t.float()),
    "no class": targets(lambda t: t + 100),
    "no targets": targets(lambda t: "mine"),
    "asks": lambda state, *_: replace(state, asks="some"),
    "fewer inputs": inputs(there=lambda x: x[1:]),
    "writes inputs": inputs(there=lambda x: x.mul_(2)),
    "mixes inputs": inputs(there=lambda x: x - x.mean(0)),
    "smaller inputs": inputs(there=lambda x: x[..., 1:]),
    "smaller maps": inputs(back=lambda maps: maps[..., 1:]),
    "by chance": by_chance,
    "remembering": remembering,
    "neighbour's targets": targets(lambda t: t.roll(1)),
    "of the chunk": of_the_chunk,
    "global random": global_random,
    "of this process": of_this_process,
    **{place: writing(place) for place in ("weights", "trained", "images", "targets", "mode", "hook")},
}  # fmt: skip

TWINS: dict[str, list[tuple[str, str]]] = {
    "test_says_what_it_is": [
        ("no caught", "words for words.caught"), ("no text", "as text"), ("no question", "a question"),
        ("no plural", "one and many"), ("no name", "an empty one"), ("two names", "without"),
    ],
    "test_lines_name_stages": [
        ("no lines", "at least one line"), ("a line twice", "different names"), ("nowhere", "got nowhere"),
        ("against nowhere", "class, nowhere"), ("a sentence", "a name like"), ("no line words", "no words"),
        ("nan", "finite"), ("may change", "change or stay"), ("unasked", "every draw"),
    ],
    "test_stages_are_numbered": [
        ("from zero", "from 1"), ("self", "ceiling"), ("twice", "different names"), ("asks for more", "another"),
    ],
    "test_controls_have_outcomes": [
        ("unknown control", "got 'edges'"), ("outcome as text", "expected outcomes"),
    ],
    "test_states_are_named_by_pairs": [
        ("a state twice", "two states named"), ("an idle state", "no pair names"), ("no pair", "no pair names"),
        ("a pair too many", "nowhere"), ("a reference too many", "references that there are not"),
    ],
    "test_pairs_fill_the_table_once": [
        ("another number", "stage 1, a pair has 2"), ("one column", "two pairs"), ("columns from 1", "columns 0 to 2"),
        ("no pair", "columns 0 to 2"),
    ],
    "test_states_fit_the_network": [
        ("unknown tensor", "no tensor 15.wait"), ("other shape", "another shape"), ("other dtype", "another shape or dtype"),
        ("nan weights", "not finite"), ("huge weights", "logits are not finite"), ("one target", "targets"),
        ("float targets", "float32"), ("no class", "expected classes"), ("no targets", "'mine'"), ("asks", "'some'"),
    ],
    "test_inputs_go_there_and_back": [
        ("fewer inputs", "4 inputs for 5"), ("writes inputs", "wrote into"), ("mixes inputs", "other images"),
        ("smaller inputs", "given"), ("smaller maps", "come back"),
    ],
    "test_methods_keep_their_names": [("renames", "became 'mine'")],
    "test_the_same_draw_is_the_same": [
        ("by chance", "other weights"), ("remembering", "other weights"),
    ],
    "test_an_image_s_target_is_its_own": [
        ("neighbour's targets", "other targets"), ("of the chunk", "other weights"),
    ],
    "test_leaves_everything_alone": [
        ("weights", "values changed"), ("trained", "trained values"), ("images", "the images"), ("targets", "the targets"),
        ("mode", "modes changed"), ("hook", "attributes changed"), ("global random", "global random"),
    ],
    "test_its_record_can_be_written": [("record", "not JSON")],
    "test_another_process_makes_the_same": [
        ("stays here", "I stay here"), ("another print", "prints of the pickled"), ("of this process", "states of the pickled"),
        ("settles by chance", "words of its record"),
    ],
}  # fmt: skip
CASES = [(test, *case) for test, cases in TWINS.items() for case in cases]


@pytest.mark.parametrize(("test", "fault", "words"), CASES)
def test_twin_a_broken_check_is_noticed(test: str, fault: str, words: str) -> None:
    with torch.random.fork_rng():
        fails(CheckContract, test, "check", lambda: Spoiled(fault), words)


def test_every_test_of_the_contract_has_a_twin() -> None:
    every_test_has_a_twin(CheckContract, TWINS)


class TestUnspoiled(CheckContract):
    """What the twins spoil is whole without a fault."""

    def check(self) -> Any:
        return Spoiled("none")

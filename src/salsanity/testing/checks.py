"""`CheckContract`: what salsanity relies on in a check."""

from __future__ import annotations

import json
import math
import pickle
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, final, get_args

import torch
from torch import Tensor, nn

from salsanity.checks.frame import (
    BringsNetwork,
    Check,
    Chunk,
    Ground,
    InputMap,
    Settled,
    State,
    Workshop,
)
from salsanity.checks.named import check_named, settled
from salsanity.data.examples import image_id
from salsanity.data.tensors import TensorSource
from salsanity.errors import UsageError
from salsanity.methods import Gradient, SmoothGrad
from salsanity.models.network import prepare
from salsanity.models.swap import swapped
from salsanity.narrator import Silent
from salsanity.records import CONTROLS, REFERENCE_STAGE, Must, Outcome
from salsanity.testing.elsewhere import elsewhere
from salsanity.testing.networks import small_network, some_images
from salsanity.testing.traces import Traces, random_state
from salsanity.units.identity import print_of
from salsanity.units.job import ground_of
from salsanity.units.spec import RunSpec

SEED: Final = 5


@final
@dataclass(frozen=True)
class Scene:
    """A check on a network with a chunk of images: what each test of the contract looks at."""

    asked: Any
    model: nn.Module
    x: Tensor
    draws: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as what was asked for; all else is found anew."""
        return Scene, (self.asked, self.model, self.x, self.draws)

    @cached_property
    def check(self) -> Check:
        """The check on its network."""
        return self.settled.check

    @cached_property
    def settled(self) -> Settled:
        """What the check says of itself on its network; what a run would refuse fails the test."""
        try:
            return settled(self.brought, self.ground)
        except UsageError as error:
            raise AssertionError(str(error)) from error

    @property
    def brought(self) -> Any:
        """The check with its networks, where it brings them."""
        return self._with_network[0]

    @cached_property
    def ground(self) -> Ground:
        """The network, and what belongs to it."""
        return self.fresh_ground()

    @cached_property
    def chunk(self) -> Chunk:
        """All images, with the classes that the network predicts."""
        targets = self.ground.network.logits(self.x).argmax(1)
        return Chunk(self.x, targets, tuple(image_id(image) for image in self.x))

    def part(self, rows: Sequence[int]) -> Chunk:
        """Return a chunk of these images alone."""
        whole, chosen = self.chunk, torch.tensor(rows)
        return Chunk(whole.x[chosen], whole.targets[chosen], tuple(whole.ids[i] for i in rows))

    def fresh_ground(self) -> Ground:
        """Return what a new process stands on: an own copy of the network, and nothing remembered."""
        network = prepare(self._with_network[1], self.x[:1])
        spec = RunSpec(draws=self.draws, seed=SEED, target=getattr(self.asked, "target", "trained"))
        return ground_of(network, spec, self.x, small_network)

    def states(
        self,
        draw: int,
        *,
        chunk: Chunk | None = None,
        ground: Ground | None = None,
        check: Check | None = None,
    ) -> dict[str, State]:
        """Return all states of a draw, by name."""
        asked, on, given = check or self.check, ground or self.ground, chunk or self.chunk
        stages = asked.asked_stages(draw, is_shown=True)
        return {
            s.name: s
            for s in (*asked.references(on, given), *asked.changed(on, given, draw, stages))
        }

    @cached_property
    def _with_network(self) -> tuple[Any, nn.Module]:
        if not isinstance(self.asked, BringsNetwork):
            return self.asked, self.model
        labels = torch.arange(len(self.x)) % 2
        test = TensorSource(self.x, labels)
        with tempfile.TemporaryDirectory() as folder:
            workshop = Workshop(None, None, test, Path(folder), torch.device("cpu"), SEED, Silent())
            return self.asked.brought(workshop)


class CheckContract:
    """The contract of a check: inherit it in a test module and return yours from `check`.

    Its states are made on a small network and five images, for `draws` draws; nothing is explained.
    """

    draws: ClassVar[int] = 3
    """How many draws are asked for."""

    def check(self) -> Any:
        """Return the check on trial, or its name as in `--check`."""
        raise NotImplementedError("return the check on trial from `check`")

    def model(self) -> nn.Module:
        """Return a trained classifier; by default a small one."""
        return small_network()

    def images(self) -> Tensor:
        """Return at least four images that the classifier takes, (N, C, H, W)."""
        return some_images()

    def test_says_what_it_is(self) -> None:
        """Name and words stand on every page: a question and, where there are verdicts, what a FAIL and its absence mean."""
        scene = self._scene()
        check, words = scene.check, scene.check.words
        verdicts = () if scene.settled.test == "statistic" else ("caught", "uncaught")
        for field in ("title", "question", *verdicts):
            text = getattr(words, field)
            assert isinstance(text, str), f"expected words.{field} as text, got {text!r}"
            assert text.strip(), f"expected words for words.{field}, got none"
        assert words.question.endswith("?"), f"expected a question, got {words.question!r}"
        name = check.name
        assert isinstance(name, str), f"expected a name as text, got {name!r}"
        assert name, "expected a name, got an empty one"
        assert not set(name) & set(",:/\n "), f"expected a name without , : / and spaces: {name!r}"
        assert len(words.draw) == 2, "expected words.draw as one and many, as in draw and draws"

    def test_lines_name_stages(self) -> None:
        """Each line speaks of a stage that there is, and that every draw is asked for."""
        check = self._scene().check
        asked = [set(check.asked_stages(d, is_shown=False)) for d in range(check.draws)]
        for line in check.lines:
            assert line.name.isidentifier(), f"expected a name like full, got {line.name!r}"
            assert line.words, f"the line {line.name} has no words for what is done"
            assert math.isfinite(line.threshold), f"the line {line.name} has no finite threshold"
            assert line.must in get_args(Must), f"expected change or stay, got {line.must!r}"
            for stage in (line.stage, *([line.against] if line.against else ())):
                assert all(stage in one for one in asked), f"{stage} is not asked in every draw"

    def test_stages_are_numbered(self) -> None:
        """Stages have names of their own and numbers from 1; what is asked for is among them."""
        check = self._scene().check
        found = [(stage["index"], stage["name"]) for stage in check.stages]
        names = [name for _, name in found]
        wanted = list(enumerate(names, 1))
        assert found == wanted, f"expected stages numbered from 1, got {found}"
        assert len(set(names)) == len(names), f"expected stages of different names, got {names}"
        for draw in range(check.draws):
            for is_shown in (False, True):
                more = set(check.asked_stages(draw, is_shown=is_shown)) - set(names)
                assert not more, f"draw {draw} asks for stages that there are not: {sorted(more)}"

    def test_controls_have_outcomes(self) -> None:
        """What a control must come out as is an outcome, and a control is one that runs."""
        controls = self._scene().check.controls
        unknown = sorted(set(controls) - set(CONTROLS))
        assert not unknown, f"expected controls ({', '.join(CONTROLS)}), got {unknown[0]!r}"
        wrong = {k: v for k, v in controls.items() if not isinstance(v, Outcome)}
        assert not wrong, f"expected outcomes for controls, got {wrong}"

    def test_states_are_named_by_pairs(self) -> None:
        """Every state is compared with another, every pair has its two states, and no two states have one name."""
        scene = self._scene()
        check, ground, chunk = scene.check, scene.ground, scene.chunk
        for draw in range(check.draws):
            stages = check.asked_stages(draw, is_shown=True)
            references = [s.name for s in check.references(ground, chunk)]
            changed = [s.name for s in check.changed(ground, chunk, draw, stages)]
            twice = [name for name, n in Counter([*references, *changed]).items() if n > 1]
            assert not twice, f"draw {draw} has two states named {twice[0]!r}"
            pairs = [p for p in check.pairs(draw) if p.stage in {*stages, REFERENCE_STAGE}]
            lacking = {p.reference for p in pairs} - set(references)
            assert not lacking, (
                f"pairs of draw {draw} name references that there are not: {lacking}"
            )
            lacking = {p.changed for p in pairs} - {*references, *changed}
            assert not lacking, f"pairs of draw {draw} name states that there are not: {lacking}"
            idle = set(changed) - {p.changed for p in pairs}
            assert not idle, f"states of draw {draw} that no pair names: {idle}"

    def test_pairs_fill_the_table_once(self) -> None:
        """Each stage has one pair per column, under its own number; the ceiling comes once."""
        scene = self._scene()
        check = scene.check
        numbers = {stage["name"]: stage["index"] for stage in check.stages}
        numbers[REFERENCE_STAGE] = 0
        pairs = [p for draw in range(check.draws) for p in check.pairs(draw)]
        for pair in pairs:
            wanted = numbers.get(pair.stage)
            assert pair.index == wanted, f"{pair.stage} is stage {wanted}, a pair has {pair.index}"
        twice = [place for place, n in Counter((p.stage, p.draw) for p in pairs).items() if n > 1]
        assert not twice, f"two pairs for stage and column {twice[0]}"
        found = {p.draw for p in pairs if p.stage == check.lines[0].stage}
        columns = check.draws if scene.settled.columns is None else scene.settled.columns
        if scene.settled.test == "exchange":  # every two of the networks
            columns = columns * (columns + 1) // 2
        assert found == set(range(columns)), f"expected columns 0 to {columns - 1}, got {found}"

    def test_states_fit_the_network(self) -> None:
        """Weights have the network's names, shapes and dtypes and are finite; targets are classes, one per image."""
        scene = self._scene()
        network = scene.ground.network
        for state in self._all_states(scene):
            for key, values, trained in _beside(state, network.trained):
                assert trained is not None, f"{state.name}: the network has no tensor {key}"
                fits = (values.shape, values.dtype) == (trained.shape, trained.dtype)
                assert fits, f"{state.name}: {key} has another shape or dtype than the network's"
                assert bool(values.isfinite().all()), f"{state.name}: {key} is not finite"
            with swapped(network, state.weights), torch.no_grad():
                logits = network.logits(scene.x)
            assert bool(logits.isfinite().all()), f"{state.name}: logits are not finite"
            if isinstance(state.targets, Tensor):
                _check_targets(state, len(scene.x), network.classes)
            else:
                assert state.targets in (None, "own"), f"{state.name}: targets {state.targets!r}"
            assert state.asks in ("all", "stochastic"), f"{state.name} asks {state.asks!r}"

    def test_inputs_go_there_and_back(self) -> None:
        """A map of inputs maps each image for itself, gives the network what it takes, and brings maps back to the images."""
        scene = self._scene()
        for draw in range(scene.check.draws):
            whole = scene.states(draw)
            if not any(state.inputs for state in whole.values()):
                continue
            single = [scene.states(draw, chunk=scene.part([i])) for i in range(len(scene.x))]
            for name, state in whole.items():
                for k, mapped in enumerate(_maps_of(state)):
                    alone = [_maps_of(states[name])[k] for states in single]
                    _check_inputs(mapped, alone, scene.x, name)

    def test_methods_keep_their_names(self) -> None:
        """What stands for a method has its name, under which its scores are kept."""
        for method in (Gradient(), SmoothGrad(2)):
            name = self._scene().check.method(method).name
            assert name == method.name, f"{method.name} became {name!r}"

    def test_the_same_draw_is_the_same(self) -> None:
        """A draw depends on seed, draw and network alone: not on the order of draws, on what was asked before, or on chance
        elsewhere."""
        scene = self._scene()
        draws = range(scene.check.draws)
        first = {draw: scene.states(draw) for draw in draws}
        torch.rand(3)
        again = self._scene()
        for draw in reversed(draws):
            why = _difference(first[draw], again.states(draw))
            assert why is None, f"draw {draw} asked anew: {why}"

    def test_an_image_s_target_is_its_own(self) -> None:
        """Weights and targets depend on no other image of the chunk, nor on its order."""
        scene = self._scene()
        order = [*reversed(range(1, len(scene.x)))]
        other = scene.part(order)
        for draw in range(scene.check.draws):
            why = _difference(scene.states(draw), scene.states(draw, chunk=other), order)
            assert why is None, f"draw {draw} in another chunk: {why}"

    def test_leaves_everything_alone(self) -> None:
        """The network and what is known of it, the images, and the global random states are as before."""
        scene = self._scene()
        ground, chunk = scene.ground, scene.chunk
        _ = scene.check
        own, theirs = Traces.of(ground.network.module), Traces.of(scene.model)
        trained = {k: v.clone() for k, v in _flat(ground.network.trained)}
        x, targets, state = chunk.x.clone(), chunk.targets.clone(), random_state()
        self._all_states(scene)
        for traces in (own, theirs):
            for changed in (
                traces.values_changed,
                traces.grads_changed,
                traces.modes_changed,
                traces.attributes_changed,
            ):
                assert changed() is None, f"{changed.__name__.replace('_', ' ')}: {changed()}"
        lost = [k for k, v in _flat(ground.network.trained) if not torch.equal(v, trained[k])]
        assert not lost, f"it wrote into the trained values of {lost[:1]}"
        assert torch.equal(chunk.x, x), "it wrote into the images"
        assert torch.equal(chunk.targets, targets), "it wrote into the targets"
        assert random_state() == state, "it drew from the global random state, or seeded it"

    def test_its_record_can_be_written(self) -> None:
        """What spec.json says of it is JSON."""
        record = self._scene().settled.record(["spearman"]).to_json()
        try:
            again = json.loads(json.dumps(record))
        except (TypeError, ValueError) as error:
            raise AssertionError(f"its record is not JSON: {error}") from error
        assert again["name"] == record["name"]

    def test_another_process_makes_the_same(self) -> None:
        """Pickled on its network, and asked anew, it says the same in another process: its states, its print, its record."""
        scene = self._scene()
        try:
            packed = pickle.dumps(scene.check)
        except Exception as error:
            raise AssertionError(f"it cannot be pickled: {error}") from error
        there, here = elsewhere(_told, packed, scene), _told(packed, scene)
        for part, told in here.items():
            assert there[part] == told, f"{part} are others in another process"

    def _scene(self) -> Scene:
        asked: Any = self.check()
        return Scene(check_named(asked), self.model(), self.images(), self.draws)

    def _all_states(self, scene: Scene) -> list[State]:
        return [s for draw in range(scene.check.draws) for s in scene.states(draw).values()]


Trained = Mapping[str, Mapping[str, Tensor]]


def _flat(weights: Trained) -> Iterator[tuple[str, Tensor]]:
    for layer, tensors in weights.items():
        for name, values in tensors.items():
            yield f"{layer}.{name}", values


def _beside(state: State, trained: Trained) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    known = dict(_flat(trained))
    for key, values in _flat(state.weights):
        yield key, values, known.get(key)


def _check_targets(state: State, images: int, classes: int) -> None:
    targets = state.targets
    assert isinstance(targets, Tensor)
    wanted = (images,)
    assert tuple(targets.shape) == wanted, f"{state.name}: {tuple(targets.shape)} targets"
    assert targets.dtype == torch.int64, f"{state.name}: targets are {targets.dtype}, not int64"
    within = bool(((targets >= 0) & (targets < classes)).all())
    assert within, f"{state.name}: expected classes from 0 to {classes - 1}, got {targets.tolist()}"


def _maps_of(state: State) -> tuple[InputMap, ...]:
    if isinstance(state.inputs, tuple):
        return state.inputs
    return () if state.inputs is None else (state.inputs,)


def _check_inputs(mapped: InputMap, single: Sequence[InputMap], x: Tensor, name: str) -> None:
    before = x.clone()
    there = mapped.there(x)
    assert torch.equal(x, before), f"{name}: it wrote into the images"
    assert len(there) == len(x), f"{name}: {len(there)} inputs for {len(x)} images"
    alone = torch.cat([one.there(x[i : i + 1]) for i, one in enumerate(single)])
    alike = torch.allclose(alone, there, atol=1e-6)
    assert alike, f"{name}: an image's input depends on the other images"
    given = there if mapped.before is None else mapped.before(there)
    assert given.shape[1:] == x.shape[1:], f"{name}: the network is given {tuple(given.shape)}"
    for maps in (there, there[:, :1]):
        back = maps if mapped.back is None else mapped.back(maps)
        fits = (back.shape[0], *back.shape[2:]) == (len(maps), *x.shape[2:])
        assert fits, f"{name}: maps come back as {tuple(back.shape)}"


def _difference(
    one: Mapping[str, State], other: Mapping[str, State], order: Sequence[int] | None = None
) -> str | None:
    """Say in what states differ; `order`: where the images of `other` stand in `one`."""
    if list(one) != list(other):
        return f"states {list(other)}, not {list(one)}"
    for name, state in one.items():
        weights, others = dict(_flat(state.weights)), dict(_flat(other[name].weights))
        if weights.keys() != others.keys() or not all(
            torch.equal(values, others[key]) for key, values in weights.items()
        ):
            return f"{name} has other weights"
        targets, theirs = state.targets, other[name].targets
        if not isinstance(targets, Tensor) or not isinstance(theirs, Tensor):
            if targets is not theirs and targets != theirs:
                return f"{name} has other targets"
        elif not torch.equal(targets if order is None else targets[order], theirs):
            return f"{name} has other targets"
    return None


def _told(packed: bytes, scene: Scene) -> dict[str, Any]:
    """Return what can be compared between processes: of the pickled check, and of the one that is asked anew."""
    travelled: Check = pickle.loads(packed)  # noqa: S301 - just written by the contract
    record = scene.settled.record(["spearman"]).to_json()
    return {
        "the states of the pickled check": _states_told(travelled, scene),
        "the prints of the pickled check": print_of(dict(travelled.fingerprint())),
        "the words of its record": json.loads(json.dumps(record)),
        "its states": _states_told(scene.check, scene),
        "its prints": print_of(dict(scene.check.fingerprint())),
    }


def _states_told(check: Check, scene: Scene) -> dict[str, Any]:
    ground = scene.fresh_ground()
    return {
        name: _digests(state, scene.x)
        for draw in range(check.draws)
        for name, state in scene.states(draw, ground=ground, check=check).items()
    }


def _digests(state: State, x: Tensor) -> list[Any]:
    targets = state.targets.tolist() if isinstance(state.targets, Tensor) else state.targets
    inputs = [image_id(mapped.there(x)) for mapped in _maps_of(state)]
    weights = {key: image_id(values) for key, values in _flat(state.weights)}
    return [weights, targets, inputs, state.stream, state.asks, state.is_watched, state.shown]

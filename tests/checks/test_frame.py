"""The frame: what a simple check leaves out is added, states are explained as they say, nothing stays behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from bench import measured
from torch import Tensor, nn

from salsanity.checks.cascade import Cascade
from salsanity.checks.class_ import ClassChange
from salsanity.checks.frame import (
    CHANGED_STREAM,
    REFERENCE_STREAM,
    TRAINED,
    Chunk,
    Ground,
    InputMap,
    Settled,
    State,
)
from salsanity.checks.named import check_named, checks_named, settled
from salsanity.data.examples import image_id
from salsanity.data.tensors import TensorSource
from salsanity.errors import SpecError, UnitError, UsageError
from salsanity.methods import CallableMethod, Gradient, InputXGradient, Method, Noise, SmoothGrad
from salsanity.models.network import Network, prepare
from salsanity.passes.run import Batch
from salsanity.records import CheckRecord, Line, Outcome, UnitKey, UnitResult, Words
from salsanity.similarity import Scores, Spearman, View
from salsanity.similarity.correlation import Vectors
from salsanity.testing.traces import Traces, random_state
from salsanity.units.images import ChunkReader, ImageEntry
from salsanity.units.job import at_speed, ground_of, instruments
from salsanity.units.spec import RunSpec
from salsanity.units.speed import Speed
from salsanity.units.work import Worker

PIXELS, CLASSES = 6 * 6, 4


@dataclass(frozen=True)
class Moved:
    """A check whose one changed state a test gives."""

    state: Callable[[], State] = lambda: State("moved")
    stages: tuple[str, ...] = ()

    name: ClassVar[str] = "moved"
    words: ClassVar[Words] = Words("Moved", "Does it move?", "it stays", "it moved")
    lines: ClassVar[tuple[Line, ...]] = (Line("moved", "moved", 0.5, "when it is moved"),)
    controls: ClassVar[dict[str, Outcome]] = {"edge": Outcome.PASS}

    def changed(self, ground: Ground, chunk: Chunk, draw: int) -> Sequence[State]:
        return [self.state()]


@dataclass
class Seen:
    """Spearman that keeps the signed views it is given, in order: how a test sees maps within a unit."""

    name: str = "spearman"
    views: list[Tensor] = field(default_factory=list)

    def prepare(self, view: View) -> Vectors:
        if view.signed:
            self.views.append(view.values.clone())
        return Spearman().prepare(view)

    def compare(self, a: Vectors, b: Vectors) -> Scores:
        return Spearman().compare(a, b)


def linear() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, CLASSES)).double().eval()


def relu() -> nn.Sequential:
    torch.manual_seed(2)
    convolution = nn.Conv2d(1, 4, 3, padding=1)
    layers = (convolution, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * PIXELS, CLASSES))
    return nn.Sequential(*layers).double().eval()


class Named(nn.Module):
    """A network whose input has a name."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = relu()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.inner(pixels)


def images(count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 1, 6, 6, generator=generator, dtype=torch.float64)


@dataclass
class Bench:
    """A worker for checks on a network, and what it saw."""

    model: nn.Module
    checks: Sequence[Any]
    methods: Sequence[Method]
    x: Tensor = field(default_factory=images)
    seen: Seen = field(default_factory=Seen)
    ticks: list[int] = field(default_factory=list)
    shown: bool = False

    def __post_init__(self) -> None:
        self.network: Network = prepare(self.model, self.x[:1])
        spec = RunSpec(draws=2, layer=None)
        self.ids = tuple(image_id(image) for image in self.x)
        targets = self.model(self.x).argmax(1).tolist()
        entries = {i: ImageEntry(i, i, None, k, targets[k]) for k, i in enumerate(self.ids)}
        tools = instruments(self.network, tuple(self.methods), (self.seen,), spec, self.x)
        tools = replace(at_speed(tools, Speed(4, 0.0), self.methods), tick=self.ticks.append)
        ground = ground_of(self.network, spec, self.x, None)
        self.settled = {c.name: settled(c, ground).check for c in self.checks}
        reader = ChunkReader(TensorSource(self.x), entries, torch.device("cpu"))
        shown = frozenset(self.ids[:1]) if self.shown else frozenset()
        self.worker = Worker(tools, self.settled, ground, reader, shown)

    def unit(self, check: str, draw: int = 0, methods: Sequence[str] = ()) -> UnitResult:
        """Do one unit."""
        stages = self.settled[check].asked_stages(draw, is_shown=False)
        names = tuple(methods) or tuple(m.name for m in self.methods)
        return self.worker.compute(UnitKey(check, draw, self.ids, stages, names, ("spearman",), ""))


def maps_of(state: Callable[[], State], method: Method, model: nn.Module) -> tuple[Tensor, Tensor]:
    """The maps (N, H, W) of one channel that a method shows of the trained network, and of a state."""
    bench = Bench(model, [Moved(state)], [method])
    bench.unit("moved")
    return bench.seen.views[0], bench.seen.views[1]


# What a simple check leaves out.


def ground(draws: int = 3) -> Ground:
    return ground_of(prepare(linear(), images(1)), RunSpec(draws=draws), images(), None)


def chunk() -> Chunk:
    x = images()
    return Chunk(x, torch.zeros(len(x), dtype=torch.int64), tuple(image_id(i) for i in x))


def test_a_simple_check_is_completed() -> None:
    on = ground()
    found = settled(Moved(lambda: State("moved", targets=torch.ones(4, dtype=torch.int64))), on)
    check = found.check
    assert check.draws == 3
    assert check.stages == ({"name": "moved", "index": 1},)
    assert check.asked_stages(1, is_shown=True) == ("moved",)
    (reference,) = check.references(on, chunk())
    assert (reference.name, reference.stream, reference.shown) == (
        TRAINED,
        REFERENCE_STREAM,
        TRAINED,
    )
    state, again = check.changed(on, chunk(), 0, ("moved",))
    assert (state.name, state.stream, state.shown) == ("moved 0/moved", CHANGED_STREAM, "moved")
    assert (again.asks, again.stream, again.weights) == ("stochastic", CHANGED_STREAM, {})
    (only,) = check.changed(on, chunk(), 2, ("moved",))
    assert (only.name, only.shown) == ("moved 2/moved", ""), "the figures show the first draw"
    assert [(p.stage, p.index, p.draw, p.reference, p.changed) for p in check.pairs(0)] == [
        ("moved", 1, 0, TRAINED, "moved 0/moved"),
        ("self", 0, 0, TRAINED, again.name),
    ]
    assert [(p.stage, p.draw) for p in check.pairs(2)] == [("moved", 2)]
    assert check.method(Gradient()) == Gradient()


@dataclass(frozen=True)
class Exact(Moved):
    """Nothing but the change differs, and there is one draw."""

    ceiling: ClassVar[str] = "one"
    draws: ClassVar[int] = 1


def test_a_check_may_say_that_no_change_is_one_and_that_nothing_is_drawn() -> None:
    on = ground()
    found = settled(Exact(), on)
    assert found.check.draws == 1
    assert found.is_fixed
    assert [state.name for state in found.check.changed(on, chunk(), 0, ("moved",))] == [
        "moved 0/moved"
    ]
    assert [pair.stage for pair in found.check.pairs(0)] == ["moved"]


def test_stages_may_be_more_than_lines_name() -> None:
    found = settled(Moved(stages=("little", "moved")), ground()).check
    assert [(s["name"], s["index"]) for s in found.stages] == [("little", 1), ("moved", 2)]
    assert [p.index for p in found.pairs(1)] == [1, 2]


def test_a_record_can_be_written_and_read() -> None:
    on = ground()
    for check in (Moved(), Exact(), ClassChange(), Cascade(init="he")):
        record = settled(check, on).record(["spearman", "ssim"])
        again = CheckRecord.from_json(json.loads(json.dumps(record.to_json())))
        assert json.dumps(again.to_json()) == json.dumps(record.to_json())
        assert (again.words, again.lines, again.controls) == (
            record.words, record.lines, dict(record.controls),
        )  # fmt: skip
        assert again.measures == ("spearman", "ssim")


def test_checks_by_name() -> None:
    first, second = checks_named(["class", Moved()], {"class_choice": "second"})
    assert first == ClassChange("second")
    assert second == Moved()
    assert check_named("class(d_class=0.5)", {"d_class": 0.25}).d_class == 0.5


class Nothing:
    """No check at all."""

    name = "nothing"


@pytest.mark.parametrize(
    ("names", "options", "error", "words"),
    [
        (["klass"], {}, UsageError, "expected a check"),
        (["class", "class"], {}, UsageError, "each check once"),
        ([], {}, UsageError, "at least one check"),
        (["class"], {"order": "top_down"}, SpecError, "option of the check cascade"),
        (["class"], {"colour": 1}, SpecError, "unknown option 'colour'"),
        (["class(choice=1)"], {}, SpecError, "unknown key 'choice'"),
        ([Nothing()], {}, UsageError, "without words, lines, controls, changed"),
        (["missing.py:Check"], {}, UsageError, "found none"),
    ],
)
def test_what_is_no_check_is_refused(
    names: list[Any], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        checks_named(names, options)


def lined(*lines: Line, stages: tuple[str, ...] = ()) -> Any:
    kind = type("Lined", (Moved,), {"lines": lines})
    return kind(stages=stages)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lined(), "at least one line"),
        (lined(*Moved.lines, *Moved.lines), "different names"),
        (lined(*Moved.lines, stages=("another",)), r"at its stages \(another\), got moved"),
        (lined(replace(Moved.lines[0], against="nowhere")), "got moved, nowhere"),
        (lined(replace(Moved.lines[0], stage="self")), "of the ceiling"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_is_computed(
    check: Any, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        settled(check, ground())


# States are explained as they say.

SHIFT = 3.5


def shifted() -> State:
    """Every pixel raised, and lowered again before the network."""
    maps = InputMap(there=lambda x: x + SHIFT, before=lambda x: x - SHIFT)
    return State("moved", inputs=maps, stream=REFERENCE_STREAM)


def test_a_shift_that_the_network_takes_back_changes_no_gradient() -> None:
    before, after = maps_of(shifted, Gradient(), relu())
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-15)


def test_input_x_gradient_changes_by_shift_times_weight() -> None:
    model = linear()
    rows = model[1].weight.detach()[model(images()).argmax(1)].reshape(-1, 6, 6)  # type: ignore[union-attr,operator]
    before, after = maps_of(shifted, InputXGradient(), model)
    torch.testing.assert_close(before, images()[:, 0] * rows)
    torch.testing.assert_close(after - before, SHIFT * rows)


def test_twin_a_shift_that_nobody_takes_back_changes_the_gradient() -> None:
    def state() -> State:
        return State("moved", inputs=InputMap(there=lambda x: x + SHIFT), stream=REFERENCE_STREAM)

    before, after = maps_of(state, Gradient(), relu())
    assert not torch.allclose(after, before)


def test_noise_stays_that_of_the_image() -> None:
    """A shifted image is another one, but it keeps its noise; SmoothGrad's depends on the range, which a shift leaves."""
    before, after = maps_of(shifted, SmoothGrad(4), relu())
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-12)
    other, _ = maps_of(lambda: State("moved"), SmoothGrad(4, 0.3), relu())
    assert not torch.allclose(other, before)


def test_twin_noise_of_what_is_given_is_other_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    import salsanity.units.explain as explaining

    def own(x: Tensor, ids: tuple[str, ...]) -> Batch:
        return Batch(x, tuple(image_id(image) for image in x))

    monkeypatch.setattr(explaining, "Batch", own)
    before, after = maps_of(shifted, SmoothGrad(4), relu())
    assert not torch.allclose(after, before, rtol=1e-9, atol=1e-12)


def test_an_explainer_of_the_user_s_is_given_the_network_behind_the_map() -> None:
    """What it calls as `model` gives for shifted images what the network gives for the images."""
    model, given = Named(), []

    def looks(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        given.append((x.clone(), network(x).detach(), network(pixels=x).detach()))
        return x

    maps_of(shifted, CallableMethod(looks, "looks"), model)
    count = len(
        images()
    )  # given one by one: the images, the moved ones, and those again for the ceiling
    (x, logits, _), (moved, behind, named) = (
        [torch.cat(parts) for parts in zip(*given[start : start + count], strict=True)]
        for start in (0, count)
    )
    torch.testing.assert_close(moved, x + SHIFT)
    torch.testing.assert_close(logits, model(images()))
    torch.testing.assert_close(behind, logits)
    torch.testing.assert_close(named, logits)


def test_own_targets_are_those_of_the_network_behind_the_map() -> None:
    """A map that the network does not take back may change what it predicts; the state's own class is explained."""
    model = linear()

    def upside_down() -> State:
        return State("moved", targets="own", inputs=InputMap(there=lambda x: -9 * x))

    _, after = maps_of(upside_down, Gradient(), model)
    own = model(-9 * images()).argmax(1)
    assert (own != model(images()).argmax(1)).any()
    rows = model[1].weight.detach()[own].reshape(-1, 6, 6)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(after, rows)


def test_maps_come_back_before_they_are_compared() -> None:
    def mirrored() -> State:
        def flip(x: Tensor) -> Tensor:
            return x.flip(-1)

        return State("moved", inputs=InputMap(flip, flip, flip), stream=REFERENCE_STREAM)

    before, after = maps_of(mirrored, Gradient(), relu())
    assert torch.equal(after, before)
    before, after = maps_of(
        lambda: replace(mirrored(), inputs=replace(mirrored().inputs, back=None)),
        Gradient(),
        relu(),
    )
    assert torch.equal(after, before.flip(-1))


def test_weights_and_targets_are_put_in() -> None:
    model = linear()
    weight = torch.arange(PIXELS * CLASSES).double().reshape(CLASSES, PIXELS)
    targets = torch.tensor([3, 2, 1, 0])

    def other() -> State:
        return State("moved", weights={"1": {"weight": weight}}, targets=targets)

    _, after = maps_of(other, Gradient(), model)
    torch.testing.assert_close(after, weight[targets].reshape(-1, 6, 6))


# Nothing stays behind.


def raises(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    network.register_forward_hook(lambda *_: None)
    raise ValueError("no")


@pytest.mark.parametrize("method", [Gradient(), CallableMethod(raises, "raises")])
def test_hooks_weights_and_random_states_are_as_before(method: Method) -> None:
    bench = Bench(relu(), [Moved(shifted)], [method, SmoothGrad(2), Noise()])
    own, theirs = Traces.of(bench.network.module), Traces.of(bench.model)
    states = random_state()
    bench.unit("moved")
    for traces in (own, theirs):
        assert traces.attributes_changed() is None
        assert traces.values_changed() is None
        assert traces.modes_changed() is None
        assert traces.grads_changed() is None
    assert random_state() == states


# What units of one chunk share, and what they do not.


def test_the_trained_network_is_explained_once_for_all_checks_and_draws() -> None:
    bench = Bench(relu(), [Moved(), Other()], [Gradient()])
    bench.unit("moved")
    assert sum(bench.ticks) == 2 * len(bench.x)
    for check, draw in (("moved", 1), ("other", 0), ("other", 1)):
        bench.ticks.clear()
        bench.unit(check, draw)
        assert sum(bench.ticks) == len(bench.x), (check, draw)


def test_draws_that_change_neither_weights_nor_inputs_may_be_one_unit() -> None:
    bench = Bench(relu(), [ClassChange(), Moved()], [Gradient()])
    bench.unit("moved")
    rows = bench.unit("class").columns
    assert {(s, d) for s, d in zip(rows["stage"], rows["draw"], strict=True)} == {
        ("self", 0), ("another class", 0), ("another class", 1),
    }  # fmt: skip
    found = settled(ClassChange(), ground(draws=5))
    assert (found.check.draws, found.columns, found.record([]).draws) == (1, 5, 5)
    (more,) = {repr(settled(ClassChange(), ground(draws=d)).check.fingerprint()) for d in (5, 5)}
    assert more != repr(settled(ClassChange(), ground(draws=6)).check.fingerprint())


@dataclass(frozen=True)
class Other(Moved):
    """Another check of the same kind."""

    name: ClassVar[str] = "other"


@dataclass(frozen=True)
class Wrapping(Moved):
    """A check that puts another method in place of each."""

    name: ClassVar[str] = "wrapping"

    def method(self, method: Method) -> Method:
        return InputXGradient(name=method.name)  # type: ignore[call-arg]


def test_a_check_that_wraps_methods_has_references_of_its_own() -> None:
    bench = Bench(relu(), [Moved(), Wrapping()], [Gradient()])
    alone = Bench(relu(), [Wrapping()], [Gradient()])
    bench.unit("moved")
    assert bench.unit("wrapping").columns == alone.unit("wrapping").columns
    bench.ticks.clear()
    bench.unit("wrapping", 1)
    assert sum(bench.ticks) == len(bench.x), "its own reference serves its other draws"


@dataclass(frozen=True, eq=False)
class OneView:
    """A settled check that looks at one view alone."""

    whole: Any
    views: ClassVar[tuple[str, ...]] = ("absolute",)
    name: ClassVar[str] = "one view"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


@dataclass(frozen=True)
class LooksOnce(Moved):
    """It settles to a check of one view."""

    name: ClassVar[str] = "one view"

    def on(self, on: Ground) -> Settled:
        return Settled(OneView(settled(Moved(), on).check))  # type: ignore[arg-type]


def test_a_check_of_one_view_leaves_the_other_to_the_others() -> None:
    bench = Bench(relu(), [LooksOnce(), Moved()], [Gradient()])
    assert set(bench.unit("one view").columns["view"]) == {"absolute"}
    assert set(bench.unit("moved").columns["view"]) == {"signed", "absolute"}


def test_rows_and_pictures_do_not_depend_on_which_unit_came_before() -> None:
    checks, methods = [Moved(), ClassChange()], [Gradient(), SmoothGrad(2)]
    first = Bench(relu(), checks, methods, shown=True)
    later = Bench(relu(), checks, methods, shown=True)
    later.unit("moved")
    later.unit("moved", 1)
    one, other = first.unit("class"), later.unit("class")
    assert repr(one.columns) == repr(other.columns)
    named = [{i: sorted(found) for i, found in r.pictures.items()} for r in (one, other)]
    assert named[0] == named[1]
    assert named[0][first.ids[0]] == [
        "maps/class/gradient/another class", "maps/class/smoothgrad/another class",
        "maps/gradient/trained", "maps/smoothgrad/trained",
    ]  # fmt: skip


def test_a_pair_whose_state_is_missing_is_an_error_and_not_a_gap() -> None:
    bench = Bench(relu(), [Moved(lambda: State("elsewhere"))], [Gradient()])
    with pytest.raises(UnitError, match="moved 0/moved"):
        bench.unit("moved")


@dataclass(frozen=True)
class WithoutReference(Moved):
    """A settled check that names no reference."""

    name: ClassVar[str] = "unreferred"

    def on(self, on: Ground) -> Settled:
        found = settled(Moved(), on)
        object.__setattr__(found.check, "references", lambda *_: [])
        return found


def test_a_pair_whose_reference_is_missing_is_an_error() -> None:
    bench = Bench(relu(), [WithoutReference()], [Gradient()])
    with pytest.raises(UnitError, match="trained"):
        bench.unit("unreferred")


def test_scores_of_one_chunk_are_those_of_the_bench_of_checks() -> None:
    """Two ways to drive a worker give one table."""
    bench = Bench(relu(), [ClassChange()], [Gradient(), Noise()])
    ours = bench.unit("class").columns
    found = measured(ClassChange(), bench.model, bench.x, [Gradient(), Noise()]).scores
    assert sorted(ours["value"]) == pytest.approx(sorted(found["value"]), nan_ok=True)
